"""Flags that several commands share. Their tables come from modules that do not import torch."""

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from onlymymodel.cli.commands import Command
from onlymymodel.data.choices import METADATA
from onlymymodel.data.stores.address import is_remote
from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.presets.preset import PRESETS
from onlymymodel.protect.attack.recipe import CHOICES, RECIPES, Recipe
from onlymymodel.protect.budget.kinds import BOUNDS, LINF, SHAPES, optional_bounds
from onlymymodel.protect.budget.strengths import AUTO as AUTO_STRENGTH
from onlymymodel.protect.budget.strengths import AUTO_MEANING, DEFAULT, STRENGTHS
from onlymymodel.protect.choices import FACES, FORMATS, NO_FACE
from onlymymodel.protect.memory_limit import DEFAULT as DEFAULT_MEMORY
from onlymymodel.protect.memory_limit import MemorySize

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "mps", "xpu", "hpu", "npu", "xla")  # kinds of devices that torch can be built for
DEVICES_MEANT = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "metal": "mps"}  # torch calls them otherwise
PROGRESS = ("auto", "bar", "lines", "json", "none")
LOG_LEVELS = ("debug", "info", "warning", "error")
SEVERAL: dict[str, Any] = {"action": "extend", "nargs": "+", "default": [], "metavar": "URI"}


def add_models(group: Any, written: str = "") -> None:
    """Add the flags that name the models of a protection.

    Args:
        written: what the command writes for held-out models, appended to the help text of `--heldout`.
    """
    group.add_argument("--authorized", metavar="URI", help="the model that must still read the photos")
    group.add_argument(
        "--surrogate", help="stand-ins (surrogates) for unknown models, misled while a photo is changed", **SEVERAL
    )
    judges = "judges (held-out): models that only read the written files, as evidence"
    group.add_argument("--heldout", help=f"{judges}{written}", **SEVERAL)
    add_gallery(group)


def add_gallery(group: Any) -> None:
    """Add `--gallery`."""
    people = "a folder with one folder of photos for each person, for models that have gallery= in their URI"
    group.add_argument("--gallery", metavar="PEOPLE", help=people)


def add_run_file(group: Any) -> None:
    """Add `--preset` and `--run`, of which only one can be given."""
    file = group.add_mutually_exclusive_group()
    presets = f"settings that are bundled: {', '.join(PRESETS)} (omm preset list); flags override them"
    file.add_argument("--preset", metavar="NAME", help=presets)
    file.add_argument("--run", dest="run_file", type=Path, metavar="TOML", help="file that names models and settings")


def add_budget(group: Any) -> None:
    """Add the flags of the budget, the region and the name of the recipe."""
    bounds = {f"--{name.replace('_', '-')}": kind for name, kind in optional_bounds().items()}
    looks = "; ".join(f"{name}: {strength.meaning}" for name, strength in STRENGTHS.items())
    usual = f"how visible the change may be ({DEFAULT}). {looks}; {AUTO_STRENGTH}: {AUTO_MEANING}"
    group.add_argument("--strength", choices=(*STRENGTHS, AUTO_STRENGTH), help=usual)
    group.add_argument("--epsilon", type=float, metavar="N", help=BOUNDS[LINF].help)
    for flag, kind in bounds.items():
        group.add_argument(flag, type=float, metavar="N", help=f"{kind.help}; for each photo; bounds may be combined")
    shapes = "; ".join(f"{shape}: {meaning}" for shape, meaning in SHAPES.items())
    group.add_argument(
        "--shape", choices=SHAPES, help=f"{shapes}; default: texture, and for the published methods even"
    )
    regions = (
        "image: everything (default); face: each detected face; or the path of a mask, or of a folder of masks, that "
        "is bright where the photo may change"
    )
    group.add_argument("--region", metavar="WHERE", help=f"what may change; {regions}")
    faceless = "how to treat a photo without a face: skip it (default), or use the whole image"
    group.add_argument("--no-face", choices=NO_FACE, help=faceless)
    faces = "for models that align faces: protect all faces of a photo (default), or only the largest"
    group.add_argument("--faces", choices=FACES, help=faces)
    recipes = (
        "default: the authorized model is kept in many ways of reading the file; exact: in its own preprocessing, for "
        "a closed pipeline; robust: default, and the attack too goes through JPEG and resizing; face: for networks "
        "that align faces; fmd: feature distortion of the authorized model; the others: published methods "
        "(benchmarks/README.md). The [recipe] of a run file does not apply if it names another recipe"
    )
    group.add_argument("--recipe", choices=RECIPES, help=recipes)


def add_labels(group: Any, otherwise: str) -> None:
    """Add `--labels`.

    Args:
        otherwise: which labels are used without it, for the help text.
    """
    from onlymymodel.data.datasets import KINDS  # imports NumPy, which most commands do not need for their help

    kinds = (
        f"a CSV with the columns file,label, a labelled set as KIND:PATH (KIND: {', '.join(KINDS)}), or, for Parquet "
        "files, column:NAME"
    )
    group.add_argument("--labels", metavar="CSV", help=f"{kinds}; {otherwise}")


