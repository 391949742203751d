"""Checks of flags and folders that need neither torch nor a model, so that mistakes are reported at once."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onlymymodel.cli.given import GivenLabels, labels_given, models_given, settings_given
from onlymymodel.data.folder import Entry, check_apart, check_could_be_written, scan
from onlymymodel.data.regular_file import is_file
from onlymymodel.data.source import Source, local_path
from onlymymodel.data.stores.stamps import Stamps
from onlymymodel.errors import UserError
from onlymymodel.protect.budget.kinds import as_recorded
from onlymymodel.protect.output_folder import RUN_RECORD, check_ours, check_same_settings
from onlymymodel.protect.places import Places
from onlymymodel.protect.portable import is_portable
from onlymymodel.protect.region import Region
from onlymymodel.settings import PHOTO_DEFAULTS, check_recipe, masks_of
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.early_checks import check_uris


@dataclass(frozen=True)
class CheckedPhotos:
    """Photos and settings of `omm protect`, `omm tune` or `omm evaluate` that passed all checks.

    Attributes:
        settings: from flags and run file.
        entries: every file below the source.
        labels: see `labels_given`.
    """

    settings: PartialSettings
    entries: Sequence[Entry]
    labels: GivenLabels

    @property
    def photos(self) -> list[Entry]:
        """The entries that are photos."""
        return [entry for entry in self.entries if entry.status == "photo"]


def check_photos(arguments: argparse.Namespace, source: Source, known: Stamps | None = None) -> CheckedPhotos:
    """Check the settings, models, photos and labels of `omm protect` or `omm tune`.

    Args:
        arguments: the flags.
        source: the photos.
        known: see `scan`.

    Raises:
        UserError: any of them cannot be used, or the output folder cannot be written or is not apart from the source.
    """
    settings = settings_given(arguments)
    valid = settings.check()
    authorized, surrogates, heldout = valid.models
    check_recipe(valid.recipe, surrogates)
    check_uris(authorized, surrogates, heldout, allow_python=arguments.allow_python)
    photos: dict[str, Any] = PHOTO_DEFAULTS | valid.photos
    masks_of(photos["region"])
    entries = scan(source, f".{photos['format']}", settings.exclude, known)
    if (here := local_path(source)) is not None:
        check_apart(here, arguments.out)
    check_could_be_written(arguments.out)
    names = [str(entry.relative) for entry in entries if entry.status == "photo"]
    labels = labels_given(arguments.labels, names, arguments.output.say, source, settings.exclude)
    return CheckedPhotos(settings, entries, labels)


def check_judges(settings: PartialSettings, places: Places) -> None:
    """Refuse held-out models for stores, where they cannot be asked.

    Raises:
        UserError: there are both.
    """
    if settings.heldout and places.in_store:
        raise UserError(
            "judges are asked about photos of this machine: leave out --heldout here, copy source and "
            "output to such folders when the run is done, and name these models to omm evaluate"
        )


def check_evaluation(arguments: argparse.Namespace, source: Source) -> CheckedPhotos:
    """Check the models, photos, folders and labels of `omm evaluate`.

    Args:
        arguments: the flags.
        source: the originals.

    Raises:
        UserError: any of them cannot be used, or the output folder cannot be written or is not apart from the source.
    """
    models = models_given(arguments)
    allow_python = arguments.allow_python
    check_uris(models.authorized, models.surrogates, models.heldout, allow_python=allow_python, judges=True)
    entries = scan(source)
    for folder in arguments.protected:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of protected photos: name one that omm protect or a tool has made")
    if (here := local_path(source)) is not None:
        check_apart(here, arguments.out)
    check_could_be_written(arguments.out)
    names = [str(entry.relative) for entry in entries if entry.status == "photo"]
    return CheckedPhotos(models, entries, labels_given(arguments.labels, names, arguments.output.say, source))


def check_continues(arguments: argparse.Namespace, settings: PartialSettings) -> None:
    """Check that the output folder of `omm protect` is new, or one of the same settings.

    Raises:
        UserError: it has files that no run wrote, or was made with other settings.
    """
    check_ours(arguments.out)
    valid = settings.check()
    photos: dict[str, Any] = PHOTO_DEFAULTS | valid.photos
    check_same_settings(
        arguments.out,
        {
            "budget": as_recorded(valid.budget),
            "recipe": valid.recipe.to_json(),
            **{name: photos[name] for name in ("format", "metadata", "max_pixels", "keep_makernotes", "first_frame")},
            "batch_size": arguments.batch_size,
            "auto_strength": valid.auto_strength,
            "region": asdict(Region.at(photos["region"], photos["no_face"], photos["faces"])),
            "exclude": list(photos["exclude"]),
            "portable": is_portable(),
        },
    )


def check_protected_folder(arguments: argparse.Namespace, out: Path) -> None:
    """Check the folders and models of `omm verify`.

    Args:
        arguments: the flags.
        out: the folder with the records.

    Raises:
        UserError: a folder or key does not exist, a model cannot be named so, or flags contradict each other.
    """
    if arguments.authorized_only and arguments.surrogate:
        raise UserError("stand-ins are named, and are not to be asked: give one of --surrogate and --authorized-only")
    if not (out / RUN_RECORD).exists():
        raise UserError(f"{arguments.out} was not made by omm protect: it has no {RUN_RECORD}; name a folder that was")
    if isinstance(arguments.source, Path) and not arguments.source.exists():
        raise UserError(f"there are no originals at {arguments.source}: name the folder that they were moved to")
    check_uris(arguments.authorized, arguments.surrogate, allow_python=arguments.allow_python)


def check_audit(arguments: argparse.Namespace) -> None:
    """Check the folders and the model of `omm audit` and `omm protect-representation`.

    Raises:
        UserError: a folder does not exist, or a model cannot be named so.
    """
    for name in ("photos", "members", "others", "protected"):
        folder = getattr(arguments, name, None)
        if folder is not None and not folder.is_dir():
            raise UserError(f"{folder} does not exist, or is no folder: give a folder of pictures")
    for name in ("model", "embedder"):
        if uri := getattr(arguments, name, None):
            check_uris(uri, allow_python=arguments.allow_python)


def check_key(arguments: argparse.Namespace) -> None:
    """Check the private key of `omm protect --sign`.

    Raises:
        UserError: there is none, or it is in the output folder.
    """
    if arguments.sign is None:
        return
    if not is_file(arguments.sign):
        raise UserError(f"there is no private key {arguments.sign}: make one with openssl genpkey -algorithm ed25519")
    if arguments.out.resolve() in arguments.sign.resolve().parents:
        raise UserError(f"the private key {arguments.sign} is in the folder {arguments.out}: keep it elsewhere")
