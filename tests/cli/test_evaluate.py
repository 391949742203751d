"""omm evaluate, from the command line to the files it writes."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluating import HELD_OUT, MINE, OTHERS, THEIRS, evaluate, protect, write_photos
from oip_server import serving
from PIL import Image
from records import surrogates_of
from toys import others

from onlymymodel.cli.main import main
from onlymymodel.evaluate.adaptive import LEARNING_RATES
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect.photo_record import PhotoManifest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def test_one_folder_with_the_models_that_made_it(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    assert evaluate(photos, [protected], tmp_path / "e") == 0
    assert "authorized" in capsys.readouterr().out
    results = read_results(tmp_path / "e" / "results.json")
    assert [(row.role, row.model) for row in results.rows] == [
        ("authorized", MINE), ("surrogate", THEIRS), ("held-out", OTHERS)
    ]  # fmt: skip
    assert results.photos == ("0.png", "1.png", "sub/2.png")
    (run,) = results.runs
    assert (run.name, run.epsilon, run.recipe) == ("p", 16.0, "default")
    assert run.statuses == {"protected": 3}
    assert results.authorized.score("p").kept == 1.0
    manifest = PhotoManifest(protected).by_source()
    for name, label, distortion in zip(results.photos, results.labels, run.distortion, strict=True):
        record = manifest[name]
        assert label == record.label
        assert distortion.linf == record.linf
        assert distortion.psnr == pytest.approx(record.psnr)
        assert distortion.ssim == pytest.approx(record.ssim)
    (surrogate,) = results.rows_of("surrogate")
    assert list(surrogate.answers["p"]["png"]) == [
        surrogates_of(manifest[name])[0].answer_after for name in results.photos
    ]
    assert results.header["environment"]["python"]
    assert results.header["settings"]["p"]["recipe"]["seed"] == 0
    assert results.header["settings"]["p"]["authorized"]["sha256"]


@pytest.mark.slow
def test_csv_markdown_and_page_hold_the_same_results(photos: Path, tmp_path: Path) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    assert evaluate(photos, [protected], tmp_path / "e", "--channels", "png", "jpeg75") == 0
    results = read_results(tmp_path / "e" / "results.json")
    with (tmp_path / "e" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2  # models, versions, channels
    for row in rows:
        (model,) = [model for model in results.rows if model.model == row["model"]]
        assert int(row["right"]) == model.score(row["version"], row["channel"]).right
    assert OTHERS in (tmp_path / "e" / "results.md").read_text(encoding="utf-8")
    assert "jpeg75" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_several_folders_are_several_runs(photos: Path, tmp_path: Path) -> None:
    folders = [protect(photos, tmp_path / f"p{epsilon}", "--epsilon", str(epsilon)) for epsilon in (8, 16)]
    assert evaluate(photos, folders, tmp_path / "e") == 0
    results = read_results(tmp_path / "e" / "results.json")
    assert [(run.name, run.epsilon) for run in results.runs] == [("p8", 8.0), ("p16", 16.0)]
    for run, folder in zip(results.runs, folders, strict=True):
        records = [PhotoManifest(folder).by_source()[name] for name in results.photos]
        expected = [0 if record.output is None else record.linf for record in records]
        assert [distortion.linf for distortion in run.distortion] == expected


@pytest.mark.slow
def test_a_gray_photo_that_webp_gives_back_in_color_is_judged(photos: Path, tmp_path: Path) -> None:
    Image.open(photos / "0.png").convert("L").save(photos / "0.png")
    protected = protect(photos, tmp_path / "p", "--format", "webp", "--epsilon", "16")
    assert evaluate(photos, [protected], tmp_path / "e") == 0
    (run,) = read_results(tmp_path / "e" / "results.json").runs
    assert 0 < run.distortion[0].linf <= 16
    assert "0.png" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_bounds_of_a_run_are_shown_beside_its_cap(photos: Path, tmp_path: Path) -> None:
    protected = protect(photos, tmp_path / "p", "--ssim", "0.9", "--shape", "texture")
    assert evaluate(photos, [protected], tmp_path / "e") == 0
    (run,) = read_results(tmp_path / "e" / "results.json").runs
    assert (run.epsilon, run.bounds) == (16.0, "SSIM at least 0.9, spent beside texture")
    assert min(distortion.ssim for distortion in run.distortion) >= 0.9
    for name in ("report.html", "results.md"):
        assert "SSIM at least 0.9, spent beside texture" in (tmp_path / "e" / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_repeated_evaluation_takes_its_answers_from_the_cache(photos: Path, tmp_path: Path) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    assert evaluate(photos, [protected], tmp_path / "e") == 0
    answers = (tmp_path / "e" / "answers.jsonl").read_bytes()
    first = json.loads((tmp_path / "e" / "results.json").read_text())
    assert evaluate(photos, [protected], tmp_path / "e") == 0
    assert (tmp_path / "e" / "answers.jsonl").read_bytes() == answers
    assert json.loads((tmp_path / "e" / "results.json").read_text()) == first


@pytest.mark.slow
def test_photos_that_were_not_protected_are_judged_as_they_are(photos: Path, tmp_path: Path) -> None:
    """With a budget of nothing all photos are unchanged: none is dropped, and every model reads what it read before."""
    protected = protect(photos, tmp_path / "p", "--epsilon", "0")
    assert evaluate(photos, [protected], tmp_path / "e") == 0
    results = read_results(tmp_path / "e" / "results.json")
    assert results.runs[0].statuses == {"unchanged": 3}
    for row in results.rows:
        assert row.answers["p"] == row.answers["clean"]


def test_a_folder_of_another_tool(photos: Path, tmp_path: Path) -> None:
    """Other names of the same format, no manifest: the label is what the authorized model reads in the original."""
    theirs = tmp_path / "theirs"
    (theirs / "sub").mkdir(parents=True)
    for name in ("0", "1", "sub/2"):
        Image.open(photos / f"{name}.png").save(theirs / f"{name}.webp", lossless=True)
    assert evaluate(photos, [theirs], tmp_path / "e", "--authorized", MINE) == 0
    results = read_results(tmp_path / "e" / "results.json")
    assert results.runs[0].epsilon is None
    assert results.authorized.score("theirs").right == 3
    assert results.labels == results.authorized.answers["clean"]["png"]


@pytest.mark.slow
def test_a_gray_file_of_another_tool_is_judged_against_its_color_original(photos: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(photos, theirs)
    Image.open(photos / "1.png").convert("L").save(theirs / "1.png")
    assert evaluate(photos, [theirs], tmp_path / "e", "--authorized", MINE) == 0
    (run,) = read_results(tmp_path / "e" / "results.json").runs
    color = np.asarray(Image.open(photos / "1.png")).astype(int)
    gray = np.asarray(Image.open(theirs / "1.png")).astype(int)
    assert [distortion.linf for distortion in run.distortion] == [0, np.abs(gray[..., None] - color).max(), 0]


@pytest.mark.slow
def test_labels_are_the_truth_where_they_are_given(photos: Path, tmp_path: Path) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,1\nsub/2.png,2\n")
    assert evaluate(photos, [protected], tmp_path / "e", "--labels", str(tmp_path / "labels.csv")) == 0
    assert read_results(tmp_path / "e" / "results.json").labels == (0, 1, 2)


@pytest.mark.slow
def test_a_labelled_set_gives_labels_too(photos: Path, tmp_path: Path) -> None:
    for index, name in enumerate(("0.png", "1.png", "sub/2.png")):
        folder = tmp_path / "set" / f"class-{index}"
        folder.mkdir(parents=True)
        shutil.copy(photos / name, folder)
    source = tmp_path / "set"
    protected = protect(source, tmp_path / "p", "--epsilon", "16", "--labels", f"folders:{source}")
    assert evaluate(source, [protected], tmp_path / "e", "--labels", f"folders:{source}") == 0
    assert read_results(tmp_path / "e" / "results.json").labels == (0, 1, 2)


def test_photos_that_a_labelled_set_does_not_know_are_counted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, name in enumerate(("0.png", "1.png")):
        (tmp_path / "set" / f"class-{index}").mkdir(parents=True)
        shutil.copy(photos / name, tmp_path / "set" / f"class-{index}")
    (tmp_path / "set" / "class-2").mkdir()
    shutil.copy(photos / "0.png", tmp_path / "set" / "class-2" / "unasked.png")
    protected = protect(photos, tmp_path / "p", "--epsilon", "16", "--labels", f"folders:{tmp_path / 'set'}")
    assert "labels for 2 of 3 photos" in capsys.readouterr().out
    sources = PhotoManifest(protected).by_source()
    assert [sources[name].label_source for name in ("0.png", "1.png")] == ["given"] * 2
    assert sources["sub/2.png"].label_source == "authorized model's clean answer"
    assert evaluate(photos, [protected], tmp_path / "e", "--labels", f"folders:{tmp_path / 'set'}") == 2
    assert "1 of 3 photos have no label: sub/2.png" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_file_names_the_models(photos: Path, tmp_path: Path) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    run = tmp_path / "run.toml"
    run.write_text(f'authorized = "{MINE}"\nsurrogates = ["{THEIRS}"]\nheldout = ["{OTHERS}"]\n')
    words = ["evaluate", "--original", str(photos), "--protected", str(protected), "--out", str(tmp_path / "e")]
    assert main([*words, "--run", str(run), "--allow-python", "--quiet", "--device", "cpu"]) == 0
    roles = [row.role for row in read_results(tmp_path / "e" / "results.json").rows]
    assert roles == ["authorized", "surrogate", "held-out"]


@pytest.mark.slow
def test_a_surrogate_as_held_out_is_shown_and_not_counted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    words = ["evaluate", "--original", str(photos), "--protected", str(protected), "--out", str(tmp_path / "e")]
    assert main([*words, "--surrogate", OTHERS, "--heldout", THEIRS, *HELD_OUT[2:]]) == 0
    results = read_results(tmp_path / "e" / "results.json")
    assert results.rows_of("held-out")[0].exclusion.startswith("the same weights")
    assert results.heldout_mean("p") is None
    assert "independent" in capsys.readouterr().out


@pytest.mark.slow
def test_missing_held_out_models_are_reported(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    words = ["evaluate", "--original", str(photos), "--protected", str(protected), "--out", str(tmp_path / "e")]
    assert main([*words, *HELD_OUT[2:]]) == 0
    assert "no judge took part" in capsys.readouterr().out


@pytest.mark.slow
def test_an_adapted_model_has_a_row_that_is_in_no_mean(photos: Path, tmp_path: Path) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    assert evaluate(photos, [protected], tmp_path / "plain") == 0
    assert (
        evaluate(photos, [protected], tmp_path / "e", "--adapt", "--channels", "png", "blur", "--deployments", "half")
        == 0
    )
    plain, results = (read_results(tmp_path / name / "results.json") for name in ("plain", "e"))
    assert [row.model for row in results.rows_of("held-out")] == [OTHERS, f"{OTHERS} (adapted)"]
    adapted = results.rows_of("held-out")[1]
    assert adapted.exclusion.startswith("adapted")
    assert set(adapted.answers["p"]) == {"png", "blur", "half"}
    assert set(adapted.answers["clean"]) == {"png", "blur", "half"}
    assert results.header["adaptation"]["learning_rates"] == list(LEARNING_RATES)
    assert results.heldout_mean("p") == plain.heldout_mean("p")


@pytest.mark.slow
def test_no_model_to_adapt_is_reported(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    answers = tmp_path / "answers.jsonl"
    assert evaluate(photos, [protected], tmp_path / "first") == 0
    (tmp_path / "first" / "answers.jsonl").rename(answers)
    words = ["evaluate", "--original", str(photos), "--protected", str(protected), "--out", str(tmp_path / "e")]
    card = next(row for row in read_results(tmp_path / "first" / "results.json").rows if row.model == OTHERS)
    recorded = f"recorded:{answers}?model={card.sha256}&classes=3&task=toy"
    assert main([*words, "--heldout", recorded, *HELD_OUT[2:]]) == 0
    replayed = read_results(tmp_path / "e" / "results.json").rows_of("held-out")[0]
    assert replayed.answers == card.answers
    capsys.readouterr()
    assert main([*words, "--heldout", recorded, *HELD_OUT[2:], "--adapt"]) == 2
    assert "no judge can be fine-tuned" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_crashes_on_one_image_is_counted_and_reported(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    words = ["evaluate", "--original", str(photos), "--protected", str(protected), "--out", str(tmp_path / "e")]
    moody = ["--heldout", "python:toys:moody", *HELD_OUT[2:]]
    assert main([*words, *moody]) == 1
    assert "1 query was not answered" in capsys.readouterr().err
    results = read_results(tmp_path / "e" / "results.json")
    (row,) = results.rows_of("held-out")
    assert row.answers["clean"]["png"][0] is None
    assert (row.score("clean").failed, row.score("clean").photos, row.score("p").failed) == (1, 3, 0)
    assert [(failure.photo, failure.version) for failure in results.failures] == [("0.png", "clean")]
    assert "the first question is too much for me" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_served_model_gets_no_more_than_its_budget_over_resumed_runs(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three photos in two versions are six questions; the first run may put four."""
    protected = protect(photos, tmp_path / "p", "--epsilon", "16")
    words = ["evaluate", "--original", str(photos), "--protected", str(protected), "--out", str(tmp_path / "e")]
    with serving(others()) as server:
        url = f"{server.url}?fit=squash&task=toy"
        for _ in range(2):
            capsys.readouterr()
            assert main([*words, "--heldout", f"{url}&budget=4", *HELD_OUT[2:]]) == 2
            assert "the budget of 4 queries" in capsys.readouterr().err
            assert len(server.questions) == 4
        assert main([*words, "--heldout", f"{url}&budget=6", *HELD_OUT[2:]]) == 0
        assert len(server.questions) == 6
        (tmp_path / "e" / "answers.sqlite3").unlink()  # a folder of an earlier version has answers.jsonl only
        assert main([*words, "--heldout", f"{url}&budget=6", *HELD_OUT[2:]]) == 0
        assert len(server.questions) == 6
    assert evaluate(photos, [protected], tmp_path / "direct") == 0
    served, direct = (read_results(tmp_path / name / "results.json").rows_of("held-out")[0] for name in ("e", "direct"))
    assert served.answers == direct.answers
