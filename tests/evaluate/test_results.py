import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_toys import toy_pictures, toy_results
from scipy.stats import binomtest

from onlymymodel.errors import UserError
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.report import render_report
from onlymymodel.evaluate.results import Row
from onlymymodel.evaluate.results_file import SCHEMA, read_results, results_to_json
from onlymymodel.evaluate.score import Proportion, wilson


def written(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_to_json(toy_results())), encoding="utf-8")
    return path


def test_results_file_round_trips(tmp_path: Path) -> None:
    results = toy_results()
    assert read_results(written(tmp_path)) == results


def test_scores_in_the_file_match_its_answers(tmp_path: Path) -> None:
    content = json.loads(written(tmp_path).read_text())
    assert content["schema"] == SCHEMA
    for score in content["scores"]:
        (row,) = [row for row in content["rows"] if (row["model"], row["role"]) == (score["model"], score["role"])]
        answers = row["answers"][score["version"]][score["channel"]]
        clean = row["answers"]["clean"][score["channel"]]
        right = [answer is not None and answer == truth for answer, truth in zip(answers, row["truths"], strict=True)]
        readable = [answer is not None and answer == truth for answer, truth in zip(clean, row["truths"], strict=True)]
        assert score["right"] == sum(right)
        own = row["truth"] == "own"
        assert score["failed"] == sum(
            answer is None or (own and truth is None) for answer, truth in zip(answers, row["truths"], strict=True)
        )
        assert score["readable"] == sum(readable)
        assert score["still_right"] == sum(map(lambda now, before: now and before, right, readable))
        expected = binomtest(score["right"], score["photos"]).proportion_ci(method="wilson")
        assert score["interval"] == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_heldout_mean_uses_only_independent_models() -> None:
    results = toy_results()
    run = results.runs[0].name
    counted = [row for row in results.rows if row.role == "held-out" and not row.exclusion]
    assert 0 < len(counted) < len(results.rows_of("held-out"))
    expected = np.mean([(row.score(run).right + row.score(run).failed) / len(results.photos) for row in counted])
    assert results.heldout_mean(run) == pytest.approx(expected)
    marked = tuple(replace(row, exclusion="related") for row in results.rows)
    assert replace(results, rows=marked).heldout_mean(run) is None


def test_photo_without_clean_answer_is_missing_in_every_version() -> None:
    """A model with other classes that failed on the original has no reference: its answer to the protected photo proves
    nothing, and least of all that it cannot read it."""
    answers: dict[str, dict[str, tuple[int | None, ...]]] = {
        "clean": {"png": (None, 3, 3, 3), "blur": (3, 3, 3, 3)},
        "run": {"png": (3, 3, 1, None), "blur": (None, 3, 1, 3)},
    }
    row = Row("m", "held-out", "s", "", "", "own", (None, 3, 3, 3), answers)
    for version, channel, right, failed, still_right in (
        ("clean", "png", 3, 1, 3),
        ("clean", "blur", 3, 1, 3),
        ("run", "png", 1, 2, 1),
        ("run", "blur", 2, 1, 2),
    ):
        score = row.score(version, channel)
        counts = (score.photos, score.right, score.failed, score.readable, score.still_right)
        assert counts == (4, right, failed, 3, still_right), (version, channel)
        assert score.unprotected == (right + failed) / 4


def test_model_that_fails_on_originals_only_counts_as_reading() -> None:
    clean: tuple[int | None, ...] = (None, 1, None, 2)
    row = Row("m", "held-out", "s", "", "", "own", clean, {"clean": {"png": clean}, "run": {"png": (0, 1, 1, 2)}})
    toy = toy_results()
    results = replace(toy, rows=(row,), runs=(replace(toy.runs[0], name="run"),), channels=("png",))
    assert results.heldout_mean("clean") == results.heldout_mean("run") == 1.0


