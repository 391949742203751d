"""`omm tune` on bundled models and rendered portraits: what it says is checked against the files that it wrote."""

import csv
import json
import shlex
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from results_toys import toy_results

from onlymymodel import cli
from onlymymodel.data.manifest import Manifest
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate import tune as tune_module
from onlymymodel.evaluate import tune_page
from onlymymodel.evaluate.frontier import CHANNELS, clean_point, protected_point
from onlymymodel.evaluate.frontier_plot import frontier_plot
from onlymymodel.evaluate.results import read_results, wilson
from onlymymodel.evaluate.search import Target
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import folder as folder_module
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.folder import MANIFEST
from onlymymodel.protect.photo import protect_photos
from onlymymodel.protect.recipe import make_recipe
from onlymymodel.roles import Roles
from onlymymodel.run_file import PhotoSettings, read_run_file
from onlymymodel.surrogates.black_box import load_black_box
from onlymymodel.tune_command import run_file

SIZE, PHOTOS, HIGHEST, SHARE = 64, 5, 8, 0.6
MINE, JUDGE = "zoo:identity-residual", "zoo:identity-inception"
TEAM = ["--authorized", MINE, "--surrogate", "zoo:identity-plain", "zoo:identity-vit"]
QUICK = ["--steps", "4", "--views", "center", "--device", "cpu", "--quiet", "--highest", str(HIGHEST)]
GOAL = ["--target-heldout", str(SHARE), "--target-kept", "0.9"]
TOYS = [
    "--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "python:toys:others", "--allow-python",
    "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5", "--device", "cpu", "--quiet",
]  # fmt: skip


def omm(*words: str) -> int:
    """The command line as a user has it; a UserError stays one."""
    arguments = cli.build_parser().parse_args(words)
    arguments.words = list(words)
    code: int = arguments.run(arguments)
    return code


def content_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / tune_page.JSON).read_text(encoding="utf-8"))
    return content


def answer(uri: str, path: Path) -> int:
    return int(load_black_box(uri).predict([np.asarray(Image.open(path).convert("RGB"))])[0].argmax())


def asked(out: Path) -> Counter[tuple[str, str]]:
    """How often each model was asked about each picture."""
    lines = [json.loads(line) for line in (out / tune_module.ANSWERS).read_text().splitlines()]
    return Counter((line["model"], line["asked"]) for line in lines if "asked" in line)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("photos") / "all"
    (source / "trip").mkdir(parents=True)
    for index in range(PHOTOS):
        place = source / "trip" if index == 1 else source
        Image.fromarray(render(index, index, 7_100_000 + index, SIZE)).save(place / f"{index}.png")
    return source


