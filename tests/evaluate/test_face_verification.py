"""Rank-1, TAR at FAR and lost matches, against scikit-learn and by closed cases."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from results_toys import toy_results, with_gallery
from sklearn.metrics import roc_curve

from onlymymodel.evaluate.face_verification import FarThreshold, count_accepted, match_gallery, threshold_at_far
from onlymymodel.evaluate.results_file import read_results, results_to_json


@pytest.mark.parametrize("decimals", [1, 2, 7])  # from ties everywhere to none
@pytest.mark.parametrize("far", [0.5, 0.1, 1e-2, 1e-3])
@pytest.mark.parametrize("count", [1000, 1001, 2999])
def test_tar_at_far_matches_scikit_learn(decimals: int, far: float, count: int) -> None:
    random = np.random.default_rng(count)
    impostors = random.normal(0, 0.2, count).round(decimals)
    genuine = random.normal(0.4, 0.2, 500).round(decimals)
    threshold = threshold_at_far(impostors, far)
    assert threshold is not None
    fpr, tpr, _ = roc_curve([0] * count + [1] * 500, np.concatenate([impostors, genuine]), drop_intermediate=False)
    assert count_accepted(genuine.tolist(), threshold) / 500 == tpr[fpr <= far].max()
    assert (impostors > threshold).mean() <= far
    assert (impostors > threshold - 1e-9).mean() > far, "a smaller cosine would have done"


def test_equal_scores_are_all_above_a_threshold_or_none() -> None:
    assert threshold_at_far(np.full(1000, 0.25), 1e-2) == 0.25
    assert count_accepted([0.25] * 5, 0.25) == 0
    assert count_accepted([float(np.nextafter(0.25, 1))] * 5, 0.25) == 5
    tied = np.array([0.9] * 11 + [0.1] * 989)
    assert threshold_at_far(tied, 1e-2) == 0.9
    assert threshold_at_far(tied, 11e-3) == 0.1


@pytest.mark.parametrize("far", [1e-2, 1e-3])
def test_too_few_impostor_scores_give_no_threshold(far: float) -> None:
    needed = round(1 / far)
    for count in (0, 1, needed - 1):
        assert threshold_at_far(np.arange(count, dtype=float), far) is None
    assert threshold_at_far(np.arange(needed, dtype=float), far) == needed - 2  # one score may be above


def test_threshold_tolerates_rounding_of_far() -> None:
    assert int(0.29 * 100) == 28
    assert threshold_at_far(np.arange(100.0), 0.29) == 70.0


def test_match_gallery_on_a_small_example() -> None:
    cosines: list[NDArray[np.float32] | None] = [
        np.array([0.75, 0.5, -0.25], np.float32),
        np.array([0.5, 0.25, 0.0], np.float32),
        None,
        np.array([0.125, 0.125, 1.0], np.float32),
    ]
    matches = match_gallery({"clean": {"png": cosines}}, cosines, (0, 1, 2, None), 0.3)
    assert matches.nearest == {"clean": {"png": (0, 0, None, 2)}}
    assert matches.genuine == {"clean": {"png": (0.75, 0.25, None, None)}}
    assert matches.impostors == 4, "neither of the photo that failed nor of the one that shows nobody"
    assert matches.limits == (FarThreshold(1e-2, None), FarThreshold(1e-3, None))
    counts = matches.verify("clean", "png", clean=(0, 3, None, 2), answers=(0, 3, None, 2))
    assert (counts.photos, counts.left_out, counts.failed, counts.nearest) == (3, 1, 1, 1)
    assert counts.accepted == {1e-2: None, 1e-3: None}
    assert (counts.matched, counts.lost) == (1, 0)


def test_verification_without_a_person_is_no_error() -> None:
    alone = np.ones(1, np.float32)
    for persons in ((0,), (None,)):
        matches = match_gallery({"clean": {"png": [alone]}}, [alone], persons, 0.0)
        assert (matches.impostors, [limit.cosine for limit in matches.limits]) == (0, [None, None])
    assert matches.verify("clean", "png", clean=(0,), answers=(0,)).photos == 0


def test_gallery_figures_of_the_toy() -> None:
    row = with_gallery(toy_results()).rows[3]
    scores = [row.verification(version) for version in ("clean", "eps8", "eps16")]
    assert [score and (score.photos, score.left_out, score.failed, score.nearest) for score in scores] == [
        (3, 1, 0, 3),
        (3, 1, 0, 2),
        (3, 1, 1, 0),
    ]
    # 0.6 is the smallest cosine with one of 102 above it
    assert [score and score.accepted for score in scores] == [
        {1e-2: 3, 1e-3: None},
        {1e-2: 1, 1e-3: None},
        {1e-2: 0, 1e-3: None},
    ]
    assert [score and (score.matched, score.lost) for score in scores] == [(3, 0), (3, 1), (3, 2)], (
        "no answer is no loss"
    )


def test_results_file_keeps_matches_and_older_files_have_none(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = with_gallery(toy_results())
    content = results_to_json(results)
    path.write_text(json.dumps(content))
    assert read_results(path) == results
    assert "genuine score" in content["verification"]
    scored = [score["verification"] for score in content["scores"] if "verification" in score]
    assert len(scored) == 3 * 3
    assert json.loads(json.dumps(scored))[-1]["accepted"] == {"0.01": 0, "0.001": None}
    plain = results_to_json(toy_results())
    assert "verification" not in plain
    assert not [row for row in plain["rows"] if "matches" in row]
    for row in content["rows"]:
        row.pop("matches", None)
    path.write_text(json.dumps(content))
    assert all(row.matches is None for row in read_results(path).rows)
