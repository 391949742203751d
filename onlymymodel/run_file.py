"""The run file: TOML that names models once, with their roles, and the settings of a run.

Example::

    authorized = "mine"
    surrogates = ["vit", "zoo:identity-plain"]   # names of [models], or URIs
    heldout = ["judge"]
    epsilon = 8
    region = "face"                              # or "image", or masks; as the flags: no_face, faces, format,
    strip_metadata = true                        # strip_metadata and max_pixels

    [models]
    mine = "checkpoint:mine.safetensors?arch=timm:resnet50"
    vit = { uri = "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", family = "vit" }
    judge = "onnx:judge.onnx"

    [budget]                                     # further bounds: luma (in 1/255), l2, psnr, ssim, lpips; and its shape
    ssim = 0.95
    shape = "texture"

    [recipe]
    name = "default"
    steps = 30
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import quote

from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.context import Format
from onlymymodel.protect.region import FACES, NO_FACE, Faces, Kind, NoFace
from onlymymodel.surrogates.uri import did_you_mean, parse_uri

FOUND = ("image", "face")  # regions that no mask is needed for
CHOICES = {"no_face": NO_FACE, "faces": FACES, "format": get_args(Format)}


@dataclass(frozen=True)
class PhotoSettings:
    """What of every photo may change, and how photos are read and written: flags over the run file over these.

    Attributes:
        region: `image`, `face`, or the path of a mask or of a folder of masks.
        no_face, faces: as in `Region`.
        format, strip_metadata, max_pixels: as in `Context`.
    """

    region: str = "image"
    no_face: NoFace = "skip"
    faces: Faces = "all"
    format: Format = "png"
    strip_metadata: bool = False
    max_pixels: int = MAX_PIXELS

    @property
    def kind(self) -> Kind:
        """Of the region."""
        return cast(Kind, self.region) if self.region in FOUND else "mask"

    def changes(self, folder: Path) -> dict[str, Any]:
        """What differs from the defaults, as a run file in that folder says it."""
        said = {knob.name: getattr(self, knob.name) for knob in fields(self)}
        said["region"] = _seen_from(self.region, folder)
        return {knob.name: said[knob.name] for knob in fields(self) if said[knob.name] != knob.default}


PHOTO_KEYS = tuple(knob.name for knob in fields(PhotoSettings))
TOP_KEYS = ("authorized", "surrogates", "heldout", "models", "recipe", "epsilon", "strength", "budget", *PHOTO_KEYS)
BUDGET_KEYS = tuple(knob.name for knob in fields(Budget) if knob.name != "linf")


@dataclass(frozen=True)
class RunFile:
    """What a run file says. Model URIs are complete; their files are relative to the current folder.

    Attributes:
        recipe: `name` and changed fields.
        epsilon: in 1/255, or None.
        strength: a name of `STRENGTHS`, or None.
        budget: fields of `Budget` but linf; luma in 1/255.
        photos: fields of `PhotoSettings`; a mask's path is relative to the current folder.
    """

    authorized: str | None = None
    surrogates: tuple[str, ...] = ()
    heldout: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None
    strength: str | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    photos: Mapping[str, Any] = field(default_factory=dict)


def read_run_file(path: Path) -> RunFile:
    """Read a run file; the files that it names are relative to it.

    Raises:
        UserError: not TOML, an unknown key, a value that means nothing, a model that is not named, one in two roles.
    """
    content = _content(path)
    models = {name: _uri(path, name, entry) for name, entry in _table(path, content, "models").items()}
    roles = {
        role: tuple(_complete(path, models, name) for name in _list(path, content, role))
        for role in ("surrogates", "heldout")
    }
    authorized = _complete(path, models, content["authorized"]) if "authorized" in content else None
    everyone = [*([authorized] if authorized else []), *roles["surrogates"], *roles["heldout"]]
    twice = [name for name in everyone if everyone.count(name) > 1]
    if twice:
        raise UserError(f"{path}: model {twice[0]!r} stands in more than one role")
    recipe = _table(path, content, "recipe")
    if isinstance(recipe.get("views"), list):
        recipe = {**recipe, "views": tuple(recipe["views"])}
    epsilon = content.get("epsilon")
    if epsilon is not None and (isinstance(epsilon, bool) or not isinstance(epsilon, int | float)):
        raise UserError(f"{path}: epsilon must be a number, not {epsilon!r}")
    return RunFile(
        authorized,
        **roles,
        recipe=recipe,
        epsilon=epsilon,
        strength=content.get("strength"),
        budget=_budget(path, _table(path, content, "budget")),
        photos=_photos(path, {key: content[key] for key in PHOTO_KEYS if key in content}),
    )


def _content(path: Path) -> dict[str, Any]:
    """The whole TOML, its top keys known ones."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    for key in content:
        if key not in TOP_KEYS:
            raise UserError(f"{path}: unknown key {key!r}{did_you_mean(key, TOP_KEYS)}")
    return content


