"""Sample photos: rendered portraits of people whom the bundled models recognize."""

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
    """Return the names and PNG bytes of the sample photos."""
    photos = []
    for person, expression in SCENES:
        out = io.BytesIO()
        Image.fromarray(render(person, expression, PORTRAIT_SEED + person, SIDE)).save(out, "PNG")
        photos.append((f"portrait-{IDENTITY_NAMES[person].lower()}.png", out.getvalue()))
    return tuple(photos)
