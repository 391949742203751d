"""Detectors as judges: the objects of the clean photo that are still found."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectors import Corners, corners, decode, quarters
from toys import linear

from onlymymodel.evaluate.csv_table import to_csv
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.report import render_report
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, ObjectCounts, Results
from onlymymodel.evaluate.results_file import read_results, results_to_json
from onlymymodel.evaluate.terminal_table import to_text
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.deployments import get_deployments
from onlymymodel.surrogates.detector import Detections, Detector, as_judge
from onlymymodel.surrogates.object_matches import count_found


def detections(*objects: tuple[float, float, float, float, float, int]) -> Detections:
    rows = torch.tensor(objects).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].long())


A, B = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("after", "count"),
    [
        ([(*A, 0.9, 0), (*B, 0.8, 1)], 2),
        ([(*A, 0.5, 0)], 1),
        ([(*A, 0.9, 1), (*B, 0.8, 0)], 0),  # the classes are exchanged
        ([(0.0, 0.0, 0.4, 0.21, 0.9, 0)], 1),  # IoU 0.525
        ([(0.0, 0.0, 0.4, 0.19, 0.9, 0)], 0),  # IoU 0.475
        ([], 0),
    ],
)
def test_an_object_is_found_again_by_class_and_overlap(after: Any, count: int) -> None:
    assert count_found(detections((*A, 0.9, 0), (*B, 0.8, 1)), detections(*after)) == count


def test_one_detection_is_found_for_one_object() -> None:
    twins = detections((*A, 0.9, 0), (0.0, 0.0, 0.4, 0.39, 0.8, 0))
    assert count_found(twins, detections((*A, 0.9, 0))) == 1
    assert count_found(twins, twins) == 2


def pairs() -> list[Pair]:
    clean = np.zeros((16, 16, 3), np.uint8)
    clean[:8, :8, 0] = 200
    clean[8:, 8:, 1] = 160
    one_left, empty = clean.copy(), np.zeros((16, 16, 3), np.uint8)
    one_left[8:, 8:] = 0
    return [
        Pair("a.png", clean, {"run": one_left}, 0),
        Pair("b.png", one_left, {"run": empty}, 0),
        Pair("c.png", empty, {"run": empty}, 0),
    ]


def evaluate(**options: Any) -> Results:
    judges = [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", as_judge(corners()))]
    return evaluate_models(judges, pairs(), progress=False, **options)


def test_a_detector_judges_beside_classifiers(tmp_path: Path) -> None:
    results = evaluate()
    row = results.rows[1]
    assert row.kind == "detector"
    assert row.objects is not None
    assert row.objects[CLEAN]["png"] == ObjectCounts(objects=3, found=3, photos=2, photos_without=0)
    assert row.objects["run"]["png"] == ObjectCounts(objects=3, found=1, photos=2, photos_without=1)
    assert [row.name_of(answer) for answer in row.answers["run"]["png"]] == ["red", "nothing", "nothing"]
    for text in (to_text(results), to_markdown(results)):
        assert "objects found" in text
        assert "33.3%" in text
    assert "What is found by detector and version" in render_report(results, pairs(), title="t", summary="s")
    assert "objects,objects_found,photos_with_objects,photos_without" in to_csv(results).splitlines()[0]
    (tmp_path / "results.json").write_text(json.dumps(results_to_json(results)))
    assert read_results(tmp_path / "results.json").rows == results.rows


@pytest.mark.parametrize(("model", "found"), [(corners, 0), (quarters, 2)])
def test_a_deployed_detector_has_to_find_its_objects(
    model: Callable[[], Classifier], found: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Corners are looked for at fixed places, and are elsewhere on the mirrored photo; quarters move with it."""
    (pair,) = pairs()[:1]
    same = replace(pair, protected={"run": pair.original})
    channels = get_deployments(["mirror", "shift-right", "resize+1", "crop-0.875", "bfloat16"])
    with caplog.at_level(logging.WARNING):
        results = evaluate_models(
            [Judge("authorized", as_judge(model())), Judge("held-out", as_judge(corners("other")))],
            [same],
            channels=channels,
            progress=False,
        )
    assert "left out, since they move the boxes" in caplog.text
    assert results.channels == (AS_WRITTEN, "mirror", "bfloat16")
    row, other = results.rows
    assert {name: row.answers["run"][name] == row.truths for name in results.channels} == {
        AS_WRITTEN: True, "mirror": found == 2, "bfloat16": True,
    }  # fmt: skip
    assert row.objects is not None
    assert other.objects is not None
    assert (row.objects["run"]["mirror"].found, other.objects["run"]["mirror"].objects) == (found, 0)


class Fragile(torch.nn.Module):
    """The network of `corners`, which counts the photos that it sees, and fails on black ones."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.seen = Corners(), 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        if not pixels.any():
            raise RuntimeError("it is dark")
        found: torch.Tensor = self.network(pixels)
        return found


@pytest.mark.parametrize("with_cache", [False, True])
def test_a_detector_is_asked_once_and_costs_an_answer_where_it_fails(with_cache: bool, tmp_path: Path) -> None:
    network, model = Fragile(), corners()
    detector = Classifier(Detector(network, decode, 0.5, None), model.card)
    judges = [Judge("authorized", ClassifierBlackBox(linear(0))), Judge("held-out", as_judge(detector))]
    cache = AnswerCache(tmp_path / "answers.sqlite3") if with_cache else None
    results = evaluate_models(judges, pairs(), cache=cache, progress=False)
    assert network.seen == 6  # three photos, clean and protected
    row, whole = results.rows[1], evaluate().rows[1]
    for version in (CLEAN, "run"):
        failed = {failure.photo for failure in results.failures if failure.version == version}
        assert failed == ({"c.png"} if version == CLEAN else {"b.png", "c.png"})
        assert row.answers[version]["png"] == tuple(
            None if photo in failed else answer
            for photo, answer in zip(results.photos, whole.answers[version]["png"], strict=True)
        )
    assert {failure.reason for failure in results.failures} == {"it is dark"}
    assert row.objects is not None
    assert row.objects["run"]["png"] == ObjectCounts(objects=3, found=2, photos=2, photos_without=0)
