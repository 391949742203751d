"""`omm tune` on bundled models and rendered portraits: its output is checked against the written files."""

import csv
import json
import shlex
import tomllib
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from detectors import quarter_photo
from PIL import Image
from tuning import JUDGE, MINE, PHOTOS, QUICK, SIZE, TEAM, TOYS, answer, content_of, omm, write_portraits

from onlymymodel.data.pixels import to_image
from onlymymodel.errors import UserError
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.evaluate.score import wilson
from onlymymodel.evaluate.tune import tune_page
from onlymymodel.evaluate.verify import verify_folder
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.photo import protect_photos
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.surrogates.answer_cache import EXPORT

SHARE = 0.6
GOAL = ["--target-heldout", str(SHARE), "--target-kept", "0.9"]


def asked(out: Path) -> Counter[tuple[str, str]]:
    """Count the queries of each model about each picture."""
    lines = [json.loads(line) for line in (out / EXPORT).read_text().splitlines()]
    return Counter((line["model"], line["asked"]) for line in lines if "asked" in line)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portraits(tmp_path_factory.mktemp("photos") / "all", PHOTOS, apart=1)


@pytest.fixture(scope="module")
def tuned(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuning with bundled models, with per-photo budgets."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    words = [str(photos), "--out", str(out), *TEAM, "--heldout", JUDGE, *QUICK, *GOAL]
    assert omm("tune", *words, "--per-image") in (0, 1)
    return out


@pytest.mark.slow
def test_frontier_points_match_the_written_files(photos: Path, tuned: Path) -> None:
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


@pytest.mark.slow
def test_choice_is_the_least_level_that_meets_the_target(tuned: Path) -> None:
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


@pytest.mark.slow
def test_run_file_protects_at_the_chosen_budget(photos: Path, tuned: Path, tmp_path: Path) -> None:
    choice, out = content_of(tuned)["choice"], tmp_path / "protected"
    omm("protect", str(photos), "--run", str(tuned / "run.toml"), "--out", str(out), "--device", "cpu", "--quiet")
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert round(settings["budget"]["linf"], 9) == choice
    assert settings == json.loads((tuned / f"epsilon-{choice}" / "run.json").read_text())["settings"]
    for name, record in PhotoManifest(tuned / f"epsilon-{choice}").by_source().items():
        if record.output:  # the very bytes that were judged
            assert (out / name).read_bytes() == (tuned / f"epsilon-{choice}" / name).read_bytes()


@pytest.mark.slow
def test_photo_budget_is_the_least_that_misleads_its_judges(photos: Path, tuned: Path) -> None:
    budgets = content_of(tuned)["per_photo"]
    assert [budget["photo"] for budget in budgets] == [
        path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))
    ]
    assert Counter(budget["state"] for budget in budgets)["least"] >= 2
    for budget in budgets:
        name, level = budget["photo"], budget["epsilon"]
        label = answer(MINE, photos / name)
        if budget["state"] != "least":
            assert budget["state"] == "not enough" or answer(JUDGE, photos / name) != label
            continue
        written = tuned / "protected" / name
        assert budget["judges"] == 1
        assert budget["reading"] == 0
        assert answer(JUDGE, photos / name) == label == answer(MINE, written) != answer(JUDGE, written)
        change = np.asarray(Image.open(written)).astype(int) - np.asarray(Image.open(photos / name))
        assert np.abs(change).max() <= level
        if level > 1:  # the level below fails: nothing written, or still read
            below = tuned / "per-photo" / f"epsilon-{level - 1}" / name
            assert not below.exists() or answer(JUDGE, below) == label


@pytest.mark.slow
def test_per_photo_folder_is_a_valid_protected_folder(tuned: Path) -> None:
    report = verify_folder(tuned / "protected", progress=False)
    assert report.faults == ()
    assert report.checked == sum(budget["epsilon"] > 0 for budget in content_of(tuned)["per_photo"])
    assert len(read_results(tuned / "protected" / "results.json").photos) == PHOTOS
    with (tuned / "epsilon.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["photo"], int(row["epsilon"])) for row in rows] == [
        (budget["photo"], budget["epsilon"]) for budget in content_of(tuned)["per_photo"]
    ]


