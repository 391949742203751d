"""Embedders as judges: does a protected photo still find its original among the originals?"""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toys import PLAIN, linear

from onlymymodel.errors import UserError
from onlymymodel.evaluate import original_matches
from onlymymodel.evaluate.face_verification import FARS, threshold_at_far
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.order_statistics import order_statistics
from onlymymodel.evaluate.original_matches import match_originals
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results
from onlymymodel.evaluate.results_file import read_results, results_to_json
from onlymymodel.evaluate.terminal_table import to_text
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import CallableBlackBox, ClassifierBlackBox
from onlymymodel.surrogates.classifier import ModelCard


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    lengths: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, np.float32)


def versions(clean: NDArray[np.float32], after: NDArray[np.float32]) -> Any:
    return {CLEAN: {AS_WRITTEN: list(clean)}, "run": {AS_WRITTEN: list(after)}}


def test_rank_1_and_tar_equal_a_search_by_hand() -> None:
    rng = np.random.default_rng(0)
    clean = unit(rng.normal(size=(40, 5)))
    after = unit(clean + 0.8 * rng.normal(size=(40, 5)))
    matches, answers = match_originals(versions(clean, after), 0.6)
    cosines = after @ clean.T
    assert matches.nearest["run"][AS_WRITTEN] == tuple(cosines.argmax(1))
    expected = [int(row.argmax()) if row.max() >= 0.6 else 40 for row in cosines]
    assert answers["run"][AS_WRITTEN] == tuple(expected)
    assert answers[CLEAN][AS_WRITTEN] == tuple(range(40))
    impostors = sorted((clean @ clean.T)[~np.eye(40, dtype=bool)], reverse=True)
    assert matches.impostors == 1560
    limit = impostors[15]  # at FAR 1 % the 15 largest of 1560 may be above
    assert matches.limits[0].cosine == pytest.approx(limit, abs=1e-6)
    scores = matches.verify("run", AS_WRITTEN, clean=answers[CLEAN][AS_WRITTEN], answers=answers["run"][AS_WRITTEN])
    assert scores.nearest == (cosines.argmax(1) == np.arange(40)).sum()
    assert scores.accepted[0.01] == (np.diag(cosines) > limit).sum()
    assert scores.lost == sum(answer != index for index, answer in enumerate(expected))


def test_copies_of_a_photo_are_one_original() -> None:
    clean = unit(np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0.0]]))
    matches, answers = match_originals(versions(clean, clean), 0.5)
    assert matches.persons == (0, 1, 0)
    assert answers["run"][AS_WRITTEN] == (0, 1, 0)
    assert matches.impostors == 2


def test_missing_answers() -> None:
    clean: list[Any] = list(unit(np.eye(3)))
    after: list[Any] = [None, *clean[1:]]
    matches, answers = match_originals({CLEAN: {AS_WRITTEN: [*clean[:2], None]}, "run": {AS_WRITTEN: after}}, 0.5)
    assert matches.persons == (0, 1, None)
    assert answers["run"][AS_WRITTEN] == (None, 1, 3)
    none = match_originals({CLEAN: {AS_WRITTEN: [None]}, "run": {AS_WRITTEN: [None]}}, 0.5)
    assert none[0].persons == (None,)
    assert none[1]["run"][AS_WRITTEN] == (None,)


