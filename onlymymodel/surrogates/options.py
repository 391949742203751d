"""Apply the options of a model URI: over what the weights' own record says, or in place of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from onlymymodel.data.attributes import MAX_ATTRIBUTES
from onlymymodel.data.regular_file import is_file
from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.model_card import ATTRIBUTES, Fit, Interpolation, Kind, ModelCard, Preprocess
from onlymymodel.surrogates.uri import ModelUri

MAX_SIDE = 4096  # of a model's input: a larger one would take all memory
MAX_CLASSES = 1_000_000
_PURPOSES: dict[str, tuple[tuple[Kind, ...], str]] = {  # options that some kinds of models have, and what they are for
    "keep": (("attributes", "detector"), "keep= is for detectors, and for models with task=attributes"),
    "format": (("detector",), "format= is for detectors: add task=detection if this is one"),
    "gallery": (("people",), "a gallery is for an embedder, not for a detector or a model of attributes"),
    "threshold": (
        ("people", "embedder", "detector"),
        "a threshold is for an embedder with a gallery=FOLDER or task=embedding, and for detectors",
    ),
    "template": (("words",), "a template is for the labels=FILE of a model that embeds text (clip:)"),
}
READ_IN_ANOTHER_WAY = {"embedding", "detection"}  # tasks of models whose outputs are no classes


def number(uri: ModelUri, key: str, text: str, kind: type[int] | type[float]) -> float:
    """Return an option's value as a number.

    Raises:
        UserError: it is not a number.
    """
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"model {uri.text!r}: {key} must be a number, not {text!r}") from error


def numeric_option(
    uri: ModelUri, key: str, default: float, kind: type[int] | type[float], low: float, high: float
) -> float:
    """Return the number that an option gives, or the default.

    Raises:
        UserError: it is not a number from `low` to `high`.
    """
    value = number(uri, key, uri.options[key], kind) if key in uri.options else default
    if not low <= value <= high:
        raise UserError(f"model {uri.public!r}: {key} must lie in [{low:g}, {high:g}]")
    return value


def declared_classes(uri: ModelUri) -> int | None:
    """Return the number of classes that `classes`, or else the label file, declares; None where neither is given.

    Raises:
        UserError: see `check_classes`.
    """
    if "classes" in uri.options:
        classes = int(number(uri, "classes", uri.options["classes"], int))
    elif "labels" in uri.options:
        classes = len(_read_names(uri, uri.options["labels"]))
    else:
        return None
    check_classes(uri, classes)
    return classes


def check_classes(uri: ModelUri, classes: int) -> None:
    """Check a number of classes, or of attributes, before a layer of that size is made.

    Raises:
        UserError: it is less than two, or without an attribute, or more than MAX_CLASSES.
    """
    if classes < least_outputs(uri.options.get("task", "")):
        raise UserError(f"model {uri.text!r}: a classifier has at least 2 classes, not {classes}")
    if classes > MAX_CLASSES:
        raise UserError(f"model {uri.text!r}: {classes} classes are too many: the limit is {MAX_CLASSES:,}")


def least_outputs(task: str) -> int:
    """Return how many outputs a model of a task has at least."""
    return 1 if task == ATTRIBUTES else 2


def check_attributes(uri: ModelUri, count: int) -> None:
    """Check the number of attributes of a model, whose answers are codes of them.

    Raises:
        UserError: it is more than MAX_ATTRIBUTES.
    """
    if count > MAX_ATTRIBUTES:
        raise UserError(
            f"model {uri.text!r} has {count} attributes, the limit is {MAX_ATTRIBUTES}: name those that count by keep="
        )


def read_keep(uri: ModelUri, names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the indices of the names that the option `keep` lists, in the order of the model; None without it.

    Args:
        uri: of a model of attributes, or of a detector.
        names: of its attributes or classes.

    Raises:
        UserError: a name is unknown, or the model has no names.
    """
    if "keep" not in uri.options:
        return None
    if not names:
        raise UserError(f"model {uri.text!r}: keep= needs the names of labels=FILE")
    listed = [name.strip() for name in uri.options["keep"].split(",")]
    if unknown := [name for name in listed if name not in names]:
        raise UserError(f"model {uri.text!r}: keep names {unknown[0]!r}{did_you_mean(unknown[0], names)}")
    return tuple(index for index, name in enumerate(names) if name in listed)


