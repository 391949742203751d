"""Self-contained pages: templates that escape everything, pictures and hashes inside the page."""

import base64
import hashlib
import io
import json
from typing import Any

import jinja2
from PIL import Image


def environment() -> jinja2.Environment:
    """The templates of this room. File and class names are a stranger's text: everything is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("onlymymodel.evaluate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def png(image: Image.Image) -> str:
    """A picture as a `data:` URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "png")


def data_uri(data: bytes, kind: str) -> str:
    """An image file's bytes as a `data:` URI; kind as in its media type."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def csp_hash(text: str) -> str:
    """The source expression by which a content security policy admits exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def json_text(content: dict[str, Any]) -> str:
    """JSON for a file; infinite and undefined figures, which JSON has not, become null."""
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
