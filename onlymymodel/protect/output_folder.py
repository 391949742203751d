"""Check that a folder can take the results of a run, without loading a model or importing torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onlymymodel.data.atomic import OWN
from onlymymodel.data.regular_file import read_regular
from onlymymodel.errors import UserError
from onlymymodel.protect.budget.kinds import LINF
from onlymymodel.protect.budget.strengths import AUTO, STRENGTHS
from onlymymodel.protect.region import WHOLE

RUN_RECORD = "run.json"
DATASET_CARD = "README.md"  # where the originals are rows of Parquet files
MAX_BYTES = 64 << 20  # of that file
# settings that the file has only where they are others than these
USUAL: dict[str, Any] = {
    "auto_strength": False,
    "region": asdict(WHOLE),
    "keep_makernotes": False,
    "first_frame": False,
    "exclude": [],
    "portable": False,
}
_FLAGS = {LINF: "epsilon", "kind": "region", "name": "recipe"}  # flags with other names than the settings
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
        settings: those of `run_record.describe` that do not depend on models; those of `USUAL` may be left out where
            they are usual.

    Raises:
        UserError: the folder was made with other settings; the message names the first one that differs.
    """
    try:
        content = {**USUAL, **json.loads(read_regular(out / RUN_RECORD, MAX_BYTES, follow_links=False))["settings"]}
        settings = {name: value for name, value in {**USUAL, **settings}.items() if name in content}
        recorded = {name: content[name] for name in settings}
        differs = _first_difference(recorded, settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # there is none, or it is broken: what reads all of it says so
    if differs is not None:
        name, there, here = differs
        raise UserError(
            f"{out} was made with other settings ({name} {_written(there)} there, {_written(here)} here); {START_AGAIN}"
        )


def _first_difference(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the name of the first setting that differs, as its flag has it, with both values; None if none does."""
    strengths = _strength(recorded), _strength(given)
    if strengths[0] != strengths[1] and (AUTO in strengths or None not in strengths):
        return "strength", *strengths
    there, here = _flat(recorded), _flat(given)
    for name in [*here, *(name for name in there if name not in here)]:
        values = there.get(name), here.get(name)
        if values[0] != values[1] and (name, values[1]) != ("precision", "auto"):  # which is decided on the device
            return _FLAGS.get(name, name.replace("_", "-")), *values
    return None


def _strength(settings: Mapping[str, Any]) -> str | None:
    """Return the strength of a budget; None for one with other bounds."""
    if settings["auto_strength"]:
        return AUTO
    budget = settings["budget"].items()
    return next((name for name, strength in STRENGTHS.items() if strength.bounds.items() <= budget), None)


def _written(value: Any) -> str:
    """Return a value as flags give it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if value in (None, ""):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the fields of the budget, the recipe and the region among them."""
    tables = [value for value in settings.values() if isinstance(value, Mapping)]
    alone = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    return {name: value for table in (*tables, alone) for name, value in table.items()}
