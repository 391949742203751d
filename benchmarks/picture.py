"""Draw the README's picture: a photo, its protected version, the change, and what each model said.

    python benchmarks/picture.py

The photo, its pictures and the answers are those of the example of `omm app`, which `page_example.py` makes with real
models.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from assets import ROOT
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.app.uploaded_photo import AMPLIFY
from onlymymodel.data.atomic import write_atomic
from onlymymodel.example import FOLDER, example

TARGET = ROOT / "docs" / "picture.png"
WIDTH, HEIGHT = 9.6, 4.3  # in inches of 100 pixels; a panel has the pixels of the photo
ROLES = {"authorized": "authorized", "held-out": "judge"}
RIGHT, WRONG, QUIET = "#1a6b45", "#b03a2e", "#555555"


def main() -> None:
    """Draw the picture."""
    write_atomic(TARGET, draw(example()))
    print(TARGET.relative_to(ROOT))


def draw(photo: dict[str, Any]) -> bytes:
    """Return the PNG: three panels, and below the first two the answers of the models that were not used up.

    Args:
        photo: as `onlymymodel.example.example` gives it.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100, facecolor="white")
    titles = {
        "before": "the photo",
        "after": "as it leaves your hands",
        "difference": f"the change, {AMPLIFY} times as strong",
    }
    for column, (view, title) in enumerate(titles.items()):
        axes = figure.add_axes((0.01 + column * 0.333, 0.235, 0.3125, 0.3125 * WIDTH / HEIGHT))
        axes.imshow(_pixels(view), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(title, fontsize=11, color="#222222", pad=4)
    rows = [row for row in photo["channels"][0]["answers"] if row["role"] in ROLES]
    for column, key in enumerate(("before", "after")):
        for line, row in enumerate(rows):
            right = row[key] == photo["label"]
            left, height = 0.01 + column * 0.333, 0.185 - 0.07 * line
            figure.text(left, height, f"{ROLES[row['role']]}: {row['model']}", fontsize=9.5, color=QUIET)
            answer = f"{row[key]} {'✓' if right else '✗'}"
            color = RIGHT if right else WRONG
            figure.text(left + 0.3125, height, answer, fontsize=9.5, color=color, ha="right", weight="bold")
    figures = photo["figures"]
    note = (
        f"Strength medium: SSIM {figures['ssim']:.2f};\nno channel of any pixel changed\nby more than "
        f"{figures['linf']:g} of 255."
    )
    figure.text(0.676, 0.215, note, fontsize=9.5, color=QUIET, va="top", linespacing=1.6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        figure.savefig(path, metadata={"Software": None})
        return path.read_bytes()


def _pixels(view: str) -> NDArray[np.uint8]:
    with Image.open(FOLDER / f"{view}.webp") as image:
        return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
    main()
