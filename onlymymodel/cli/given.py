"""Settings and labels of a command, from its flags and its run file; flags take precedence.

Importing this module does not import torch: mistakes in flags are reported before that.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from onlymymodel.data.attributes import AttributeLabels
from onlymymodel.data.datasets import KINDS, Dataset, attributes_for, labels_for, open_dataset
from onlymymodel.data.labels import check_files, read_labels
from onlymymodel.data.regular_file import is_file, is_folder
from onlymymodel.data.rows.labels import PREFIX, read_column
from onlymymodel.errors import UserError, mistakes_in
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.presets.preset import load_preset
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.output_folder import RUN_RECORD
from onlymymodel.settings import PHOTO_DEFAULTS, RunSettings
from onlymymodel.settings_file import BUDGET_TYPES, read_run_file
from onlymymodel.settings_partial import PartialSettings, check_gallery
from onlymymodel.surrogates.class_mapping import classes_of_labels
from onlymymodel.surrogates.uri import parse_uri

if TYPE_CHECKING:
    from onlymymodel.surrogates.classifier import ModelCard

FindLabels = Callable[["ModelCard"], Mapping[str, int] | None]


@dataclass(frozen=True)
class GivenLabels:
    """Labels of `--labels`, as far as they can be read before a model is loaded.

    Attributes:
        find: from the card of the authorized model to the label of each photo, see `answers`; None where there are no
            labels for such a model. It raises UserError where the labels are not answers of the model.
        attributes: labels of the photos' attributes; None where there are none.
    """

    find: FindLabels
    attributes: AttributeLabels | None = None


def settings_given(arguments: argparse.Namespace) -> PartialSettings:
    """Return the settings of `omm protect` and `omm tune` from the flags, then from the run file or preset.

    Raises:
        UserError: see `read_run_file`.
    """
    recipe = {
        setting.name: getattr(arguments, f"recipe_{setting.name}")
        for setting in fields(Recipe)
        if setting.name != "name"
    }
    recipe["name"] = arguments.recipe
    flags = PartialSettings(
        authorized=arguments.authorized,
        surrogates=tuple(arguments.surrogate),
        heldout=tuple(arguments.heldout),
        epsilon=arguments.epsilon,
        strength=arguments.strength,
        budget={name: getattr(arguments, name) for name in BUDGET_TYPES if getattr(arguments, name) is not None},
        recipe={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in recipe.items()
            if value is not None
        },
        **{name: getattr(arguments, name) for name in PHOTO_DEFAULTS if name != "exclude"},
        exclude=tuple(arguments.exclude),
        gallery=arguments.gallery,
    )
    return flags.over(_run_file(arguments))


def models_given(arguments: argparse.Namespace) -> PartialSettings:
    """Return the models of `omm evaluate` from the flags, then from the run file or preset.

    Raises:
        UserError: see `read_run_file`.
    """
    file = _run_file(arguments)
    return PartialSettings(
        arguments.authorized, tuple(arguments.surrogate), tuple(arguments.heldout), gallery=arguments.gallery
    ).over(PartialSettings(file.authorized, file.surrogates, file.heldout, gallery=file.gallery))


def with_recorded_models(models: PartialSettings, folder: Path) -> RunSettings:
    """Return the models of `omm evaluate`: those that are given, then those that a protected folder records.

    Raises:
        UserError: no authorized model is named, or the record is broken.
    """
    if (models.authorized is None or not models.surrogates) and (folder / RUN_RECORD).exists():
        models = models.over(_recorded_models(folder))
    if models.authorized is None:
        raise UserError(f"{folder} does not record its authorized model: name it with --authorized URI")
    return models.complete()


def labels_given(
    text: str | None,
    photos: Sequence[str],
    say: Callable[[str], None] = print,
    source: object = None,
    exclude: Sequence[str] = (),
) -> GivenLabels:
    """Read the labels of `--labels`, as far as that is possible before a model is loaded.

    Args:
        text: a CSV, a labelled set as KIND:PATH, or a column of rows as column:NAME; None for no labels.
        photos: paths of the photos below the source.
        say: prints a remark.
        source: the photos, for a column; labels of files in a folder that are not among them are passed over.
        exclude: globs of files of the source that are passed over.

    Raises:
        UserError: the labels cannot be read, or are for other photos.
    """
    if text is None:
        return GivenLabels(lambda _: None)
    if text.startswith(PREFIX):
        column = read_column(text, source, exclude)
        return GivenLabels(lambda card: column.indices(card.labels or None, classes_of_labels(card)))
    dataset = open_dataset(text) if text.partition(":")[0] in KINDS else None
    if dataset is not None and dataset.attributes:
        return _attributes_given(dataset, photos, say)
    table = Path(text) if dataset is None else dataset.table
    if table is not None:
        if not is_file(table):
            raise UserError(f"there are no labels {table}: give a CSV with the columns file,label")
        check_files(table, photos, _folder_of(source))

    def find(card: "ModelCard") -> Mapping[str, int]:
        classes, n_classes = card.labels or None, classes_of_labels(card)
        if dataset is None:
            folder = _folder_of(source)
            return read_labels(Path(text), photos=photos, classes=classes, n_classes=n_classes, folder=folder)
        labels = labels_for(dataset, photos=photos, classes=classes, n_classes=n_classes)
        _tell(dataset, len(labels), len(photos), say)
        return labels

    return GivenLabels(find)


def _folder_of(source: object) -> Path | None:
    """Return the folder of photos of this machine; None where they are elsewhere."""
    if not isinstance(source, Path):
        return None
    return source if is_folder(source) else source.parent


def _attributes_given(dataset: Dataset, photos: Sequence[str], say: Callable[[str], None]) -> GivenLabels:
    """Return the labels of a set of attributes, which are answers only of a model of attributes."""
    attributes = attributes_for(dataset, photos=photos)
    _tell(dataset, len(attributes.codes), len(photos), say)
    return GivenLabels(lambda card: attributes.of_model(card.labels) if card.kind == "attributes" else None, attributes)


def _tell(dataset: Dataset, found: int, photos: int, say: Callable[[str], None]) -> None:
    """Say how many photos have labels, and what of the dataset was left out."""
    if found < photos:
        say(f"{dataset.name}: labels for {found} of {photos} photos")
    for reason, count in dataset.left_out.items():
        say(replace_unprintable(f"{dataset.name}: {count} left out: {reason}"))


def _run_file(arguments: argparse.Namespace) -> PartialSettings:
    """Return the settings of `--run` or `--preset`."""
    if arguments.preset:
        return load_preset(arguments.preset)
    if not arguments.run_file:
        return PartialSettings()
    settings = read_run_file(arguments.run_file)
    if arguments.gallery is None:
        with mistakes_in(arguments.run_file):
            check_gallery(settings.gallery)
    return settings


def _recorded_models(folder: Path) -> PartialSettings:
    """Return the models that a protected folder records, with files relative to the current folder."""
    from onlymymodel.protect import run_record

    run = run_record.read(folder)
    authorized, *surrogates = (
        parse_uri(uri, folder).relative_to(Path()) for uri in (run.authorized_uri, *run.surrogate_uris)
    )
    return PartialSettings(authorized, tuple(surrogates))
