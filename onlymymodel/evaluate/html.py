"""Parts of self-contained HTML pages: templates that escape everything, embedded pictures, policy hashes."""

import base64
import hashlib
import io
from typing import Any

import jinja2
from PIL import Image

from onlymymodel.data.manifest import json_bytes
from onlymymodel.evaluate.drawing import recolor_for_dark


def template_environment() -> jinja2.Environment:
    """Return the environment of this package's templates. It escapes everything: names come from unknown sources."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("onlymymodel.evaluate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def png_uri(image: Image.Image) -> str:
    """Return a picture as a `data:` URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "png")


def data_uri(data: bytes, kind: str) -> str:
    """Return an image file as a `data:` URI.

    Args:
        data: content of the file.
        kind: subtype of its media type, such as `png` or `svg+xml`.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def plot_uris(svg: str) -> tuple[str, str]:
    """Return a plot as `data:` URIs for a light and a dark page."""
    light, dark = (data_uri(text.encode(), "svg+xml") for text in (svg, recolor_for_dark(svg)))
    return light, dark


def csp_hash(text: str) -> str:
    """Return the source expression with which a content security policy allows exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def json_text(content: dict[str, Any]) -> str:
    """Return JSON for a file; infinite and undefined numbers, which JSON does not have, become null."""
    return json_bytes(_finite(content), indent=1).decode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
