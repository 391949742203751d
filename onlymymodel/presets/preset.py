"""Read the bundled run files. Listing and showing them imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onlymymodel.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from onlymymodel.settings_partial import PartialSettings

FOLDER = Path(__file__).parent
# each is NAME.toml, and what it is for
PRESETS = {
    "photos": "photos of things and places, read by an image classifier",
    "faces": "portraits of people whom a face recognition model knows from a gallery",
    "people-in-photos": "photos with several people; every face is protected, the rest stays as it is",
}


def preset_path(name: str) -> Path:
    """Return the run file of a preset.

    Raises:
        UserError: there is no preset of this name; the message suggests near ones.
    """
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}{did_you_mean(name, PRESETS)}")
    return FOLDER / f"{name}.toml"


def preset_text(name: str) -> str:
    """Return the text of a preset's run file, for a copy to edit.

    Raises:
        UserError: see `preset_path`.
    """
    return preset_path(name).read_text(encoding="utf-8")


def load_preset(name: str) -> PartialSettings:
    """Return the settings of a preset, as `read_run_file` returns those of a run file.

    `PartialSettings(...).over(load_preset(name)).complete()` are the settings of a run; the presets of faces need a
    `gallery` before they are complete.

    Args:
        name: a key of `PRESETS`.

    Raises:
        UserError: see `preset_path`.
    """
    path = preset_path(name)
    from onlymymodel.settings_file import read_run_file

    return read_run_file(path)
