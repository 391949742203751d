import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onlymymodel.data.manifest import Manifest, sha256_file
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.verify import Verification, verify_folder
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.folder import MANIFEST, Job, protect_folder
from onlymymodel.protect.photo import Context
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.protect.run_record import ModelUris
from onlymymodel.surrogates.load import load_model

RECIPE = make_recipe("default", steps=4, kappa=0.5, views=("center",))
MODELS = [load_model(f"python:toys:{name}", allow_python=True) for name in ("mine", "theirs", "others")]
CONTEXT = Context(MODELS[0], tuple(MODELS[1:]), Budget(16 / 255), RECIPE)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three protected portraits beside their originals."""
    source = tmp_path / "photos"
    source.mkdir()
    for index in range(3):
        Image.fromarray(render(index, index, index, 40)).save(source / f"{index}.png")
    summary = protect_folder(Job(source, tmp_path / "out", CONTEXT, ModelUris("python:toys:mine")), progress=False)
    assert summary.all_protected
    return tmp_path / "out"


def verify(out: Path, **changes: object) -> Verification:
    return verify_folder(out, allow_python=True, progress=False, **changes)  # type: ignore[arg-type]


def faults(out: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fault in verify(out).faults:
        found.setdefault(fault.file, []).append(fault.what)
    return found


def test_an_untouched_folder_is_as_the_manifest_says(out: Path) -> None:
    assert verify(out) == Verification(checked=3, without_source=0, faults=())


def test_every_way_to_spoil_a_file_is_found(out: Path) -> None:
    (out / "0.png").write_bytes((out / "0.png").read_bytes() + b"\0")
    Image.fromarray(render(1, 1, 1, 40)).save(out / "1.png")  # the original put back: read as before, but not our file
    (out / "2.png").unlink()
    (out / "stranger.png").write_bytes(b"")
    found = faults(out)
    assert found["0.png"][0] == "its bytes have changed"
    assert found["1.png"][0] == "its bytes have changed"
    assert found["2.png"] == ["is missing"]
    assert found["stranger.png"] == ["is not in the manifest"]


def test_pixels_are_judged_not_only_hashes(out: Path) -> None:
    """Someone spoils a file and puts the new hash into the manifest: the models and the budget still tell."""
    spoiled = np.array(Image.open(out / "0.png"))
    spoiled[5, 5] = 255 - spoiled[5, 5] // 2
    spoiled[:20] = 255 - spoiled[:20]
    Image.fromarray(spoiled).save(out / "0.png")
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    lines[0]["output_sha256"] = sha256_file(out / "0.png")
    (out / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert any("more than 16/255" in what for what in faults(out)["0.png"])


def test_a_changed_or_missing_original(out: Path) -> None:
    source = out.parent / "photos"
    Image.fromarray(render(5, 5, 5, 40)).save(source / "0.png")
    (source / "1.png").unlink()
    found = verify(out)
    assert [(fault.file, fault.what) for fault in found.faults] == [
        ("0.png", "the original has changed since it was protected")
    ]
    assert found.without_source == 2


def test_originals_that_have_moved(out: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert verify(out).without_source == 3
    assert verify(out, source=tmp_path / "elsewhere") == Verification(3, 0, ())
    with pytest.raises(UserError, match="does not exist"):
        verify(out, source=tmp_path / "nowhere")


def test_another_authorized_model_is_refused(out: Path) -> None:
    with pytest.raises(UserError, match="other weights"):
        verify(out, authorized="python:toys:theirs")


def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json"):
        verify(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="broken"):
        verify(tmp_path)


def test_a_broken_manifest_line_is_named(out: Path) -> None:
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text("nonsense\n" + text)
    with pytest.raises(UserError, match="line 1"):
        verify(out)
    assert Manifest(out / MANIFEST).path.exists()
