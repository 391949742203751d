"""Read a run file: the settings of a run as TOML, which names each model once.

Example::

    authorized = "mine"
    surrogates = ["vit", "zoo:identity-plain"]   # names of [models], or URIs
    heldout = ["judge"]
    epsilon = 8                                  # in 1/255; or strength = "low", "medium", "high" or "auto"
    region = "face"                              # or "image", or the path of masks; named as the flags are: no_face,
    metadata = "no-location"                     # faces, format, max_pixels, keep_makernotes, first_frame
    exclude = ["*.gif", "drafts"]                # and exclude
    gallery = "people"                           # for models that have gallery= without a folder

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

import codecs
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import quote

from msgspec import Meta

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.protect.budget.kinds import LINF, Shape, optional_bounds
from onlymymodel.protect.choices import WITHOUT_MASKS
from onlymymodel.settings import check_one_role, region_from
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.uri import QUERY_SAFE, parse_uri, redacted
from onlymymodel.validation import check_keys, converted

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # with which PowerShell 5.1 begins what it writes by >
BUDGET_TYPES: dict[str, Any] = {**dict.fromkeys(optional_bounds(), float), "shape": Shape}
FILE_TYPES = {
    **get_type_hints(PartialSettings, include_extras=True),
    "models": Annotated[dict[str, Any], Meta(description="a table")],
}


def read_run_file(path: Path) -> PartialSettings:
    """Read a run file; paths in it are relative to it.

    Raises:
        UserError: not TOML in UTF-8, or in UTF-16 with a mark of its byte order, an unknown key, a value of another
            type or out of its range, a model that is not named, one that has two roles.
    """
    try:
        content = tomllib.loads(_text(path))
    except FileNotFoundError as error:
        raise UserError(f"there is no run file {path}: omm preset show photos > {path} makes one to edit") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise UserError(f"{path} is not TOML: {error}") from error
    if "strip_metadata" in content:
        raise UserError(f'{path}: strip_metadata was replaced: write metadata = "none" for true, "keep" for false')
    check_keys(content, FILE_TYPES, f"{path}: ")
    values = converted(content, FILE_TYPES, f"{path}: ")
    models = {name: _model_uri(path, name, entry) for name, entry in values.pop("models", {}).items()}
    if "authorized" in values:
        values["authorized"] = _complete_uri(path, models, values["authorized"])
    for role in ("surrogates", "heldout"):
        values[role] = tuple(_complete_uri(path, models, name) for name in values.get(role, ()))
    check_one_role((values.get("authorized", ""), *values["surrogates"], *values["heldout"]), f"{path}: ")
    if "budget" in values:
        values["budget"] = _bounds(path, values["budget"])
    if not isinstance(name := values.get("recipe", {}).get("name", ""), str):
        raise UserError(f"{path}: name under [recipe] must be text, not {name!r}")
    if "recipe" in values:
        values["recipe"] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["recipe"].items()
        }
    if "gallery" in values:
        values["gallery"] = os.path.relpath(path.parent / Path(values["gallery"]).expanduser())
    if values.get("region", "image") not in WITHOUT_MASKS:
        masks = path.parent / Path(values["region"]).expanduser()
        values["region"] = region_from(str(masks), Path())
    return PartialSettings(**values)


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a mark of its byte order.

    Raises:
        OSError: it cannot be read.
        UserError: it has another encoding.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a mark, or UTF-32
        raise UserError(f"{path} is not text in UTF-8: save it in that encoding")
    return text


def _bounds(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return the table of bounds with its keys and types checked; `Budget` checks the ranges."""
    if LINF in table:
        raise UserError(f"{path}: unknown key {LINF!r} under [budget]; {LINF} is epsilon, at the top")
    check_keys(table, BUDGET_TYPES, f"{path}: ", " under [budget]")
    return converted(table, BUDGET_TYPES, f"{path}: ", " under [budget]")


def _complete_uri(path: Path, models: Mapping[str, str], name: str) -> str:
    """Return the URI of a model that is given by its name under [models] or by its URI."""
    written = models.get(name, name)
    if ":" not in written and name not in models:
        if not models:
            raise UserError(
                f"{path}: there is no model {name!r}: write its URI, or name it under [models] "
                "(omm models lists the kinds)"
            )
        raise UserError(f"{path}: there is no model {name!r} under [models]{did_you_mean(name, models)}")
    return parse_uri(written, path.parent).relative_to(Path())


def _model_uri(path: Path, name: str, entry: object) -> str:
    """Return an entry of [models], a URI or a table with `uri` and options, as one URI."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict) or not isinstance(entry.get("uri"), str):
        raise UserError(f"{path}: model {name!r} must be a URI, or a table with a uri, not {redacted(repr(entry))}")
    written = str(entry["uri"])
    for key, value in entry.items():
        if key != "uri":
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            written += f"{'&' if '?' in written else '?'}{key}={quote(text, safe=QUERY_SAFE)}"
    return written
