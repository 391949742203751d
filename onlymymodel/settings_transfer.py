"""Settings of a run as a text, from which a worker on another machine makes its own context."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onlymymodel.settings import RunSettings, make_context
from onlymymodel.settings_file import read_run_file

if TYPE_CHECKING:
    from onlymymodel.protect.context import Context

MAKER = "onlymymodel.settings_transfer:context_from"


def specification(settings: RunSettings, *, allow_python: bool) -> str:
    """Return the models and settings of a protection as JSON, with absolute paths; held-out models are left out."""
    run = replace(settings, heldout=()).to_toml(None)
    return json.dumps({"run": run, "allow_python": allow_python})


def context_from(text: str, device: str) -> "Context":
    """Load the models of a specification on a device.

    Raises:
        UserError: see `RunSettings.load`.
    """
    content = json.loads(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_text(content["run"], encoding="utf-8")
        settings = read_run_file(path).complete()
    return make_context(settings, content["allow_python"], device)