def toml_lines(values: Mapping[str, Any]) -> list[str]:
    """Lines of texts, numbers, truth values and lists of texts: what JSON writes of them TOML reads."""
    # but for DEL, which TOML wants escaped
    return [
        f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f") for key, value in values.items()
    ]


def _photos(path: Path, given: dict[str, Any]) -> Mapping[str, Any]:
    """The keys of `PhotoSettings`, checked; whether masks are there is for whoever needs them to say."""
    for key, words in CHOICES.items():
        if key in given and given[key] not in words:
            raise UserError(f"{path}: {key} must be one of {', '.join(words)}, not {given[key]!r}")
    stripped, pixels, region = (given.get(key) for key in ("strip_metadata", "max_pixels", "region"))
    if stripped is not None and not isinstance(stripped, bool):
        raise UserError(f"{path}: strip_metadata must be true or false, not {stripped!r}")
    if pixels is not None and (isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < 1):
        raise UserError(f"{path}: max_pixels must be a whole number from 1, not {pixels!r}")
    if region is None:
        return given
    if not isinstance(region, str) or not region:
        raise UserError(
            f"{path}: region must be image, face, or the path of a mask or of a folder of masks, not {region!r}"
        )
    return {
        **given,
        "region": region if region in FOUND else _seen_from(str(path.parent / Path(region).expanduser()), Path()),
    }


def _seen_from(region: str, folder: Path) -> str:
    """A region whose masks are named relative to `folder`; never by what means another region."""
    if region in FOUND:
        return region
    masks = Path(region)
    seen = Path(os.path.relpath(masks.parent.resolve() / masks.name, folder.resolve())).as_posix()
    return f"./{seen}" if seen in FOUND else seen


def _budget(path: Path, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of bounds, its keys and kinds of values checked; `Budget` checks the rest."""
    for key, value in table.items():
        if key not in BUDGET_KEYS:
            hint = "; linf is epsilon, at the top" if key == "linf" else did_you_mean(key, BUDGET_KEYS)
            raise UserError(f"{path}: unknown key {key!r} under [budget]{hint}")
        if key != "shape" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"{path}: {key} under [budget] must be a number, not {value!r}")
    return table


def _complete(path: Path, models: Mapping[str, str], name: object) -> str:
    """The whole URI of a model that is named by its name under [models] or by its URI."""
    if not isinstance(name, str):
        raise UserError(f"{path}: a model is named by a text, not {name!r}")
    written = models.get(name, name)
    if ":" not in written and name not in models:
        if not models:
            raise UserError(
                f"{path}: there is no model {name!r}: write its URI, or name it under [models] "
                "(omm models lists the kinds)"
            )
        raise UserError(f"{path}: there is no model {name!r} under [models]{did_you_mean(name, models)}")
    return parse_uri(written, path.parent).seen_from(Path())


def _uri(path: Path, name: str, entry: object) -> str:
    """A model's entry, a URI or a table with `uri` and options, as one URI."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict) or not isinstance(entry.get("uri"), str):
        raise UserError(f"{path}: model {name!r} must be a URI, or a table with a uri")
    written = str(entry["uri"])
    for key, value in entry.items():
        if key != "uri":
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            written += f"{'&' if '?' in written else '?'}{key}={quote(text, safe=',:/@+ ')}"
    return written


def _table(path: Path, content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must be a table, [{key}]")
    return value


def _list(path: Path, content: dict[str, Any], key: str) -> list[Any]:
    value = content.get(key, [])
    if not isinstance(value, list):
        raise UserError(f"{path}: {key} must be a list")
    return value
