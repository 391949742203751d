import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results_toys import toy_results
from scipy.stats import binomtest

from onlymymodel.errors import UserError
from onlymymodel.evaluate.change import quantiles
from onlymymodel.evaluate.results import SCHEMA, Row, read_results, wilson


def written(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(toy_results().to_json()), encoding="utf-8")
    return path


def test_a_results_file_is_the_results(tmp_path: Path) -> None:
    results = toy_results()
    assert read_results(written(tmp_path)) == results


def test_scores_in_the_file_follow_from_its_answers(tmp_path: Path) -> None:
    content = json.loads(written(tmp_path).read_text())
    assert content["schema"] == SCHEMA
    for score in content["scores"]:
        (row,) = [row for row in content["rows"] if (row["model"], row["role"]) == (score["model"], score["role"])]
        said = row["answers"][score["version"]][score["channel"]]
        clean = row["answers"]["clean"]["png"]
        right = [answer is not None and answer == truth for answer, truth in zip(said, row["truths"], strict=True)]
        readable = [answer is not None and answer == truth for answer, truth in zip(clean, row["truths"], strict=True)]
        assert score["right"] == sum(right)
        own = row["truth"] == "own"
        assert score["failed"] == sum(
            answer is None or (own and truth is None) for answer, truth in zip(said, row["truths"], strict=True)
        )
        assert score["readable"] == sum(readable)
        assert score["still_right"] == sum(map(lambda now, before: now and before, right, readable))
        expected = binomtest(score["right"], score["photos"]).proportion_ci(method="wilson")
        assert score["interval"] == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_mean_is_over_independent_held_out_models_alone() -> None:
    results = toy_results()
    run = results.runs[0].name
    counted = [row for row in results.rows if row.role == "held-out" and not row.remark]
    assert 0 < len(counted) < len(results.of("held-out"))
    expected = np.mean([(row.score(run).right + row.score(run).failed) / len(results.photos) for row in counted])
    assert results.heldout_mean(run) == pytest.approx(expected)
    marked = tuple(replace(row, remark="related") for row in results.rows)
    assert replace(results, rows=marked).heldout_mean(run) is None


def test_a_photo_without_a_clean_answer_is_missing_in_every_version() -> None:
    """A model of another task that failed on the original has no truth to be measured against: what it says of the
    protected photo shows nothing, and least of all that it cannot read it."""
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
        found = (score.photos, score.right, score.failed, score.readable, score.still_right)
        assert found == (4, right, failed, 3, still_right), (version, channel)
        assert score.unprotected == (right + failed) / 4


def test_a_server_that_fails_on_originals_alone_protects_nothing() -> None:
    clean: tuple[int | None, ...] = (None, 1, None, 2)
    row = Row("m", "held-out", "s", "", "", "own", clean, {"clean": {"png": clean}, "run": {"png": (0, 1, 1, 2)}})
    toy = toy_results()
    results = replace(toy, rows=(row,), runs=(replace(toy.runs[0], name="run"),), channels=("png",))
    assert results.heldout_mean("clean") == results.heldout_mean("run") == 1.0


def test_a_photo_without_a_clean_answer_is_judged_by_its_label_where_there_is_one() -> None:
    answers: dict[str, dict[str, tuple[int | None, ...]]] = {"clean": {"png": (None, 3)}, "run": {"png": (1, 3)}}
    score = Row("m", "held-out", "s", "", "", "label", (3, 3), answers).score("run")
    assert (score.photos, score.right, score.failed, score.readable, score.still_right) == (2, 1, 0, 1, 1)


@pytest.mark.parametrize(("hits", "total"), [(0, 40), (2, 40), (40, 40), (1, 3), (500, 1000)])
def test_wilson_against_scipy(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_quantiles_against_numpy(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).tolist()
    assert quantiles(values) == pytest.approx(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "\xff", '{"schema": 2, "photos": 3}'])
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"results\.json"):
        read_results(path)


def test_another_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"schema": 1, "rows": []}')
    with pytest.raises(UserError, match="schema 1"):
        read_results(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path / "nothing.json")
