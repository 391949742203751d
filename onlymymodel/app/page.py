"""The HTML of the page."""

from pathlib import Path

import jinja2

from onlymymodel.app.choices import choices
from onlymymodel.app.form import MAX_EPSILON, MAX_PIXELS, MAX_STEPS, Policy
from onlymymodel.app.session import MAX_PHOTOS
from onlymymodel.app.uploaded_photo import AMPLIFY, MAX_BYTES
from onlymymodel.app.visibility import LAST, NAMED
from onlymymodel.data.file_signatures import SUFFIXES
from onlymymodel.example import example
from onlymymodel.protect.budget.strengths import STRENGTHS

STATIC = Path(__file__).parent / "static"


def render_page(policy: Policy) -> str:
    """Return the page. Its template gets only text of this package and names of models, yet everything is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(STATIC), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html").render(
        choices=choices(),
        example=example(),
        strengths=STRENGTHS,
        named=NAMED,
        last_stop=LAST,
        max_epsilon=MAX_EPSILON,
        max_steps=MAX_STEPS,
        max_photos=MAX_PHOTOS,
        max_bytes=MAX_BYTES,
        max_pixels=MAX_PIXELS,
        suffixes=sorted(SUFFIXES),
        amplify=AMPLIFY,
        local=policy.local,
        allow_python=policy.allow_python,
    )
