"""Machines are compared by a canary, and `--portable` limits what they compute with."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile import CONTEXT, files_of, protect, save_photo
from paths import ROOT
from PIL import Image
from toys import linear
from worker_contexts import make, make_imprecise

from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.protect.canary import Canary, run_canary
from onlymymodel.protect.machines import add_machine
from onlymymodel.protect.merge import merge_shards
from onlymymodel.protect.portable import LIMITS, make_portable
from onlymymodel.protect.shards import Shard
from onlymymodel.protect.workers import WorkerSettings
from onlymymodel.settings import RunSettings

ODD = Canary("0" * 64, "another machine", "2.0", "cpu", 3)
BOTH = r"--identical: other numbers come from .*\(\w{8}\) than from .*\(\w{8}\)"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(6):
        save_photo(tmp_path / "photos" / f"{index}.png", index)
    return tmp_path / "photos"


def run_json(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "run.json").read_bytes())
    return content


def test_the_canary_tells_last_bits_apart_and_nothing_else() -> None:
    first = run_canary(CONTEXT)
    assert run_canary(CONTEXT) == first
    assert run_canary(replace(CONTEXT, format="webp", region=replace(CONTEXT.region, kind="face"))) == first
    assert run_canary(make_imprecise("cpu")).sha256 != first.sha256
    assert run_canary(replace(CONTEXT, authorized=linear(seed=5, classes=3))).sha256 != first.sha256


@pytest.mark.parametrize("seed", [-1, 1 << 64, -(1 << 80)])
def test_every_seed_has_one(seed: int) -> None:
    context = replace(CONTEXT, recipe=replace(CONTEXT.recipe, seed=seed))
    assert run_canary(context) == run_canary(context)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "face", "fmd", "svre"])
def test_real_networks_and_other_recipes_have_one(recipe: str) -> None:
    from onlymymodel.protect.attack.recipe import make_recipe

    settings = RunSettings("zoo:identity-residual", ("zoo:identity-vit",), recipe=make_recipe(recipe))
    context, _ = settings.load()
    assert run_canary(context) == run_canary(context)


def test_kinds_of_machines_are_recorded_once_and_only_where_something_is_computed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out)
    (machine,) = run_json(out)["machines"]
    assert machine == run_canary(CONTEXT).__dict__
    add_machine(out, ODD, identical=False)
    before = files_of(out)
    protect(photos, out, identical=True)  # nothing is computed
    assert files_of(out) == before
    assert [machine["sha256"] for machine in run_json(out)["machines"]][1:] == [ODD.sha256]


def test_a_resume_on_another_kind_of_machine_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out, only=["0.png"])
    content = run_json(out)
    content["machines"][0] |= {"sha256": ODD.sha256, "machine": ODD.machine}
    (out / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=BOTH) as caught:
        protect(photos, out, identical=True)
    assert "another machine" in str(caught.value)
    protect(photos, out)  # without --identical it goes on
    assert len(run_json(out)["machines"]) == 2


@pytest.mark.slow
def test_a_worker_that_computes_other_bits_is_refused(photos: Path, tmp_path: Path) -> None:
    settings = {"batch_size": 1, "only": ["0.png"]}
    protect(photos, tmp_path / "out", identical=True, workers=WorkerSettings(1, make), **settings)
    assert run_json(tmp_path / "out")["identical"] is True
    with pytest.raises(UserError, match=BOTH):  # it is recorded
        protect(photos, tmp_path / "out", workers=WorkerSettings(1, make_imprecise), batch_size=1)


def test_shards_of_other_kinds_are_not_merged(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        protect(photos, out, shard=Shard(number, 2), identical=number == 1)
    folder = Shard(2, 2).folder(out)
    content = run_json(folder)
    (folder / "run.json").write_text(json.dumps({**content, "machines": [ODD.__dict__]}))
    before = files_of(out)
    with pytest.raises(UserError, match=BOTH):
        merge_shards(out)
    assert files_of(out) == before
    (folder / "run.json").write_text(json.dumps(content))
    merge_shards(out)
    assert len(run_json(out)["machines"]) == 1


@pytest.mark.parametrize("machines", [None, 3, [3], [{"sha256": 1}], {}])
def test_broken_machines_are_a_mistake_in_one_sentence(machines: object, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photos, out, only=["0.png"])
    (out / "run.json").write_text(json.dumps({**run_json(out), "machines": machines}))
    with pytest.raises(UserError, match=r"the machines in run\.json are broken"):
        protect(photos, out)


def test_limits_have_to_be_there_before_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    with pytest.raises(UserError, match=r"before torch is imported; or start Python with ONEDNN_MAX_CPU_ISA=AVX2"):
        make_portable()
    for name, value in LIMITS.items():
        monkeypatch.setenv(name, value)
    make_portable()


@pytest.mark.slow
def test_portable_bytes_do_not_depend_on_how_photos_are_grouped(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(4):
        Image.fromarray(render(index, index, 9_000_000 + index, 48)).save(tmp_path / "photos" / f"{index}.png")
    models = ["--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain", "zoo:identity-vit"]
    words = [sys.executable, "-m", "onlymymodel", "protect", "photos", *models, "--steps", "4", "--quiet"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(out: str, *flags: str) -> dict[str, bytes]:
        done = subprocess.run([*words, "--out", out, "--device", "cpu", *flags], cwd=tmp_path, env=environ, check=False)
        assert done.returncode in (0, 1)
        return {name: data for name, data in files_of(tmp_path / out).items() if name.endswith("png")}

    alone, together = run("one", "--portable", "--batch-size", "1"), run("four", "--portable", "--batch-size", "4")
    assert alone == together
    record = run_json(tmp_path / "one")
    assert record["settings"]["portable"] is True
    assert (record["machines"][0]["threads"], "AVX512" in record["machines"][0]["machine"].split()[1]) == (1, False)
    done = subprocess.run(
        [*words, "--out", "one", "--batch-size", "1"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "one was made with other settings (portable on there, off here)" in done.stderr
