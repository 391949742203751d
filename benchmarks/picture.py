"""Draw the README's picture: a portrait, its protected version, the change, and the answer of each bundled model.

    python benchmarks/picture.py

The portrait is the first one of `omm demo`, with the same models in the same roles.
"""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from assets import ROOT
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from onlymymodel import BlackBox, Budget, configure
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.portraits import IDENTITY_NAMES, render
from onlymymodel.demo import BUNDLED, PORTRAIT_SEED
from onlymymodel.evaluate.images import amplify_difference
from onlymymodel.protect.photo import protect_bytes
from onlymymodel.surrogates.black_box import ClassifierBlackBox

TARGET = ROOT / "docs" / "portrait.png"
SIDE, EPSILON, AMPLIFY, IDENTITY = 320, 8, 8, 0
RIGHT, WRONG, QUIET = "#1a6b45", "#b03a2e", "#555555"


def main() -> None:
    """Protect the portrait and draw it."""
    configure()
    original = render(IDENTITY, 0, PORTRAIT_SEED, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(original).save(buffer, "PNG")
    context, heldout = replace(BUNDLED, budget=Budget(EPSILON / 255)).load()
    data, record = protect_bytes(buffer.getvalue(), label=IDENTITY, context=context)
    if data is None:
        raise SystemExit(record.reason)
    protected = decode(data).pixels
    judges = [("authorized", ClassifierBlackBox(context.authorized)), *(("held out", model) for model in heldout)]
    write_atomic(TARGET, draw(original, protected, judges))
    print(f"{TARGET.relative_to(ROOT)}: {record.reason}, PSNR {record.psnr:.1f}, SSIM {record.ssim:.3f}")


def draw(original: NDArray[np.uint8], protected: NDArray[np.uint8], judges: Sequence[tuple[str, BlackBox]]) -> bytes:
    """Return the PNG: three panels, and below the first two the answer of every model."""
    figure = Figure(figsize=(9.6, 4.3), dpi=100, facecolor="white")
    panels = ((original, "the photo"), (protected, "as it leaves your hands"))
    difference = amplify_difference(original, protected, AMPLIFY)
    for column, (pixels, title) in enumerate((*panels, (difference, f"the change, {AMPLIFY} times as strong"))):
        axes = figure.add_axes((0.01 + column * 0.333, 0.25, 0.313, 0.68))
        axes.imshow(pixels, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(title, fontsize=12, color="#222222")
    for column, (pixels, _) in enumerate(panels):
        for line, (role, model) in enumerate(judges):
            answer = int(model.predict([pixels])[0].argmax())
            color = RIGHT if answer == IDENTITY else WRONG
            height = 0.19 - 0.065 * line
            figure.text(0.02 + column * 0.333, height, f"{role}: {model.card.family}", fontsize=10.5, color=QUIET)
            text = f"{model.card.name_of(answer)} {'✓' if answer == IDENTITY else '✗'}"
            figure.text(0.318 + column * 0.333, height, text, fontsize=10.5, color=color, ha="right", weight="bold")
    note = f"It is {IDENTITY_NAMES[IDENTITY]}.\nNo channel of any pixel\nchanged by more than {EPSILON} of 255."
    figure.text(0.69, 0.19, note, fontsize=10.5, color=QUIET, va="top", linespacing=1.5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        figure.savefig(path, metadata={"Software": None})
        return path.read_bytes()


if __name__ == "__main__":
    main()