def add_files(group: Any) -> None:
    """Add the flags for reading and writing photos."""
    group.add_argument("--format", choices=FORMATS, help="format of the written files, lossless; png by default")
    kept = (
        "EXIF of the written files. keep: the entries that are known to be harmless, such as camera, place and time "
        "(default); no-location: those without the place; none. The color profile is always kept"
    )
    group.add_argument("--metadata", choices=METADATA, help=kept)
    for old in ("--strip-metadata", "--no-strip-metadata"):
        group.add_argument(
            old, action=_Replaced, nargs=0, dest=argparse.SUPPRESS, const="--metadata", help=argparse.SUPPRESS
        )
    notes = "keep the maker notes of EXIF, which may hold the unprotected photo; the manifest warns of them"
    group.add_argument("--keep-makernotes", action=argparse.BooleanOptionalAction, help=notes)
    globs = "pass over files and folders whose name, or path if the glob has a slash, matches; may be repeated"
    group.add_argument("--exclude", action="append", default=[], metavar="GLOB", help=globs)
    first = "protect the first frame of an animation; without it animations are skipped"
    group.add_argument("--first-frame", action=argparse.BooleanOptionalAction, help=first)
    group.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="photos that are optimized together (8)"
    )
    largest = "largest number of pixels; larger photos are refused (100 million); their memory is limited by --memory"
    group.add_argument("--max-pixels", type=positive, metavar="N", help=largest)


def memory_size(text: str) -> MemorySize:
    """Parse a size of memory, see `MemorySize`."""
    try:
        return MemorySize.parse(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("memory ")) from error


def seconds(text: str) -> float:
    """Parse a time in seconds, above 0."""
    if not 0 < (number := decimal(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def add_memory(group: Any) -> None:
    """Add `--memory`."""
    memory = (
        "memory that may be taken in all, such as 8GiB, or a share of what is free, such as 80%%; photos that need "
        f"more are skipped before they are decoded, see omm protect --dry-run ({DEFAULT_MEMORY}%)"
    )
    group.add_argument("--memory", type=memory_size, metavar="SIZE", help=memory)


def add_limits(group: Any) -> None:
    """Add the limits of memory and time."""
    add_memory(group)
    time = "seconds that a photo may take; one that takes longer is failed, and the run goes on (no limit)"
    group.add_argument("--time-limit", type=seconds, metavar="SECONDS", help=time)


def add_recipe(group: Any) -> None:
    """Add a flag for each field of the recipe; its value is None unless the user gives it."""
    for setting in fields(Recipe):
        if setting.name == "name":
            continue
        assert setting.default is not MISSING
        usual = " ".join(setting.default) if isinstance(setting.default, tuple) else setting.default
        help_text = setting.metadata["help"] + (f" ({usual})" if usual != "" else "")
        options: dict[str, Any] = {"dest": f"recipe_{setting.name}", "default": None, "help": help_text}
        if setting.name in CHOICES:
            options |= {"choices": CHOICES[setting.name]}
        elif isinstance(setting.default, bool):
            options |= {"action": argparse.BooleanOptionalAction}
        elif isinstance(setting.default, tuple):
            options |= {"nargs": "+", "metavar": "NAME"}
        else:
            kind = type(setting.default)
            options |= {"type": kind, "metavar": "TEXT" if kind is str else "N"}
        group.add_argument("--" + setting.name.replace("_", "-"), **options)


def add_machine(parser: argparse.ArgumentParser) -> Any:
    """Add the flags of every command that runs models, and return their group."""
    group = parser.add_argument_group("machine")
    add_device(group)
    add_allow_python(group)
    return group


def add_device(group: Any) -> None:
    """Add `--device`."""
    usual = "cpu, cuda or mps; by default the first available accelerator, or else the CPU"
    group.add_argument("--device", type=device_name, default="auto", metavar="NAME", help=usual)


def add_allow_python(group: Any) -> None:
    """Add `--allow-python`."""
    group.add_argument("--allow-python", action="store_true", help="allow python: models and --attack, your own code")


def add_output(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add the flags of what a command prints, which every command has."""
    group = parser.add_argument_group("what is printed")
    at_the_end = "print one JSON object at the end, and nothing else on standard output"
    group.add_argument("--json", action="store_true", help=at_the_end)
    if command.progress:
        how = (
            "progress on standard error: auto (a bar in a terminal, lines elsewhere; default), bar, lines (every few "
            "seconds), json (JSON lines) or none"
        )
        group.add_argument("--progress", choices=PROGRESS, default="auto", metavar="HOW", help=how)
        quiet = "no progress: --progress none"
        group.add_argument("-q", "--quiet", dest="progress", action="store_const", const="none", help=quiet)
    if command.photos:
        group.add_argument("-v", "--verbose", action="store_true", help="a line for each photo, on standard error")
    least = "least level of the messages on standard error: debug, info, warning (default) or error"
    group.add_argument("--log-level", choices=LOG_LEVELS, default="warning", metavar="LEVEL", help=least)


class _Replaced(argparse.Action):
    """A flag of an earlier version; using it is an error that names its replacement."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Report the flag as an error."""
        parser.error(f"{self.option_strings[0]} was replaced by {self.const}")


def folder_here(text: str) -> Path:
    """Parse a path of this machine, where no store will do."""
    if is_remote(text):
        raise argparse.ArgumentTypeError("a store will not do here: copy the folder to this machine first")
    return Path(text)


def decimal(text: str) -> float:
    """Parse a number."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from error


def whole(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from error


def device_name(text: str) -> str:
    """Check the name of a device, which may have a number as in `cuda:1`, without asking torch whether it is there."""
    kind, colon, number = text.partition(":")
    if kind not in DEVICES or (colon and not number.isdecimal()):
        meant = "" if kind in DEVICES else did_you_mean(kind, DEVICES)
        if kind in DEVICES_MEANT:
            meant = f"; did you mean {DEVICES_MEANT[kind] + colon + number!r}?"
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(DEVICES)}, not {text!r}{meant}")
    return text


def positive(text: str) -> int:
    """Parse a whole number, at least 1."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """Parse a whole number, at least 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if (number := whole(text)) < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, not {number}")
    return number


def share(text: str) -> float:
    """Parse a number between 0 and 1, both excluded."""
    if not 0 < (number := decimal(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, not {number:g}")
    return number
