"""The example on the page's first screen: a photo that was protected beforehand, and what every model said."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from onlymymodel.app.uploaded_photo import View

FOLDER = Path(__file__).parent / "example"
RECORD = FOLDER / "example.json"
VIEWS: tuple[View, ...] = ("before", "after", "difference")


@cache
def example() -> dict[str, Any]:
    """Return the photo as `UploadedPhoto.to_json` gives it, and `words`, which say what it is."""
    content: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return content