@pytest.fixture(scope="module")
def tuned(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tuning with bundled models, photo by photo too."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    words = [str(photos), "--out", str(out), *TEAM, "--heldout", JUDGE, *QUICK, *GOAL]
    assert omm("tune", *words, "--per-image") in (0, 1)
    return out


@pytest.fixture
def few(photos: Path, tmp_path: Path) -> Path:
    """Two photos, for toys."""
    source = tmp_path / "few"
    source.mkdir()
    for index in range(2):
        (source / f"{index}.png").write_bytes((photos / ("trip/1.png" if index else "0.png")).read_bytes())
    return source


def test_every_point_is_what_the_models_say_of_the_files(photos: Path, tuned: Path) -> None:
    content = content_of(tuned)
    names = content["sample"]
    assert len(names) == PHOTOS
    right = {name: answer(MINE, photos / name) for name in names}
    assert content["points"][0]["epsilon"] == 0
    for point in content["points"]:
        folder = tuned / f"epsilon-{point['epsilon']}" if point["epsilon"] else photos
        files = {name: folder / name if (folder / name).exists() else photos / name for name in names}
        read = sum(answer(JUDGE, files[name]) == right[name] for name in names)
        kept = sum(answer(MINE, files[name]) == right[name] for name in names)
        assert point["heldout"]["png"]["share"] == read / PHOTOS
        assert (point["heldout"]["png"]["low"], point["heldout"]["png"]["high"]) == wilson(read, PHOTOS)
        assert point["kept"]["png"]["share"] == kept / PHOTOS
    assert [point["epsilon"] for point in content["points"][1:]] == sorted(content["asked"])


def test_the_choice_is_the_least_that_meets_and_below_it_fails(tuned: Path) -> None:
    content = content_of(tuned)
    shares = {point["epsilon"]: point["heldout"]["png"]["share"] for point in content["points"]}
    choice = content["choice"]
    assert content["in_reach"]
    assert content["nearest"] == choice
    assert shares[choice] <= SHARE
    assert choice == 1 or shares[choice - 1] > SHARE
    assert {model["role"] for model in content["models"]} == {"authorized", "surrogate", "held-out"}
    assert all(len(model["sha256"]) == 64 for model in content["models"])
    assert content["seeds"] == {"sample": 0, "recipe": 0}
    assert content["set_aside"] is None


def test_the_run_file_protects_at_the_budget_that_was_found(photos: Path, tuned: Path, tmp_path: Path) -> None:
    choice, out = content_of(tuned)["choice"], tmp_path / "protected"
    omm("protect", str(photos), "--run", str(tuned / "run.toml"), "--out", str(out), "--device", "cpu", "--quiet")
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert round(settings["budget"]["linf"], 9) == choice
    assert settings == json.loads((tuned / f"epsilon-{choice}" / "run.json").read_text())["settings"]
    for name, record in Manifest(tuned / f"epsilon-{choice}" / MANIFEST).by_source().items():
        if record["output"]:  # the very bytes that were judged
            assert (out / name).read_bytes() == (tuned / f"epsilon-{choice}" / name).read_bytes()


def test_a_photo_has_the_least_budget_that_misleads_its_judges(photos: Path, tuned: Path) -> None:
    found = content_of(tuned)["per_photo"]
    assert [one["photo"] for one in found] == [
        path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))
    ]
    assert Counter(one["state"] for one in found)["least"] >= 2
    for one in found:
        name, level = one["photo"], one["epsilon"]
        label = answer(MINE, photos / name)
        if one["state"] != "least":
            assert one["state"] == "not enough" or answer(JUDGE, photos / name) != label
            continue
        written = tuned / "protected" / name
        assert one["judges"] == 1
        assert one["reading"] == 0
        assert answer(JUDGE, photos / name) == label == answer(MINE, written) != answer(JUDGE, written)
        change = np.asarray(Image.open(written)).astype(int) - np.asarray(Image.open(photos / name))
        assert np.abs(change).max() <= level
        if level > 1:  # the level below fails: nothing written, or still read
            below = tuned / "per-photo" / f"epsilon-{level - 1}" / name
            assert not below.exists() or answer(JUDGE, below) == label


def test_what_is_written_photo_by_photo_is_a_folder_like_any_other(tuned: Path) -> None:
    found = verify_folder(tuned / "protected", progress=False)
    assert found.faults == ()
    assert found.checked == sum(one["epsilon"] > 0 for one in content_of(tuned)["per_photo"])
    assert len(read_results(tuned / "protected" / "results.json").photos) == PHOTOS
    with (tuned / "epsilon.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["photo"], int(row["epsilon"])) for row in rows] == [
        (one["photo"], one["epsilon"]) for one in content_of(tuned)["per_photo"]
    ]


