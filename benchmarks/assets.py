"""Where the real models and labelled images are, for benchmarks; they stay outside the repository."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(
    os.path.relpath(ROOT.parent / "shared" / "assets")
)  # relative, so that no command names a machine's folders
RESULTS = ROOT / "results"
WORK = ROOT / ".cache" / "benchmarks"


@cache
def models() -> dict[str, dict[str, Any]]:
    """The records of models.json by id."""
    index = ASSETS / "models.json"
    if not index.exists():
        raise SystemExit(f"the real models are not here: {index} is missing")
    return {record["id"]: record for record in json.loads(index.read_text(encoding="utf-8"))}


def uri(name: str, fit: str = "crop") -> str:
    """The URI of an ImageNet model of the assets, with its recorded preprocessing, family and parent.

    Args:
        fit: `squash` for images that were cut to the subject already, as those of NIPS-2017: they are resized whole.
    """
    record = models()[name]
    options = {"family": record["family"], "parent": record["parent"], "fit": fit}
    if record["format"] == "onnx":
        return f"onnx:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ')}"
    wants = record["input"]
    options |= {
        "arch": record["arch"],
        "crop_pct": str(wants["crop_pct"]),
        "interpolation": wants["interpolation"],
        "mean": ",".join(map(str, wants["mean"])),
        "std": ",".join(map(str, wants["std"])),
    }
    return f"checkpoint:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ')}"


def face_uri(name: str, gallery: Path) -> str:
    """The URI of a face model of the assets, with its recorded task, family and parent; it finds and aligns the face.

    Args:
        gallery: folder of the people whom a model that tells people apart is to know.
    """
    record = models()[name]
    options = {key: record[key] for key in ("task", "family", "parent")} | {"fit": "align"}
    if record["task"] == "identity":
        options["gallery"] = str(gallery)
    else:
        options["labels"] = str(ASSETS / record["labels"])
    return f"onnx:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ', quote_via=quote)}"
