"""`run.json`, beside the manifest: which models, settings and machine made a folder, enough to judge it again."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onlymymodel.data.atomic import write_atomic
from onlymymodel.errors import UserError
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.context import Context
from onlymymodel.protect.distortion import SSIM_DEFINITION
from onlymymodel.protect.recipe import Recipe
from onlymymodel.protect.region import WHOLE
from onlymymodel.runtime import environment

NAME = "run.json"
SCHEMA = 1
# what a card says for the comparison of models alone: no written byte depends on it, and a folder that an earlier
# version began, which knew no fingerprints and called some families otherwise, must go on
COMPARED = ("family", "weights")


@dataclass(frozen=True)
class ModelUris:
    """Where a run's models are, as URIs whose files are relative to the output folder."""

    authorized: str
    surrogates: tuple[str, ...] = ()


def describe(context: Context, batch_size: int) -> dict[str, Any]:
    """Everything that the written bytes depend on besides the photos, as JSON values."""
    return {
        "authorized": context.authorized.card.to_json(),
        "surrogates": [model.card.to_json() for model in context.surrogates],
        "budget": context.budget.to_json(),
        "recipe": context.recipe.to_json(),
        "format": context.format,
        "strip_metadata": context.strip_metadata,
        "max_pixels": context.max_pixels,
        "batch_size": batch_size,
        **({} if context.region == WHOLE else {"region": asdict(context.region)}),
    }


def write(out: Path, context: Context, batch_size: int, uris: ModelUris, source: str) -> None:
    """Write `run.json`, or see that the one there is of the same settings.

    Raises:
        UserError: the folder was made with other settings, or is not empty and not ours.
    """
    if (out / NAME).exists():
        if _digest(read(out)["settings"], COMPARED) != _digest(describe(context, batch_size), COMPARED):
            raise UserError(
                f"{out} was made with other models or settings ({NAME} says which); "
                "give another --out, or remove that folder to start anew"
            )
        return
    strangers = sorted(path.name for path in out.iterdir())
    if strangers:
        raise UserError(
            f"{out} is not empty and no earlier run of omm made it (it has {strangers[0]}); give another --out"
        )
    write_atomic(out / NAME, to_bytes(context, batch_size, uris, source))


def to_bytes(context: Context, batch_size: int, uris: ModelUris, source: str) -> bytes:
    """What `run.json` says of a run."""
    settings = describe(context, batch_size)
    bounds = context.budget.definitions
    content = {
        "schema": SCHEMA,
        "settings_sha256": _digest(settings, ("weights",)),  # as before there were fingerprints
        "settings": settings,
        "models": {"authorized": uris.authorized, "surrogates": list(uris.surrogates)},
        "source": source,
        "ssim": SSIM_DEFINITION,
        **({"bounds": bounds} if bounds else {}),
        "environment": environment(context.device),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read(out: Path) -> dict[str, Any]:
    """The content of `run.json`.

    Raises:
        UserError: it is missing, broken, or of another schema.
    """
    try:
        content: dict[str, Any] = json.loads((out / NAME).read_bytes())
        if content["schema"] != SCHEMA:
            raise UserError(f"{out / NAME} is of schema {content['schema']}; this version reads {SCHEMA}")
        content["settings_sha256"], content["settings"]["surrogates"], content["models"]["authorized"]
    except FileNotFoundError as error:
        raise UserError(f"{out} was not made by omm protect: it has no {NAME}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out / NAME} is broken: {error}") from error
    return content


def budget_and_recipe(content: dict[str, Any]) -> tuple[Budget, Recipe]:
    """The budget and recipe that a run used."""
    recipe = dict(content["settings"]["recipe"])
    recipe["views"] = tuple(recipe["views"])
    return Budget.from_json(content["settings"]["budget"]), Recipe(**recipe)


def _digest(settings: dict[str, Any], without: Collection[str]) -> str:
    """Hash over all settings but some fields of the models' cards."""

    def bare(card: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in card.items() if key not in without}

    cards = {"authorized": bare(settings["authorized"]), "surrogates": [bare(card) for card in settings["surrogates"]]}
    return hashlib.sha256(json.dumps({**settings, **cards}, sort_keys=True).encode()).hexdigest()