def test_kept_is_of_what_is_read_when_clean_through_the_same_channel() -> None:
    """The share kept through a channel is of the photos read when clean through the same channel, in every table."""
    toy = toy_results()
    answers = {
        "clean": {"png": (0, 1, 2, 0), "jpeg75": (0, 1, 0, 1)},
        "run": {"png": (0, 1, 0, 0), "jpeg75": (0, 0, 2, 1)},
    }
    row = replace(toy.rows[0], answers=answers)
    results = replace(
        toy, rows=(row,), runs=(replace(toy.runs[0], name="run"),), channels=("png", "jpeg75"), failures=()
    )
    assert [row.score("run", channel).kept_of_readable for channel in results.channels] == [
        Proportion(3, 4),
        Proportion(1, 2),
    ]
    by_channel = {
        score["channel"]: score["kept"] for score in results_to_json(results)["scores"] if score["version"] == "run"
    }
    assert by_channel == {"png": 0.75, "jpeg75": 0.5}
    assert "| authorized, kept | 75.0% | 50.0% |" in to_markdown(results)
    page = render_report(results, toy_pictures(results), title="", summary="")
    assert "of the photos read when clean, through the same channel" in page
    assert "1 of 2, 95% interval" in page


def test_photo_without_clean_answer_is_scored_by_its_label() -> None:
    answers: dict[str, dict[str, tuple[int | None, ...]]] = {"clean": {"png": (None, 3)}, "run": {"png": (1, 3)}}
    score = Row("m", "held-out", "s", "", "", "label", (3, 3), answers).score("run")
    assert (score.photos, score.right, score.failed, score.readable, score.still_right) == (2, 1, 0, 1, 1)


@pytest.mark.parametrize(("hits", "total"), [(0, 40), (2, 40), (40, 40), (1, 3), (500, 1000)])
def test_wilson_matches_scipy(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_zero_photos_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "\xff", '{"schema": 2, "photos": 3}'])
def test_broken_results_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"results\.json"):
        read_results(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"remarks": ""}, "unknown keys: remarks"),
        ({"role": "judge"}, "Invalid enum value 'judge'"),
        ({"truths": "0120"}, "Expected `array`"),
        ({"answers": {"clean": {"png": [0.5]}}}, "Expected `int | null`"),
    ],
)
def test_broken_row_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["rows"][0] |= change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)):
        read_results(path)


def _without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: [row["answers"].pop(key) for row in content["rows"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(rows=[]), "it has 0 authorized models instead of one"),
        (lambda content: content["rows"][1].update(role="authorized"), "it has 2 authorized models instead of one"),
        (lambda content: content["rows"][0].update(role="surrogate"), "it has 0 authorized models instead of one"),
        (lambda content: content["rows"][2]["answers"]["eps8"].update(png=[0, 1]), "2 answers of zoo:second-helper"),
        (lambda content: content["rows"][2].update(truths=[0]), "1 truths of zoo:second-helper"),
        (lambda content: content["rows"][2].update(truths=[None] * 4), "zoo:second-helper has no class for any label"),
        (_without("clean"), "zoo:mine has no answers to 'clean' through 'png'"),
        (_without("eps16"), "zoo:mine has no answers to 'eps16' through 'png'"),
        (lambda content: content["rows"][0]["answers"]["eps8"].pop("jpeg75"), "to 'eps8' through 'jpeg75'"),
        (lambda content: content.update(photos=[], labels=[]), "it has no photos"),
        (lambda content: content["labels"].pop(), "3 labels"),
        (lambda content: content.update(runs=[]), "it has no runs"),
        (lambda content: content["runs"][0].update(name="clean"), "two versions of the photos have the same name"),
        (lambda content: content["runs"][0]["distortion"].pop(), "3 distortions of eps8"),
        (lambda content: content.update(channels=["jpeg75"]), "it has no channel png"),
        (lambda content: content["rows"][0].update(objects={}), "zoo:mine has no objects in 'clean' through 'png'"),
    ],
)
def test_inconsistent_results_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """Tables and pages would end in an error of the program."""
    path = written(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)):
        read_results(path)


def test_rows_of_older_files_have_defaults(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        del row["unmapped"]
    path.write_text(json.dumps(content), encoding="utf-8")
    results = read_results(path)
    assert results == toy_results()
    assert json.dumps(results_to_json(results)) == json.dumps(results_to_json(toy_results()))


def test_other_schema_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"schema": 1, "rows": []}')
    with pytest.raises(UserError, match="schema 1"):
        read_results(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path / "nothing.json")
