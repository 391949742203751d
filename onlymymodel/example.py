"""An example: a real photo that was protected beforehand, and what every model said, for the page and for the demo."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "example"
RECORD = FOLDER / "example.json"
ExampleView = Literal["before", "after", "difference"]
VIEWS: tuple[ExampleView, ...] = ("before", "after", "difference")


@cache
def example() -> dict[str, Any]:
    """Return the photo as `UploadedPhoto.to_json` of the page gives it, and `words`, which say what it is."""
    content: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return content


def example_picture(view: ExampleView) -> bytes:
    """Return a picture of the example as a WebP file."""
    return (FOLDER / f"{view}.webp").read_bytes()
