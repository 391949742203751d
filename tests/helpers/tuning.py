"""`omm tune` from the command line, on toy models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onlymymodel.cli import main as cli
from onlymymodel.cli.output import Output
from onlymymodel.data.portraits import render
from onlymymodel.evaluate.tune import tune_page
from onlymymodel.surrogates.load import load_black_box

SIZE, PHOTOS, HIGHEST = 64, 5, 8
MINE, JUDGE = "zoo:identity-residual", "zoo:identity-inception"
TEAM = ["--authorized", MINE, "--surrogate", "zoo:identity-plain", "zoo:identity-vit"]
QUICK = [
    "--recipe", "exact", "--steps", "4", "--views", "center", "--device", "cpu", "--quiet", "--shape", "even",
    "--highest", str(HIGHEST),
]  # fmt: skip
TOYS = [
    "--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs", "python:toys:others", "--allow-python",
    "--steps", "2", "--step-share", "1", "--views", "center", "--kappa", "0.5",
    "--shape", "even", "--device", "cpu", "--quiet",
]  # fmt: skip


def omm(*words: str) -> int:
    """Run a command line; a UserError is raised, not printed."""
    arguments = cli.build_parser().parse_args(words)
    arguments.words, arguments.output = list(words), Output(as_json=False)
    code: int = arguments.run(arguments)
    return code


def write_portraits(folder: Path, count: int, apart: int | None = None) -> Path:
    """Write portraits `0.png`, `1.png`, ... into a folder, that number `apart` into a folder `trip` below it."""
    for index in range(count):
        into = folder / "trip" if index == apart else folder
        into.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(index, index, 7_100_000 + index, SIZE)).save(into / f"{index}.png")
    return folder


def answer(uri: str, path: Path) -> int:
    return int(load_black_box(uri).predict([np.asarray(Image.open(path).convert("RGB"))])[0].argmax())


def content_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / tune_page.JSON).read_text(encoding="utf-8"))
    return content
