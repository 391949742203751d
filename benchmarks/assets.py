"""Paths and URIs of the real models and labelled images for benchmarks; they stay outside the repository."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

ROOT = Path(__file__).resolve().parent.parent
_CHOSEN = os.environ.get("OMM_ASSETS", "")  # other models and images than those of results/, see bench.py
# relative, so that no recorded command contains folders of this machine
ASSETS = Path(os.path.relpath(_CHOSEN or ROOT.parent / "shared" / "assets"))
# what other weights give does not take the place of the repository's results
RESULTS = ASSETS / "results" if _CHOSEN else ROOT / "results"
WORK = ASSETS / "work" if _CHOSEN else ROOT / ".cache" / "benchmarks"
FIGURES = RESULTS if _CHOSEN else ROOT / "docs"


@cache
def models() -> dict[str, dict[str, Any]]:
    """Return the records of models.json by id."""
    index = ASSETS / "models.json"
    if not index.exists():
        raise SystemExit(f"the real models are missing: there is no {index} (benchmarks/bench.py says how to get them)")
    return {record["id"]: record for record in json.loads(index.read_text(encoding="utf-8"))}


def uri(name: str, fit: str = "crop") -> str:
    """Return the URI of an ImageNet model, with its recorded preprocessing, family and parent.

    Args:
        name: id of models.json.
        fit: `squash` for images that are already cropped to the subject, as those of NIPS-2017: they are resized whole.
    """
    record = models()[name]
    options = {key: record[key] for key in ("family", "parent") if key in record} | {"fit": fit}
    if "uri" in record:
        return _with_options(record["uri"], options)
    if record["format"] == "onnx":
        return f"onnx:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ')}"
    inputs = record["input"]
    options |= {
        "arch": record["arch"],
        "crop_pct": str(inputs["crop_pct"]),
        "interpolation": inputs["interpolation"],
        "mean": ",".join(map(str, inputs["mean"])),
        "std": ",".join(map(str, inputs["std"])),
    }
    return f"checkpoint:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ')}"


def face_uri(name: str, gallery: Path) -> str:
    """Return the URI of a face model that detects and aligns faces, with its recorded task, family and parent.

    Args:
        name: id of models.json.
        gallery: folder of people, for a model that identifies people.
    """
    record = models()[name]
    options = {key: record[key] for key in ("task", "family", "parent") if key in record} | {"fit": "align"}
    if record["task"] == "identity":
        options["gallery"] = str(gallery)
    if "uri" in record:
        return _with_options(record["uri"], options)
    if record["task"] != "identity":
        options["labels"] = str(ASSETS / record["labels"])
    return f"onnx:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ', quote_via=quote)}"


def _with_options(text: str, options: dict[str, str]) -> str:
    """Return a URI with further options."""
    return f"{text}{'&' if '?' in text else '?'}{urlencode(options, safe=',:/() ', quote_via=quote)}"
