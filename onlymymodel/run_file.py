"""The run file: TOML that names models once, with their roles, and the settings of a run.

Example::

    authorized = "mine"
    surrogates = ["vit", "zoo:identity-plain"]   # names of [models], or URIs
    heldout = ["judge"]
    epsilon = 8

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

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.surrogates.uri import did_you_mean, parse_uri

TOP_KEYS = ("authorized", "surrogates", "heldout", "models", "recipe", "epsilon", "strength", "budget")
BUDGET_KEYS = tuple(knob.name for knob in fields(Budget) if knob.name != "linf")


@dataclass(frozen=True)
class RunFile:
    """What a run file says. Model URIs are complete; their files are relative to the current folder.

    Attributes:
        recipe: `name` and changed fields.
        epsilon: in 1/255, or None.
        strength: a name of `STRENGTHS`, or None.
        budget: fields of `Budget` but linf; luma in 1/255.
    """

    authorized: str | None = None
    surrogates: tuple[str, ...] = ()
    heldout: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None
    strength: str | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)


def read_run_file(path: Path) -> RunFile:
    """Read a run file; the files that it names are relative to it.

    Raises:
        UserError: not TOML, an unknown key, a model that is not named, one model in two roles.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    for key in content:
        if key not in TOP_KEYS:
            raise UserError(f"{path}: unknown key {key!r}{did_you_mean(key, TOP_KEYS)}")
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
    )


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
    if ":" not in written:
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
