"""The table of settings, on measurements written by hand."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from paths import BENCHMARKS

DEFAULT = {"a.png": (-4.0, -2.0), "b.png": (-6.0, -4.0)}  # log-probability as written, and through each deployment
LESS_READ = {"a.png": (-5.0, -2.5), "b.png": (-7.0, -3.5), "c.png": (-90.0, -90.0)}


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/recipe_tables.py over an empty results folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("recipe_tables")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    (tmp_path / "recipes").mkdir()
    return module


def record(tables: ModuleType, variant: str, log_probabilities: dict[str, tuple[float, float]]) -> None:
    """Write what was measured of a variant; the authorized model loses `jpeg-90`, and never read `noise`."""
    photos: list[dict[str, Any]] = []
    for name, (as_written, processed) in log_probabilities.items():
        values = dict.fromkeys(tables.READ_THROUGH, processed) | {"as-written": as_written}
        unknown = {key: {"log_probability": value, "read": value > -3} for key, value in values.items()}
        margins = {"as-written": [2, 1], "jpeg-75": [1, 1], "jpeg-90": [1, -1], "noise": [-1, -1]}
        photos.append({"photo": name, "ssim": 0.95, "flip": 0.1, "margins": margins, "unknown": unknown})
    content = {"team": "resnet50", "variant": variant, "budget": "8", "photos": photos, "cpu_seconds_per_photo": 2.5}
    target = tables.RESULTS / "recipes" / f"resnet50-{variant}-8.json"
    target.write_text(json.dumps(content), encoding="utf-8")


def rows(tables: ModuleType) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in tables.settings().splitlines()[2:]]


def test_a_variant_is_compared_with_default_on_the_photos_of_both(tables: ModuleType) -> None:
    record(tables, "default", DEFAULT)
    record(tables, "three-views", LESS_READ)
    default, variant = rows(tables)
    assert default == [
        "8", "resnet50", "`default`", "2", "-5.00", "-", "-3.00", "-", "3 of 8", "66.7 %", "0.950", "0.100", "2.5"
    ]  # fmt: skip
    assert variant[2:4] == ["`--views block_shuffle affine resize_pad`", "3"]
    assert variant[5] == "-1.00 [-1.00, -1.00] *"  # on each of both photos
    assert variant[7] == "+0.00 [-0.50, +0.50]"


def test_nothing_is_compared_without_default(tables: ModuleType) -> None:
    record(tables, "looks-2", DEFAULT)
    assert rows(tables) == []
