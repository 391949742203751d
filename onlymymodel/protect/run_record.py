"""`run.json`, beside the manifest: the models, settings and machine of a run, as `omm verify` needs them."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from msgspec import ValidationError

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import MAX_PIXELS
from onlymymodel.data.manifest import json_bytes
from onlymymodel.data.regular_file import read_regular
from onlymymodel.data.source import Source, local_path
from onlymymodel.data.stores.address import is_remote
from onlymymodel.errors import UserError, first_line
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.distortion import SSIM_DEFINITION
from onlymymodel.protect.context import Context
from onlymymodel.protect.output_folder import MAX_BYTES, RUN_RECORD, START_AGAIN, check_ours, check_same_settings
from onlymymodel.protect.portable import is_portable
from onlymymodel.protect.region import WHOLE
from onlymymodel.runtime import environment
from onlymymodel.surrogates.assumed import assumed_by_uri
from onlymymodel.surrogates.classifier import ModelCard

NAME = RUN_RECORD
SCHEMA = 1
# fields of a model's card that only serve to compare models: no written byte depends on them, and a folder of an
# earlier version, which had no fingerprints and other names for some families, has to be resumable
COMPARED = ("family", "weights")
ROLES = {"authorized": "the authorized model", "surrogates": "the stand-ins"}
UNHASHED = ("weights",)  # as before there were fingerprints


@dataclass(frozen=True)
class RunRecord:
    """The content of `run.json` that is read again.

    Attributes:
        settings: everything besides the photos that the written bytes depend on, as JSON values; see `describe`.
        authorized_uri, surrogate_uris: of the run's models, with files relative to the output folder.
        source: the photos, relative to the output folder.
        settings_sha256: recorded hash of the settings.
        rows: whether the photos are rows of Parquet files.
    """

    settings: Mapping[str, Any]
    authorized_uri: str
    surrogate_uris: tuple[str, ...]
    source: str
    settings_sha256: str
    rows: bool = False

    @property
    def intact(self) -> bool:
        """Return whether the settings are those that were hashed; whoever changes them can write their hash, too."""
        return self.settings_sha256 == _digest(self.settings, UNHASHED)

    @property
    def authorized(self) -> ModelCard:
        """Card of the authorized model, without class names."""
        return ModelCard.from_json(self.settings["authorized"])

    @property
    def surrogates(self) -> tuple[ModelCard, ...]:
        """Cards of the surrogates, without class names."""
        return tuple(ModelCard.from_json(card) for card in self.settings["surrogates"])

    @property
    def budget(self) -> Budget:
        """The budget."""
        return Budget.from_json(self.settings["budget"])

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return Recipe.from_json(self.settings["recipe"])

    @property
    def recipe_name(self) -> str:
        """Name of the recipe, or of the attack from outside that took its optimizer's place."""
        return self.recipe.attack or self.recipe.name

    @property
    def epsilon(self) -> float:
        """The budget's linf in 1/255."""
        return float(self.settings["budget"]["linf"])

    @property
    def max_pixels(self) -> int:
        """Number of pixels that a photo may have."""
        return int(self.settings.get("max_pixels", MAX_PIXELS))

    @property
    def first_frame(self) -> bool:
        """Return whether the first frame of an animation was protected."""
        return bool(self.settings.get("first_frame", False))

    @property
    def exclude(self) -> tuple[str, ...]:
        """Globs of the files and folders that were passed over."""
        return tuple(self.settings.get("exclude", ()))


def describe(context: Context, batch_size: int) -> dict[str, Any]:
    """Return everything besides the photos that the written bytes depend on, as JSON values."""
    return {
        "authorized": context.authorized.card.to_json(),
        "surrogates": [model.card.to_json() for model in context.surrogates],
        "budget": context.budget.to_json(),
        **({"auto_strength": True} if context.auto_strength else {}),
        "recipe": context.recipe.to_json(),
        "format": context.format,
        "metadata": context.metadata,
        "max_pixels": context.max_pixels,
        "batch_size": batch_size,
        **({} if context.region == WHOLE else {"region": asdict(context.region)}),
        **({"keep_makernotes": True} if context.keep_makernotes else {}),
        **({"first_frame": True} if context.first_frame else {}),
        **({"exclude": list(context.exclude)} if context.exclude else {}),
        **({"attack": context.attack.to_json()} if context.attack else {}),
        **({"portable": True} if is_portable() else {}),
    }


def write(
    out: Path, context: Context, batch_size: int, uris: Mapping[str, Any], source: str, *, rows: bool = False
) -> None:
    """Write `run.json`, or check that the existing one has the same settings.

    Args:
        uris: URIs of the models by role, `authorized` and a list of `surrogates`, with files relative to `out`.
        source, rows: see `RunRecord`.

    Raises:
        UserError: the folder was made with other settings, or is not empty and has no `run.json`.
    """
    if (out / NAME).exists():
        there, here = read(out).settings, describe(context, batch_size)
        if _digest(there, COMPARED) != _digest(here, COMPARED):
            _check_precision(out, there, here, context.precision_reason)
            check_same_settings(out, {key: value for key, value in here.items() if key not in (*ROLES, "attack")})
            differs = _other_models(there, here)
            raise UserError(f"{out} was made with other models or settings ({differs}); {START_AGAIN}")
        return
    check_ours(out)
    write_atomic(out / NAME, to_bytes(context, batch_size, uris, source, rows=rows))