def test_a_finished_tuning_computes_and_asks_nothing_again(
    photos: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, answers = content_of(tuned), asked(tuned)
    assert set(answers.values()) == {1}
    monkeypatch.setattr(folder_module, "protect_photos", lambda *_, **__: pytest.fail("computed again"))
    words = [str(photos), "--out", str(tuned), *TEAM, "--heldout", JUDGE, *QUICK, *GOAL]
    omm("tune", *words, "--per-image")
    assert content_of(tuned) == before
    assert asked(tuned) == answers


def test_a_tuning_that_was_stopped_goes_on(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at some batch, on the sample or photo by photo: no batch twice, and the end is the same."""
    words = [str(few), *TOYS, "--highest", "2", "--batch-size", "1", "--per-image", "--out"]
    computed: list[bytes] = []
    limit = 1000

    def counted(sources: Any, context: Any, *rest: Any) -> Any:
        if len(computed) == limit:
            raise KeyboardInterrupt
        computed.append(sources[0].data)
        return protect_photos(sources, context, *rest)

    monkeypatch.setattr(folder_module, "protect_photos", counted)
    omm("tune", *words, str(tmp_path / "whole"))
    whole = len(computed)
    assert whole > 6
    for limit in (3, 6):  # in the second level of the sample, and photo by photo
        out = tmp_path / f"stopped-{limit}"
        computed.clear()
        with pytest.raises(KeyboardInterrupt):
            omm("tune", *words, str(out))
        assert len(computed) == limit
        stopped_at, limit = limit, 1000
        omm("tune", *words, str(out))
        assert len(computed) == whole, f"stopped at {stopped_at}"
        assert set(asked(out).values()) == {1}
        for part in ("points", "choice", "asked", "per_photo"):
            assert content_of(out)[part] == content_of(tmp_path / "whole")[part]


def test_a_photo_that_cannot_be_kept_is_an_error_and_not_unprotectable(few: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "out" / "per-photo" / "epsilon-2" / "0.png"
    words = ["tune", str(few), *TOYS, "--highest", "2", "--per-image", "--out", str(tmp_path / "out")]
    omm(*words[:-3], *words[-2:])
    in_the_way.mkdir(parents=True)
    (in_the_way.parent / "run.json").write_bytes((tmp_path / "out" / "epsilon-2" / "run.json").read_bytes())
    with pytest.raises(UserError, match=r"0\.png cannot be written: Is a directory; what is done stays"):
        omm(*words)


def test_without_a_judge_the_last_surrogate_is_set_aside_and_joins_again(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    omm("tune", str(few), "--out", str(out), *TOYS, "--highest", "1")
    assert "NO HELD-OUT MODEL WAS GIVEN: the surrogate python:toys:others" in capsys.readouterr().out
    content = content_of(out)
    assert content["set_aside"] == "python:toys:others"
    assert [(model["role"], model["uri"]) for model in content["models"]] == [
        ("authorized", "python:toys:mine"),
        ("surrogate", "python:toys:theirs"),
        ("held-out", "python:toys:others"),
    ]
    run = tomllib.loads((out / "run.toml").read_text())
    assert run["surrogates"] == ["python:toys:theirs", "python:toys:others"]
    assert run["heldout"] == []
    # the run file says who was who, and the same tuning goes on from it
    assert omm("tune", str(few), "--out", str(tmp_path / "again"), "--run", str(out / "run.toml"), *TOYS[5:],
               "--highest", "1") in (0, 1)  # fmt: skip


def test_out_of_reach_says_so_and_shows_the_nearest(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (few / "broken.png").write_bytes(b"no photo")
    out = tmp_path / "out"
    words = [str(few), "--out", str(out), *TEAM, "--heldout", JUDGE, "--steps", "1", "--views", "center", "--device"]
    assert omm("tune", *words, "cpu", "--quiet", "--highest", "1", "--target-heldout", "0", "--per-image") == 1
    said = capsys.readouterr().out
    assert "No budget up to 1/255 meets the target; the nearest is epsilon 1/255." in said
    content = content_of(out)
    assert content["choice"] is None
    assert not content["in_reach"]
    assert content["nearest"] == tomllib.loads((out / "run.toml").read_text())["epsilon"] == 1
    states = {one["photo"]: one["state"] for one in content["per_photo"]}
    assert states["broken.png"] == "not protected"
    assert {states["0.png"], states["1.png"]} <= {"not enough", "not protected", "not measurable"}
    assert "broken.png" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target-heldout", "1"], "--target-heldout"),
        (["--target-kept", "0"], "--target-kept"),
        (["--epsilon", "4"], "--epsilon"),
        (["--strength", "low"], "--strength"),
        (["--highest", "300"], "--highest"),
        (["--heldout", "python:toys:theirs"], "took part"),
        (["--region", "no-such-mask.png"], "no-such-mask.png"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(
    few: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        omm("tune", str(few), "--out", str(tmp_path / "out"), *TOYS, *words)
    assert not (tmp_path / "out").exists()


def test_judges_of_the_family_of_a_surrogate_are_none(few: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same family as zoo:identity-plain"):
        omm("tune", str(few), "--out", str(tmp_path / "out"), *TEAM, "--heldout", "zoo:emotion-plain", *QUICK)
    assert not (tmp_path / "out").exists()


def test_a_run_file_says_again_what_it_was_made_of(tmp_path: Path) -> None:
    roles = Roles("checkpoint:a b/mine.safetensors?arch=timm:resnet50", ("zoo:identity-plain",), (JUDGE,))
    recipe, budget = make_recipe("robust", kappa=0.5, views=("center", "scales")), Budget(9 / 255, ssim=0.9)
    (tmp_path / "run.toml").write_text(run_file(tmp_path, roles, recipe, budget, PhotoSettings(format="webp")))
    read = read_run_file(tmp_path / "run.toml")
    assert (read.authorized, read.surrogates, read.heldout) == (roles.authorized, roles.surrogates, roles.heldout)
    assert (read.epsilon, read.budget) == (9, {"ssim": 0.9})
    assert make_recipe(**read.recipe) == recipe
    assert read.photos == {"format": "webp"}


def test_the_run_file_repeats_what_was_done_with_the_photos(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags and the tuning's own run file alike; the command that is shown has no flag for what the file says."""
    out, mask = tmp_path / "out", tmp_path / "masks" / "left.png"
    mask.parent.mkdir()
    left = np.zeros((SIZE, SIZE), np.uint8)
    left[:, : SIZE // 2] = 255
    Image.fromarray(left).save(mask)
    (tmp_path / "mine.toml").write_text('region = "masks/left.png"\nformat = "webp"\n')
    words = ["--run", str(tmp_path / "mine.toml"), "--strip-metadata", "--highest", "1", "--out", str(out)]
    omm("tune", str(few), *TOYS, *words)
    run = tomllib.loads((out / "run.toml").read_text())
    assert {key: run[key] for key in ("region", "format", "strip_metadata")} == {
        "region": "../masks/left.png",
        "format": "webp",
        "strip_metadata": True,
    }
    assert "max_pixels" not in run
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if "as a run file: " in line]
    command = shlex.split(shown.partition("as a run file: ")[2])
    assert command == ["omm", "protect", str(few), "--run", str(out / "run.toml"), "--allow-python", "--out", "DST"]
    omm(*command[1:-1], str(tmp_path / "protected"), "--epsilon", "64", "--kappa", "0", "--quiet")
    for name in ("0", "1"):
        files = few / f"{name}.png", tmp_path / "protected" / f"{name}.webp"
        before, after = (np.asarray(Image.open(file)) for file in files)
        assert (before == after)[:, SIZE // 2 :].all()
        assert (before != after)[:, : SIZE // 2].any()


def test_a_surrogate_alone_cannot_judge_itself(few: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--heldout URI"):
        omm("tune", str(few), "--out", str(tmp_path / "out"), "--authorized", MINE, "--surrogate", JUDGE)


def test_folders_that_are_not_of_this_tuning_are_left_alone(few: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="omm tune did not make it"):
        omm("tune", str(few), "--out", str(tmp_path / "full"), *TOYS)
    words = [str(few), "--out", str(tmp_path / "out"), *TOYS, "--highest", "1", "--sample", "1"]
    omm("tune", *words)
    other = next(seed for seed in range(1, 20) if Random(seed).sample(range(2), 1) != Random(0).sample(range(2), 1))
    with pytest.raises(UserError, match="another sample"):
        omm("tune", *words, "--sample-seed", str(other))


def test_shares_and_intervals_of_a_frontier_by_hand() -> None:
    toy = toy_results()
    results = replace(toy, runs=toy.runs[:1], channels=CHANNELS)
    point, clean = protected_point(results, 8), clean_point(results)
    judge, far = results.counted()  # the cousin does not count
    assert clean.epsilon == 0
    for channel in CHANNELS:
        shares = [row.score("eps8", channel).unprotected for row in (judge, far)]
        assert point.heldout[channel].share == pytest.approx(sum(shares) / 2)
        assert point.heldout[channel].share == results.heldout_mean("eps8", channel)
        assert point.heldout[channel].low <= point.heldout[channel].share <= point.heldout[channel].high
        assert point.kept[channel].share == results.authorized.score("eps8", channel).kept
    alone = replace(results, rows=tuple(row for row in results.rows if row.role == "authorized"))
    assert protected_point(alone, 8).heldout == {}
    assert len(point.models) == len(results.rows) * len(CHANNELS)


@pytest.mark.parametrize("axis", ["epsilon", "ssim"])
def test_the_plot_is_the_same_bytes_and_marks_the_point(axis: Any) -> None:
    toy = toy_results()
    points = [
        clean_point(toy),
        protected_point(replace(toy, runs=toy.runs[:1]), 8),
        protected_point(replace(toy, runs=toy.runs[1:]), 16),
    ]
    drawn = [frontier_plot(points, Target(), 8, met=met, axis=axis) for met in (True, True, False)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].count("<svg") == 1


def test_the_page_holds_all_it_shows_and_asks_nobody(tuned: Path) -> None:
    page = (tuned / tune_page.PAGE).read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count('alt="trip/1.png: protected"') == 1
    assert f"Epsilon {content_of(tuned)['choice']}/255 is the least budget" in page
    assert (tuned / tune_page.PLOT).read_text(encoding="utf-8").startswith("<?xml")