def check_names(uri: ModelUri, outputs: int, names: Sequence[str]) -> None:
    """Refuse names that are not one for each output of a model. Raises UserError."""
    if len(names) != outputs:
        raise UserError(f"model {uri.text!r} has {outputs} classes but {len(names)} class names")


def refuse_unused(uri: ModelUri, kind: Kind) -> None:
    """Refuse the options that have no effect on a model of a kind. Raises UserError."""
    for option, (kinds, purpose) in _PURPOSES.items():
        if option in uri.options and kind not in kinds:
            raise UserError(f"model {uri.text!r}: {purpose}")


def attribute_record(
    uri: ModelUri, outputs: int, names: Sequence[str] = ()
) -> tuple[tuple[int, ...] | None, dict[str, Any]]:
    """Return which outputs of a model of attributes count (None for all), and the fields of its card.

    Args:
        uri: of the model, whose option `labels` takes the place of the names.
        outputs: how many outputs it has.
        names: of its attributes.

    Raises:
        UserError: see `read_names`, `check_names` and `read_keep`.
    """
    names = read_names(uri) if "labels" in uri.options else tuple(names)
    if names:
        check_names(uri, outputs, names)
    kept = read_keep(uri, names)
    if kept is None:
        return None, {"task": ATTRIBUTES, "labels": names}
    chosen = tuple(names[index] for index in kept)
    return kept, {"task": ATTRIBUTES, "labels": chosen, "keep": chosen}


def require_gallery(uri: ModelUri) -> None:
    """Refuse a URI that declares a recognizer of people without saying which people: embeddings are not logits.

    Raises:
        UserError: `task=identity` without a gallery, and without the classes or labels of a classifier of people.
    """
    if uri.options.get("task") == "identity" and not {"gallery", "classes", "labels"} & uri.options.keys():
        raise UserError(
            f"model {uri.text!r} is to recognize people: add gallery=FOLDER, a folder with one folder of photos for "
            "each person, or labels=FILE or classes=N if the model is already a classifier of people, or write "
            "task=embedding to compare photos with their originals"
        )


def embeds_photos(uri: ModelUri, features: bool) -> bool:
    """Return whether the outputs of a network are to be compared with those of the original: they are no logits.

    Args:
        uri: of the model; without a gallery.
        features: whether the loader knows the outputs to be features.
    """
    # `classes` of a checkpoint only says how the network is built
    declared = {"labels", *(["classes"] if uri.scheme != "checkpoint" else [])}
    return uri.options.get("task") == "embedding" or (features and not declared & uri.options.keys())


def read_threshold(uri: ModelUri, default: float | None) -> float | None:
    """Return the cosine that the option `threshold` gives, or the default.

    Raises:
        UserError: it is not a cosine.
    """
    if "threshold" not in uri.options:
        return default
    threshold = float(number(uri, "threshold", uri.options["threshold"], float))
    if not -1 <= threshold <= 1:
        raise UserError(f"model {uri.text!r}: the threshold is a cosine, from -1 to 1")
    return threshold


def read_template(uri: ModelUri) -> str:
    """Return the text that stands around each class name, which takes the place of its `{}`.

    Raises:
        UserError: it has no `{}`.
    """
    template = uri.options.get("template", "a photo of a {}.")
    if "{}" not in template:
        raise UserError(f"model {uri.text!r}: the template needs {{}} where the class name goes")
    return template


def read_names(uri: ModelUri) -> tuple[str, ...]:
    """Return the class names in the file that the option `labels` names.

    Raises:
        UserError: there is no such file, it is not text, or it has fewer than two names.
    """
    names = _read_names(uri, uri.options["labels"])
    check_classes(uri, len(names))
    return names


