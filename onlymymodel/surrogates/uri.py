"""The grammar of model URIs: `scheme:rest?key=value&key=value`. Nothing is guessed; errors name what may be meant."""

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args
from urllib.parse import quote, unquote

from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Fit, Interpolation, ModelCard, Preprocess

SCHEMES = {
    "timm": "timm:resnet50.a1_in1k",
    "hf-hub": "hf-hub:org/repo@revision",
    "torchvision": "torchvision:resnet50@IMAGENET1K_V2",
    "checkpoint": "checkpoint:weights.safetensors?arch=timm:resnet50&classes=1000",
    "onnx": "onnx:model.onnx",
    "facenet": "facenet:vggface2",
    "zoo": "zoo:identity-residual",
    "python": "python:module:factory (needs --allow-python)",
    "http": "http://localhost:8080/v2/models/NAME (only judges)",
    "https": "https://example.org/v2/models/NAME/versions/1 (only judges)",
    "recorded": "recorded:answers.jsonl?classes=1000 (only judges)",
}
WEB = ("http", "https")
BLACK_BOX_ONLY = (*WEB, "recorded")
CARD_KEYS = ("task", "family", "parent", "licence", "labels", "classes")
GALLERY_KEYS = ("gallery", "threshold")  # what makes a classifier of an embedder
PATH_KEYS = ("labels", "gallery")  # options that name something on the disk
PREPROCESS_KEYS = ("size", "crop_pct", "fit", "interpolation", "mean", "std")
ON_DISK = ("checkpoint", "onnx", "recorded")
WEB_KEYS = ("input", "output", "timeout", "retries", "budget")
OWN_KEYS = {
    "checkpoint": (*PREPROCESS_KEYS, "arch"),
    "http": (*PREPROCESS_KEYS, *WEB_KEYS),
    "https": (*PREPROCESS_KEYS, *WEB_KEYS),
    "recorded": ("model", "view"),
}
ALMOST = 0.8  # of difflib: above it a word is taken for a slip


@dataclass(frozen=True)
class ModelUri:
    """A parsed URI.

    Attributes:
        text: as the user wrote it, for errors.
        scheme, rest: before and after the first colon.
        options: the query, e.g. {"arch": "timm:resnet50"}.
    """

    text: str
    scheme: str
    rest: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def public(self) -> str:
        """The URI without this machine's folders and a server's own options, fit for a manifest or a results file."""
        rest = Path(self.rest).name if self.scheme in ON_DISK else self.rest
        arch = f"?arch={self.options['arch']}" if "arch" in self.options and self.scheme not in WEB else ""
        return f"{self.scheme}:{rest}{arch}"

    def seen_from(self, folder: Path) -> str:
        """The whole URI with its files relative to `folder`, so that the folder can move together with them."""
        options = dict(self.options)
        options |= {key: _relative(options[key], folder) for key in PATH_KEYS if key in options}
        rest = _relative(self.rest, folder) if self.scheme in ON_DISK else self.rest
        own = [f"{key}={quote(options[key], safe=':/,@+ ')}" for key in options if key in own_keys(self.scheme)]
        query = "&".join(filter(None, [*own, foreign_query(self)]))
        return f"{self.scheme}:{rest}" + (f"?{query}" if query else "")

    def file(self) -> Path:
        """The file that the URI names.

        Raises:
            UserError: it is not there.
        """
        path = Path(self.rest).expanduser()
        if not path.is_file():
            raise UserError(f"model {self.text!r}: there is no file {self.rest!r}")
        return path