def test_blocks_give_what_all_cosines_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embeddings are of small whole numbers, whose products are exact in any order."""
    rng = np.random.default_rng(1)
    clean, after = (rng.integers(-3, 4, (90, 6)).astype(np.float32) for _ in range(2))
    clean[7] = clean[3]
    whole, limits = clean @ clean.T, []
    unlike = np.array([(clean[row] != clean).any(1) for row in range(90)])
    first = np.array([unlike[row].argmin() for row in range(90)])
    impostors = whole[first == np.arange(90)][:, first == np.arange(90)][~np.eye(len(set(first)), dtype=bool)]
    for block in (1, 7, 256):
        monkeypatch.setattr(original_matches, "BLOCK", block)
        matches, answers = match_originals(versions(clean, after), 4.0)
        cosines = after @ clean.T
        assert matches.impostors == len(impostors)
        limits.append([limit.cosine for limit in matches.limits])
        assert limits[-1] == [threshold_at_far(impostors, far) for far in FARS]
        assert matches.nearest["run"][AS_WRITTEN] == tuple(first[row.argmax()] for row in cosines)
        assert matches.genuine["run"][AS_WRITTEN] == tuple(float(value) for value in np.diag(cosines))
        assert answers["run"][AS_WRITTEN] == tuple(first[row.argmax()] if row.max() >= 4.0 else 90 for row in cosines)
    assert None not in limits[0]


@pytest.mark.parametrize("count", [1, 2, 999])
def test_order_statistics_are_those_of_all_values_sorted(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).round(2).astype(np.float32)
    values[: count // 3] = [0.0, -0.0, 1e-30] * (count // 9)
    blocks = np.array_split(values, min(count, 5))
    ranks = sorted({0, count // 2, count // 3, count - 1})
    assert order_statistics(lambda: blocks, ranks) == [float(value) for value in np.sort(values)[ranks]]
    assert order_statistics(lambda: blocks, []) == []


CARD = ModelCard("colors", sha256="colors", classes=3, preprocess=PLAIN, task="embedding", threshold=0.95)


def colors() -> CallableBlackBox:
    """The mean color as an embedding of length 1."""
    return CallableBlackBox(lambda image: unit(image.mean((0, 1))[None] + 1e-3)[0], CARD)


def pairs() -> list[Pair]:
    shades = [(200, 20, 20), (20, 200, 20), (20, 20, 200)]
    made = [(200, 20, 20), (200, 180, 20), (200, 20, 30)]  # kept, neither, another's
    return [
        Pair(f"{index}.png", np.full((16, 16, 3), before, np.uint8), {"run": np.full((16, 16, 3), after, np.uint8)}, 0)
        for index, (before, after) in enumerate(zip(shades, made, strict=True))
    ]


def evaluate(**options: Any) -> Results:
    judges = [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", colors())]
    return evaluate_models(judges, pairs(), progress=False, **options)


def test_an_embedder_judges_beside_classifiers() -> None:
    results = evaluate()
    row = results.rows[1]
    assert (row.kind, row.truth, row.truths) == ("embedder", "own", (0, 1, 2))
    assert [row.name_of(answer) for answer in row.answers["run"][AS_WRITTEN]] == ["0.png", "none of them", "0.png"]
    assert row.score("run").right == 1
    assert results.heldout_mean("run") == pytest.approx(1 / 3)
    verification = row.verification("run")
    assert verification is not None
    assert (verification.nearest, verification.lost, verification.matched) == (1, 2, 3)
    for text in (to_text(results), to_markdown(results)):
        assert "finds an original at a cosine of 0.950" in text
        assert "if it finds the photo's own original" in text.replace("\n", " ")
    assert "other classes" not in to_text(results).replace("\n", " ")


def test_results_are_read_as_they_were_written(tmp_path: Any) -> None:
    import json

    results = evaluate()
    (tmp_path / "results.json").write_text(json.dumps(results_to_json(results)))
    assert read_results(tmp_path / "results.json").rows == results.rows


def test_embeddings_are_cached_as_scores(tmp_path: Any) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite3")
    first = evaluate(cache=cache)
    asked = cache.query_count(CARD)
    assert evaluate(cache=cache).rows == first.rows
    assert cache.query_count(CARD) == asked == 5  # one protected photo is its original


def test_an_embedder_cannot_be_authorized() -> None:
    with pytest.raises(UserError, match="cannot be the authorized model"):
        evaluate_models([Judge("authorized", colors())], pairs(), progress=False)


def test_a_class_index_is_no_embedding() -> None:
    results = evaluate_models(
        [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", CallableBlackBox(lambda _: 1, CARD))],
        pairs(),
        progress=False,
    )
    assert results.rows[1].score("run").failed == 3
    assert "where 3 finite scores are needed" in results.failures[0].reason


def test_one_photo_is_judged_by_the_threshold() -> None:
    results = evaluate_models(
        [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", colors())], pairs()[1:2], progress=False
    )
    assert results.rows[1].score("run").right == 0
    assert results.rows[1].score(CLEAN).right == 1
    assert torch.tensor(results.rows[1].score("run").share) == 0