def check_source(out: Path, source: Source, base: Path) -> None:
    """Check that a run is about the photos of the earlier runs in its folder, whose results it would replace else.

    Photos that are no longer where they were have been moved. A photo of the same folder is none of others.

    Args:
        out: the folder with the records; there may be none yet.
        source: the photos.
        base: the folder that relative paths in the records start from.

    Raises:
        UserError: the photos are in another folder, or in other Parquet files, on this machine.
    """
    here = local_path(source)
    if here is None or not (out / NAME).exists() or is_remote(recorded := read(out).source):
        return
    there, rows = base / recorded, not isinstance(source, Path)
    if _is_other(there, here) and (rows or _is_other(_folder(there), _folder(here))):
        raise UserError(f"{out} was made from other photos ({there.resolve()} there, {here} here); {START_AGAIN}")


def _is_other(there: Path, here: Path) -> bool:
    """Return whether there are two files or folders at two paths; no where one cannot be seen."""
    try:
        return not there.samefile(here)
    except (OSError, ValueError):
        return False


def _folder(place: Path) -> Path:
    return place if place.is_dir() else place.parent


def _check_precision(out: Path, there: Mapping[str, Any], here: Mapping[str, Any], reason: str) -> None:
    """Say so where two settings differ only by what `--precision auto` has become, for a reason. Raises UserError."""
    recorded = there.get("recipe")
    precision = recorded.get("precision") if isinstance(recorded, Mapping) else None
    with_precision = {**here, "recipe": {**here["recipe"], "precision": precision}}
    if reason and _digest(there, COMPARED) == _digest(with_precision, COMPARED):
        raise UserError(
            f"{out} was made with precision {precision}, and auto is {here['recipe']['precision']} here, as {reason}: "
            f"give --precision {precision} to go on, or another --out"
        )


def to_bytes(context: Context, batch_size: int, uris: Mapping[str, Any], source: str, *, rows: bool = False) -> bytes:
    """Return the content of `run.json` for a run, see `write`."""
    settings = describe(context, batch_size)
    bounds = context.budget.definitions
    assumed = assumed_by_uri((context.authorized, *context.surrogates))
    content = {
        "schema": SCHEMA,
        "settings_sha256": _digest(settings, UNHASHED),
        "settings": settings,
        "models": dict(uris),
        "source": source,
        **({"rows": True} if rows else {}),
        **({"assumed": assumed} if assumed else {}),
        **({"precision_reason": context.precision_reason} if context.precision_reason else {}),
        "ssim": SSIM_DEFINITION,
        **({"bounds": bounds} if bounds else {}),
        "environment": environment(context.device),
    }
    return json_bytes(content, indent=1)


def read_bytes(out: Path) -> bytes:
    """Return the bytes of `run.json` in a run's output folder. Raises OSError."""
    return read_regular(out / NAME, MAX_BYTES, follow_links=False)


def read(out: Path) -> RunRecord:
    """Read `run.json` from a run's output folder.

    Raises:
        UserError: it is missing, broken, or of another schema.
    """
    try:
        content: dict[str, Any] = json.loads(read_bytes(out))
        if not isinstance(content, dict):
            raise TypeError("it is not a JSON object")
        if content["schema"] != SCHEMA:
            raise UserError(f"{out / NAME} is of schema {content['schema']!r}; this version reads {SCHEMA}")
        content["settings"]["surrogates"]
        models = content["models"]
        run = RunRecord(
            content["settings"],
            models["authorized"],
            tuple(models.get("surrogates", ())),
            content["source"],
            content["settings_sha256"],
            bool(content.get("rows", False)),
        )
        _check(run)
        return run
    except FileNotFoundError as error:
        raise UserError(f"{out} was not made by omm protect: it has no {NAME}") from error
    except OSError as error:
        raise UserError(f"{out / NAME} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError, ValidationError) as error:
        raise UserError(f"{out / NAME} is broken, or of a later version: {first_line(error)}") from error


def _check(run: RunRecord) -> None:
    """Read everything that is read from a record later.

    Raises:
        UserError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, ValidationError: a value is missing
            or malformed.
    """
    for value in (run.authorized_uri, *run.surrogate_uris, run.source, *run.exclude):
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not a text")
        os.fsencode(value)
    _ = run.authorized, run.surrogates, run.budget, run.recipe, run.epsilon, run.max_pixels


def _other_models(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return which models differ between two settings, in words."""
    for key, role in ROLES.items():
        cards = [settings[key] if isinstance(settings[key], list) else [settings[key]] for settings in (there, here)]
        recorded, given = (json.dumps([_bare(card, COMPARED) for card in some], sort_keys=True) for some in cards)
        if recorded != given:
            names = [" ".join(str(card.get("uri")) for card in some) or "none" for some in cards]
            if names[0] == names[1]:
                return f"other weights or preprocessing of {role} {names[0]}"
            return f"{role} {names[0]} there, {names[1]} here"
    return f"{NAME} says which"


def _bare(card: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key not in without}


def _digest(settings: Mapping[str, Any], without: Collection[str]) -> str:
    """Return the hash of all settings but some fields of the models' cards."""
    surrogates = [_bare(card, without) for card in settings["surrogates"]]
    cards = {"authorized": _bare(settings["authorized"], without), "surrogates": surrogates}
    return hashlib.sha256(json.dumps({**settings, **cards}, sort_keys=True).encode()).hexdigest()
