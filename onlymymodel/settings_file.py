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
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import quote

from msgspec import Meta

from onlymymodel.data.file_kinds import check_globs
from onlymymodel.errors import UserError, as_written, did_you_mean, mistakes_in
from onlymymodel.protect.attack.recipe import Recipe, make_recipe
from onlymymodel.protect.budget.kinds import BOUNDS, EVEN, LINF, Shape, check_limits, optional_bounds
from onlymymodel.protect.choices import WITHOUT_MASKS
from onlymymodel.settings import check_one_role, region_from
from onlymymodel.settings_partial import PartialSettings, check_strength
from onlymymodel.surrogates.uri import QUERY_SAFE, parse_uri, redacted
from onlymymodel.validation import converted

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # with which PowerShell 5.1 begins what it writes by >
BUDGET_TYPES: dict[str, Any] = {**dict.fromkeys(optional_bounds(), float), "shape": Shape}
FILE_TYPES = {
    **get_type_hints(PartialSettings, include_extras=True),
    "models": Annotated[dict[str, Any], Meta(description="a table")],
}
RECIPE_KEYS = [setting.name for setting in fields(Recipe)]
# flags of `omm protect` that run files have no key for
ON_COMMAND_LINE = (
    "out", "labels", "dry_run", "i_know", "batch_size", "checksum", "sign", "device", "allow_python", "memory",
    "time_limit", "workers", "engine", "address", "gpus_per_worker", "shard", "portable", "identical", "json",
    "progress", "quiet", "verbose", "log_level",
)  # fmt: skip


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
    with mistakes_in(path):
        return PartialSettings(**_settings(content, path.parent))


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


def _settings(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the fields of `PartialSettings` that a run file in a folder gives.

    Each value is checked by itself, also where a flag takes its place; but a gallery may be elsewhere on this machine.
    """
    if "strip_metadata" in content:
        raise UserError('strip_metadata was replaced: write metadata = "none" for true, "keep" for false')
    _check_keys(content, FILE_TYPES)
    values = converted(content, FILE_TYPES)
    models = {name: _model_uri(name, entry) for name, entry in values.pop("models", {}).items()}
    if "authorized" in values:
        values["authorized"] = _complete_uri(folder, models, values["authorized"])
    for role in ("surrogates", "heldout"):
        values[role] = tuple(_complete_uri(folder, models, name) for name in values.get(role, ()))
    check_one_role((values.get("authorized", ""), *values["surrogates"], *values["heldout"]))
    check_strength(values.get("strength"))
    check_globs(values.get("exclude", ()))
    values["budget"] = _bounds(values.get("budget", {}), values.get("epsilon"))
    values["recipe"] = _recipe(values.get("recipe", {}))
    if "gallery" in values:
        values["gallery"] = os.path.relpath(folder / Path(values["gallery"]).expanduser())
    if values.get("region", "image") not in WITHOUT_MASKS:
        values["region"] = region_from(str(folder / Path(values["region"]).expanduser()), Path())
    return values


def _bounds(table: dict[str, Any], epsilon: float | None) -> dict[str, Any]:
    """Return the table of bounds, after a check of it and of epsilon."""
    _check_keys(table, BUDGET_TYPES, " under [budget]")
    bounds = converted(table, BUDGET_TYPES, after=" under [budget]")
    given = {**bounds, **({} if epsilon is None else {LINF: epsilon})}
    limits = {name: kind.read(given[name]) for name, kind in BOUNDS.items() if name in given}
    check_limits(limits, bounds.get("shape", EVEN))
    return bounds


def _recipe(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table of the recipe, after a check that there is such a recipe."""
    _check_keys(table, RECIPE_KEYS, " under [recipe]")
    if not isinstance(name := table.get("name", ""), str):
        raise UserError(f"name under [recipe] must be text, not {as_written(name)}")
    recipe: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    make_recipe(**{"name": "default", **recipe})
    return recipe


def _check_keys(values: Iterable[str], known: Collection[str], where: str = "") -> None:
    """Refuse an unknown key; the error says where it belongs, or names the nearest known keys."""
    for key in values:
        if key not in known:
            name = key.replace("-", "_")
            belongs = "" if name in known else _place_of(name)
            raise UserError(f"unknown key {key!r}{where}{belongs or did_you_mean(key, known)}")


def _place_of(name: str) -> str:
    """Return where a key belongs that is not where it has to be, as the end of a sentence; "" where that is unknown."""
    if name == LINF:
        return f"; {LINF} is epsilon, at the top"
    if name in FILE_TYPES:
        return f"; write {name} at the top of the file, above the first [table]"
    for table, keys in (("budget", BUDGET_TYPES), ("recipe", RECIPE_KEYS)):
        if name in keys and name != "name":
            return f"; write {name} under [{table}]"
    if name in ON_COMMAND_LINE:
        return f"; it is given on the command line, by --{name.replace('_', '-')}"
    return ""


def _complete_uri(folder: Path, models: Mapping[str, str], name: str) -> str:
    """Return the URI of a model that is given by its name under [models] or by its URI."""
    written = models.get(name, name)
    if ":" not in written and name not in models:
        if not models:
            raise UserError(
                f"there is no model {name!r}: write its URI, or name it under [models] (omm models lists the kinds)"
            )
        raise UserError(f"there is no model {name!r} under [models]{did_you_mean(name, models)}")
    return parse_uri(written, folder).relative_to(Path())


def _model_uri(name: str, entry: object) -> str:
    """Return an entry of [models], a URI or a table with `uri` and options, as one URI."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict) or not isinstance(entry.get("uri"), str):
        raise UserError(f"model {name!r} must be a URI, or a table with a uri, not {redacted(repr(entry))}")
    written = str(entry["uri"])
    for key, value in entry.items():
        if key != "uri":
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            written += f"{'&' if '?' in written else '?'}{key}={quote(text, safe=QUERY_SAFE)}"
    return written
