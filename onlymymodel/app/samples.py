"""Rendered portraits of people whom the bundled models know, for whoever has no photo at hand."""

import io
from functools import cache

from PIL import Image

from onlymymodel.data.portraits import IDENTITY_NAMES, render
from onlymymodel.demo import PORTRAIT_SEED

# (person, expression)
SCENES = ((3, 1), (8, 3))
SIDE = 320  # pixels


@cache
def samples() -> tuple[tuple[str, bytes], ...]:
    """Names and PNG bytes."""
    made = []
    for person, expression in SCENES:
        out = io.BytesIO()
        Image.fromarray(render(person, expression, PORTRAIT_SEED + person, SIDE)).save(out, "PNG")
        made.append((f"portrait-{IDENTITY_NAMES[person].lower()}.png", out.getvalue()))
    return tuple(made)