def override_preprocess(record: Preprocess, uri: ModelUri) -> Preprocess:
    """Return the weights' record with the fields that the URI's options override.

    Raises:
        UserError: an option is malformed or out of its range, or the input is too large.
    """
    changes = {key: read(uri, key, uri.options[key]) for key, read in _READERS.items() if key in uri.options}
    if "size" in uri.options:
        changes["height"], changes["width"] = _read_size(uri, uri.options["size"])
    preprocess = replace(record, **changes)  # type: ignore[arg-type]
    if max(preprocess.height, preprocess.width) > MAX_SIDE * preprocess.crop_pct:
        raise UserError(
            f"model {uri.text!r}: its input of {preprocess.height}x{preprocess.width} pixels (size), cut from a photo "
            f"by crop_pct {preprocess.crop_pct:g}, is too large: the limit is {MAX_SIDE} pixels a side before the cut"
        )
    return preprocess


def override_card(card: ModelCard, uri: ModelUri) -> ModelCard:
    """Return the card with the task, family, parent, licence and labels that the URI's options declare.

    Raises:
        UserError: `classes` or the label file disagree with the number of logits.
    """
    options = uri.options
    declared = {key: options[key] for key in ("task", "family", "parent", "licence") if key in options}
    if declared.get("task", card.task) != card.task and {declared["task"], card.task} & READ_IN_ANOTHER_WAY:
        raise UserError(
            f"model {uri.text!r}: a model of the task {card.task} cannot be read as one of {declared['task']}"
        )
    card = replace(card, **declared)  # type: ignore[arg-type]
    # the outputs of an embedder in a file are not the people of its gallery
    counted = "classes" in options and "keep" not in options and not (card.needs_scores and uri.scheme == "checkpoint")
    if counted and number(uri, "classes", options["classes"], int) != card.classes:
        raise UserError(f"model {uri.text!r} gives {card.classes} classes, not {options['classes']}")
    if card.kind == "attributes":
        check_attributes(uri, card.classes)
    if "labels" in options and card.kind != "detector" and not card.keep:  # whose names are chosen already
        card = replace(card, labels=_read_names(uri, options["labels"]))
    if card.labels or "labels" in options:
        check_names(uri, card.classes, card.labels)
    return card


def _read_size(uri: ModelUri, text: str) -> tuple[int, int]:
    sides = [int(number(uri, "size", part, int)) for part in text.split("x")]
    if len(sides) > 2 or min(sides) < 1:
        raise UserError(f"model {uri.text!r}: size is a side or HEIGHTxWIDTH, such as 224 or 112x96")
    return sides[0], sides[-1]


def _read_crop_pct(uri: ModelUri, key: str, text: str) -> float:
    share = number(uri, key, text, float)
    if not 0 < share <= 1:
        raise UserError(f"model {uri.text!r}: crop_pct must lie in (0, 1]")
    return share


def _read_choice(uri: ModelUri, key: str, text: str) -> str:
    allowed = get_args(Fit if key == "fit" else Interpolation)
    if text not in allowed:
        raise UserError(f"model {uri.text!r}: {key} must be one of {', '.join(allowed)}")
    return text


def _read_channels(uri: ModelUri, key: str, text: str) -> tuple[float, ...]:
    values = tuple(number(uri, key, part, float) for part in text.split(","))
    if len(values) != 3:
        raise UserError(f"model {uri.text!r}: {key} needs three numbers, such as {key}=0.5,0.5,0.5")
    if not all(math.isfinite(value) and (value > 0 or key == "mean") for value in values):
        raise UserError(f"model {uri.text!r}: {key} must be finite" + (" and above 0" if key == "std" else ""))
    return values


_READERS: dict[str, Callable[[ModelUri, str, str], object]] = {
    "crop_pct": _read_crop_pct,
    "fit": _read_choice,
    "interpolation": _read_choice,
    "mean": _read_channels,
    "std": _read_channels,
}


def _read_names(uri: ModelUri, name: str) -> tuple[str, ...]:
    path = Path(name).expanduser()
    if not is_file(path):
        raise UserError(f"model {uri.text!r}: there is no label file {name!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"model {uri.text!r}: label file {name!r} is not UTF-8 text") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())
