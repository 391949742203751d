"""Check that a folder can take the results of a run, without loading a model or importing torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onlymymodel.data.atomic import OWN
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.protect.budget.kinds import LINF

RUN_RECORD = "run.json"
DATASET_CARD = "README.md"  # where the originals are rows of Parquet files
MAX_BYTES = 64 << 20  # of that file
START_AGAIN = "give another --out, or remove that folder to start again"


def check_ours(out: Path) -> None:
    """Refuse a folder with files that no run has written.

    Raises:
        UserError: the folder is not empty and has no `run.json`.
    """
    if (out / RUN_RECORD).exists() or not out.is_dir():
        return
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith(OWN))
    if names:
        raise UserError(not_ours(str(out), names[0]))


def not_ours(out: str, name: str) -> str:
    """Return in one sentence that an output folder has a file that no run has written."""
    return f"{out} is not empty and was not written by omm protect (it has {name}); give another --out"


def check_same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder of a run with other settings, as far as that can be told without models.

    Args:
        out: the output folder.
        settings: those of `run_record.describe` that do not depend on models.

    Raises:
        UserError: the folder was made with other settings; the message names the first one that differs.
    """
    try:
        content = json.loads(read_regular(out / RUN_RECORD, MAX_BYTES, follow_links=False))["settings"]
        settings = {name: value for name, value in settings.items() if name in content}
        recorded = _flat({name: content[name] for name in settings})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # there is none, or it is broken: what reads all of it says so
    given = _flat(settings)
    for name in [*given, *(name for name in recorded if name not in given)]:
        there, here = recorded.get(name, "none"), given.get(name, "none")
        if there != here and (name, here) != ("precision", "auto"):  # which is decided on the device
            name = "epsilon" if name == LINF else name.replace("_", "-")
            differs = f"{name} {_written(there)} there, {_written(here)} here"
            raise UserError(f"{out} was made with other settings ({differs}); {START_AGAIN}")


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the fields of the budget and of the recipe among them."""
    tables = [value for value in settings.values() if isinstance(value, Mapping)]
    alone = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    return {name: value for table in (*tables, alone) for name, value in table.items()}