@pytest.mark.slow
def test_finished_tuning_computes_and_asks_nothing_again(
    photos: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, answers = content_of(tuned), asked(tuned)
    assert set(answers.values()) == {1}
    monkeypatch.setattr(batches_module, "protect_photos", lambda *_, **__: pytest.fail("computed again"))
    words = [str(photos), "--out", str(tuned), *TEAM, "--heldout", JUDGE, *QUICK, *GOAL]
    omm("tune", *words, "--per-image")
    assert content_of(tuned) == before
    assert asked(tuned) == answers


@pytest.mark.slow
def test_stopped_tuning_resumes(two_portraits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at a batch of the sample or of the per-photo search: no batch is computed twice, the result is equal."""
    words = [str(two_portraits), *TOYS, "--highest", "2", "--batch-size", "1", "--per-image", "--out"]
    computed: list[bytes] = []
    limit = 1000

    def counted(sources: Any, context: Any, *rest: Any) -> Any:
        if len(computed) == limit:
            raise KeyboardInterrupt
        computed.append(sources[0].data)
        return protect_photos(sources, context, *rest)

    monkeypatch.setattr(batches_module, "protect_photos", counted)
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


@pytest.mark.slow
def test_unwritable_photo_is_an_error(two_portraits: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "out" / "per-photo" / "epsilon-2" / "0.png"
    words = ["tune", str(two_portraits), *TOYS, "--highest", "2", "--per-image", "--out", str(tmp_path / "out")]
    omm(*words[:-3], *words[-2:])
    in_the_way.mkdir(parents=True)
    (in_the_way.parent / "run.json").write_bytes((tmp_path / "out" / "epsilon-2" / "run.json").read_bytes())
    with pytest.raises(UserError, match=r"0\.png cannot be written: Is a directory; photos that are done are kept"):
        omm(*words)


@pytest.mark.slow
def test_last_surrogate_is_set_aside_without_heldout_models(
    two_portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    omm("tune", str(two_portraits), "--out", str(out), *TOYS, "--highest", "1")
    assert "NO JUDGE WAS GIVEN: the stand-in python:toys:others" in capsys.readouterr().out
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
    # the run file records the roles, and the same tuning resumes from it
    assert omm("tune", str(two_portraits), "--out", str(tmp_path / "again"), "--run", str(out / "run.toml"), *TOYS[5:],
               "--highest", "1") in (0, 1)  # fmt: skip


@pytest.mark.slow
def test_unreachable_target_reports_the_nearest_level(
    two_portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two_portraits / "broken.png").write_bytes(b"no photo")
    out = tmp_path / "out"
    words = [str(two_portraits), "--out", str(out), *TEAM, "--heldout", JUDGE, "--steps", "1", "--views", "center"]
    words += ["--device", "cpu", "--quiet"]
    assert omm("tune", *words, "--highest", "1", "--target-heldout", "0", "--per-image") == 1
    output = capsys.readouterr().out
    assert "No budget up to 1/255 meets the target; the largest, epsilon 1/255, comes nearest." in output
    assert "to protect with" not in output  # since no photo would be
    content = content_of(out)
    assert content["choice"] is None
    assert not content["in_reach"]
    assert content["nearest"] == tomllib.loads((out / "run.toml").read_text())["epsilon"] == 1
    states = {budget["photo"]: budget["state"] for budget in content["per_photo"]}
    assert states["broken.png"] == "not protected"
    assert {states["0.png"], states["1.png"]} <= {"not enough", "not protected", "not measurable"}
    assert "broken.png" in output


@pytest.mark.slow
def test_settings_that_protect_nothing_are_not_offered(
    two_portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a step no photo changes, and judges read as much at every budget."""
    out = tmp_path / "out"
    words = [str(two_portraits), "--out", str(out), *TEAM, "--heldout", JUDGE, "--steps", "0", "--device", "cpu"]
    assert omm("tune", *words, "--quiet", "--highest", "4", "--target-heldout", "0") == 1
    output = capsys.readouterr().out
    assert "No budget up to 4/255 meets the target; the largest, epsilon 4/255, comes nearest." in output
    assert "At this budget no photo of the sample is changed: these settings would protect few" in output
    assert "to protect with" not in output
    assert content_of(out)["nearest"] == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target-heldout", "1"], "--target-heldout"),
        (["--target-kept", "0"], "--target-kept"),
        (["--epsilon", "4"], "--epsilon"),
        (["--strength", "low"], "--strength"),
        (["--highest", "300"], "--highest"),
        (["--lowest-ssim", "0.9"], "add --over ssim"),
        (["--over", "ssim", "--highest", "8"], "use --lowest-ssim"),
        (["--over", "ssim", "--lowest-ssim", "0.2"], "between 0.5 and 0.995"),
        (["--over", "ssim", "--ssim", "0.9"], "leave out --ssim"),
        (["--through", "jpeg-5"], "unknown deployment 'jpeg-5'"),
        (["--heldout", "python:toys:theirs"], "took part"),
        (["--region", "no-such-mask.png"], "no-such-mask.png"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(
    two_portraits: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        omm("tune", str(two_portraits), "--out", str(tmp_path / "out"), *TOYS, *words)
    assert not (tmp_path / "out").exists()


def test_heldout_models_of_a_surrogate_family_are_refused(two_portraits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same family as zoo:identity-plain"):
        omm("tune", str(two_portraits), "--out", str(tmp_path / "out"), *TEAM, "--heldout", "zoo:emotion-plain", *QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_run_file_repeats_the_photo_settings(
    two_portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings from flags and from the tuning's run file; the shown command has no flag for what the file contains."""
    out, mask = tmp_path / "out", tmp_path / "masks" / "left.png"
    mask.parent.mkdir()
    left = np.zeros((SIZE, SIZE), np.uint8)
    left[:, : SIZE // 2] = 255
    Image.fromarray(left).save(mask)
    (tmp_path / "mine.toml").write_text('region = "masks/left.png"\nformat = "webp"\n')
    words = ["--run", str(tmp_path / "mine.toml"), "--metadata", "none", "--recipe", "exact"]
    words += ["--highest", "1", "--out", str(out)]
    omm("tune", str(two_portraits), *TOYS, *words)
    run = tomllib.loads((out / "run.toml").read_text())
    assert {key: run[key] for key in ("region", "format", "metadata")} == {
        "region": "../masks/left.png",
        "format": "webp",
        "metadata": "none",
    }
    assert "max_pixels" not in run
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if "to protect with " in line]
    command = shlex.split(shown[shown.index("omm protect") :])
    assert command == [
        "omm",
        "protect",
        str(two_portraits),
        "--run",
        str(out / "run.toml"),
        "--allow-python",
        "--out",
        "DST",
    ]
    omm(*command[1:-1], str(tmp_path / "protected"), "--epsilon", "64", "--kappa", "0", "--quiet")
    for name in ("0", "1"):
        files = two_portraits / f"{name}.png", tmp_path / "protected" / f"{name}.webp"
        before, after = (np.asarray(Image.open(file)) for file in files)
        assert (before == after)[:, SIZE // 2 :].all()
        assert (before != after)[:, : SIZE // 2].any()


def test_single_surrogate_cannot_be_set_aside(two_portraits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--heldout URI"):
        omm("tune", str(two_portraits), "--out", str(tmp_path / "out"), "--authorized", MINE, "--surrogate", JUDGE)


@pytest.mark.slow
def test_folders_of_other_origin_are_left_alone(two_portraits: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="was not made by omm tune"):
        omm("tune", str(two_portraits), "--out", str(tmp_path / "full"), *TOYS)
    words = [str(two_portraits), "--out", str(tmp_path / "out"), *TOYS, "--highest", "1", "--sample", "1"]
    omm("tune", *words)
    other = next(seed for seed in range(1, 20) if Random(seed).sample(range(2), 1) != Random(0).sample(range(2), 1))
    with pytest.raises(UserError, match="another sample"):
        omm("tune", *words, "--sample-seed", str(other))


@pytest.mark.slow
def test_tune_page_is_self_contained(tuned: Path) -> None:
    page = (tuned / tune_page.PAGE).read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count('alt="trip/1.png: protected"') == 1
    assert f"Epsilon {content_of(tuned)['choice']}/255 is the least budget" in page
    assert (tuned / tune_page.PLOT).read_text(encoding="utf-8").startswith("<?xml")


def test_a_judge_of_attributes_alone_is_refused(tmp_path: Path) -> None:
    source = write_portraits(tmp_path / "photos", 2)
    words = ["tune", str(source), "--out", str(tmp_path / "out"), *TOYS]
    with pytest.raises(UserError, match="models of attributes, which read no share of photos: name another one, too"):
        omm(*words, "--heldout", "python:attribute_models:of_others")


def test_an_authorized_detector_is_tuned_by_its_objects(tmp_path: Path) -> None:
    """The photo has two objects; its kept share is 1 only if both are found in what every level wrote."""
    source = tmp_path / "photos"
    source.mkdir()
    photo = (quarter_photo(0.62, 0.6, 32)[0] * 255).round().byte()
    to_image(photo.permute(1, 2, 0).numpy()).save(source / "0.png")
    models = ["--authorized", "python:detectors:quarters", "--surrogate", "python:toys:theirs", *TOYS[5:]]
    heldout = ["--heldout", "python:toys:moody"]
    assert omm("tune", str(source), "--out", str(tmp_path / "out"), *models, *heldout, "--highest", "4") in (0, 1)
    points = content_of(tmp_path / "out")["points"]
    assert points
    assert all(point["kept"]["png"]["share"] == 1 for point in points)