def parse_uri(text: str, base: Path | None = None) -> ModelUri:
    """Parse `scheme:rest?options`; relative files are taken from `base` (a run file's folder).

    Raises:
        UserError: no scheme, an unknown scheme or an unknown option, with the nearest known ones.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise UserError(_unknown_scheme(text, scheme if colon else ""))
    rest, _, query = rest.partition("?")
    if not rest:
        raise UserError(f"model {text!r} names nothing after {scheme!r}; write it as {SCHEMES[scheme]}")
    if scheme in WEB and "@" in rest.removeprefix("//").partition("/")[0]:
        raise UserError("a model's URL may not hold a user or a password: put a token into OMM_HTTP_TOKEN")
    known = own_keys(scheme)
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in known and not (scheme in WEB and _is_foreign(key, known)):
            raise UserError(f"model {text!r}: unknown option {key!r}{did_you_mean(key, known)}")
        if key in options:
            raise UserError(f"model {text!r}: option {key!r} stands there twice")
        options[key] = unquote(value)
    if base is not None and scheme in ON_DISK:
        rest = str(base / Path(rest).expanduser())
    if base is not None:
        options |= {key: str(base / Path(options[key]).expanduser()) for key in PATH_KEYS if key in options}
    return ModelUri(text, scheme, rest, options)


def own_keys(scheme: str) -> tuple[str, ...]:
    """The options of a scheme that mean something here."""
    gallery = () if scheme in BLACK_BOX_ONLY else GALLERY_KEYS
    return (*CARD_KEYS, *gallery, *OWN_KEYS.get(scheme, PREPROCESS_KEYS))


def foreign_query(uri: ModelUri) -> str:
    """What of a URL's query is the server's and not ours, as it was written; empty when there is none."""
    query = uri.text.partition("?")[2]
    return "&".join(part for part in query.split("&") if part and part.partition("=")[0] not in own_keys(uri.scheme))


def declared_classes(uri: ModelUri) -> int | None:
    """The number of classes that `classes` or else the label file declares, None where neither does."""
    if "classes" in uri.options:
        classes = int(number(uri, "classes", uri.options["classes"], int))
    elif "labels" in uri.options:
        classes = len(_read_names(uri, uri.options["labels"]))
    else:
        return None
    if classes < 2:
        raise UserError(f"model {uri.text!r}: {classes} classes leave nothing to tell apart")
    return classes


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x' or 'y'?` for the nearest known words, or the first few when none is near."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "; known are " + ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")


def number(uri: ModelUri, key: str, text: str, kind: type[int] | type[float]) -> float:
    """An option's value as a number.

    Raises:
        UserError: it is none.
    """
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"model {uri.text!r}: {key} must be a number, not {text!r}") from error


def override_preprocess(record: Preprocess, uri: ModelUri) -> Preprocess:
    """The weights' record with what the user's options say otherwise."""
    changes: dict[str, object] = {}
    options = uri.options
    if "size" in options:
        sides = [number(uri, "size", part, int) for part in options["size"].split("x")]
        if len(sides) > 2 or min(sides) < 1:
            raise UserError(f"model {uri.text!r}: size is a side or HEIGHTxWIDTH, such as 224 or 112x96")
        changes["height"], changes["width"] = sides[0], sides[-1]
    if "crop_pct" in options:
        changes["crop_pct"] = number(uri, "crop_pct", options["crop_pct"], float)
        if not 0 < float(str(changes["crop_pct"])) <= 1:
            raise UserError(f"model {uri.text!r}: crop_pct must lie in (0, 1]")
    for key, allowed in (("fit", get_args(Fit)), ("interpolation", get_args(Interpolation))):
        if key in options:
            if options[key] not in allowed:
                raise UserError(f"model {uri.text!r}: {key} must be one of {', '.join(allowed)}")
            changes[key] = options[key]
    for key in ("mean", "std"):
        if key in options:
            values = tuple(number(uri, key, part, float) for part in options[key].split(","))
            if len(values) != 3:
                raise UserError(f"model {uri.text!r}: {key} needs three numbers, such as {key}=0.5,0.5,0.5")
            if not all(math.isfinite(value) and (value > 0 or key == "mean") for value in values):
                raise UserError(f"model {uri.text!r}: {key} must be finite" + (" and above 0" if key == "std" else ""))
            changes[key] = values
    return replace(record, **changes)  # type: ignore[arg-type]


def override_card(card: ModelCard, uri: ModelUri) -> ModelCard:
    """The card with the task, family, parent, licence and labels that the user declares.

    Raises:
        UserError: `classes` or the label file disagree with the number of logits.
    """
    options = uri.options
    declared = {key: options[key] for key in ("task", "family", "parent", "licence") if key in options}
    card = replace(card, **declared)  # type: ignore[arg-type]
    if "classes" in options and number(uri, "classes", options["classes"], int) != card.classes:
        raise UserError(f"model {uri.text!r} gives {card.classes} classes, not {options['classes']}")
    if "labels" in options:
        card = replace(card, labels=_read_names(uri, options["labels"]))
    if (card.labels or "labels" in options) and len(card.labels) != card.classes:
        raise UserError(f"model {uri.text!r} has {card.classes} classes but {len(card.labels)} class names")
    return card


def _is_foreign(key: str, known: Iterable[str]) -> bool:
    """Whether an option is the server's own: a slip in one of ours (`budgte`) must not be sent off in silence."""
    return bool(key) and not difflib.get_close_matches(key, known, n=1, cutoff=ALMOST)


def _relative(name: str, folder: Path) -> str:
    """`name` seen from `folder`; the file itself may be a link, whose own name (and so its format) stays."""
    path = Path(name).expanduser()
    return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix()


def _read_names(uri: ModelUri, name: str) -> tuple[str, ...]:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"model {uri.text!r}: there is no label file {name!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"model {uri.text!r}: label file {name!r} is not UTF-8 text") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _unknown_scheme(text: str, scheme: str) -> str:
    if not scheme and Path(text).suffix in (".onnx", ".safetensors", ".pt", ".pth", ".ckpt"):
        meant = f"onnx:{text}" if text.endswith(".onnx") else f"checkpoint:{text}?arch=timm:NAME"
        return f"model {text!r} has no scheme; did you mean {meant!r}?"
    if not scheme:
        return f"model {text!r} has no scheme; did you mean 'timm:{text}' or 'torchvision:{text}@DEFAULT'?"
    return f"model {text!r}: unknown scheme {scheme!r}{did_you_mean(scheme, SCHEMES)}"
