"""Models and settings as a Python program gives them to `Protector`: URIs or objects, names or values."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from onlymymodel.data.labels import ClassIndex
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.budget.kinds import LINF
from onlymymodel.protect.workers import WorkerSettings
from onlymymodel.settings import RunSettings, make_context
from onlymymodel.settings import recorded_uri as recorded
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.class_mapping import classes_of_labels
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.detector import as_judge
from onlymymodel.surrogates.load import load_black_box, load_model

Model: TypeAlias = str | Classifier  # a URI, or a loaded or wrapped network
HeldOut: TypeAlias = str | Classifier | BlackBox


def name_of(model: object) -> str:
    """Return the URI of a model: as it is given, or as its card has it.

    Raises:
        UserError: it is no model, or a network whose preprocessing is not known.
    """
    if isinstance(model, str):
        return model
    if isinstance(model, Classifier | BlackBox):
        return model.card.uri
    if isinstance(model, nn.Module):
        raise UserError(
            f"the preprocessing of the network {type(model).__name__} is not known: pass "
            "wrap_network(net, mean=..., std=..., size=...)"
        )
    raise UserError(f"a model is a URI, a Classifier or, as a judge, a BlackBox, not {type(model).__name__}")


def with_objects(uris: Sequence[str], given: Sequence[HeldOut]) -> list[HeldOut]:
    """Return the models of settings: the objects that were given, and the URIs as the settings have them.

    Args:
        uris: of the settings, which may have completed the URIs that were given, or have those of a preset instead.
        given: by the caller; of the same length, or empty.
    """
    if not given:
        return list(uris)
    return [uri if isinstance(model, str) else model for uri, model in zip(uris, given, strict=True)]


def load_classifier(model: HeldOut, device: torch.device, allow_python: bool) -> Classifier:
    """Return a model with gradients, on a device.

    Raises:
        UserError: it cannot be loaded, or is a black box.
    """
    if isinstance(model, str):
        return load_model(model, allow_python=allow_python, device=device)
    if not isinstance(model, Classifier):
        raise UserError(f"model {model.card.uri!r} is a black box: it can judge, not guide")
    return model.to(device)


def load_judge(model: HeldOut, device: torch.device, allow_python: bool) -> BlackBox:
    """Return a model to judge with.

    Raises:
        UserError: it cannot be loaded.
    """
    if isinstance(model, str):
        return load_black_box(model, allow_python=allow_python, device=device)
    return as_judge(model.to(device)) if isinstance(model, Classifier) else model


def recorded_uri(model: HeldOut, folder: Path) -> str:
    """Return the URI of a model for `run.json` in a folder: of an object, that of its card."""
    return recorded(model, folder) if isinstance(model, str) else model.card.uri


def class_index(label: int | str, card: ModelCard) -> int:
    """Return the index of a model's class that is given by its index or name.

    Raises:
        UserError: the model has no such class, or several of that name.
    """
    index = ClassIndex(card.labels or None, classes_of_labels(card)).of(str(label))
    if isinstance(index, str):
        raise UserError(f"label {label!r} of {card.uri}: {index}")
    return index


def recipe_settings(recipe: str | Recipe | None, attack: str | None) -> dict[str, Any]:
    """Return a recipe, and the name of an attack from outside, as `PartialSettings` have them.

    Args:
        recipe: a name, or all values; None for that of the preset.
        attack: None for that of the recipe.
    """
    named = {} if attack is None else {"attack": attack}
    if recipe is None or isinstance(recipe, str):
        return named if recipe is None else {"name": recipe, **named}
    name = recipe.name if recipe.name in RECIPES else "default"
    values = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    return {**values, "name": name, **named}


def budget_settings(budget: Budget | None, strength: str | None, epsilon: float | None) -> dict[str, Any]:
    """Return a budget as `PartialSettings` have it.

    Raises:
        UserError: a budget and a strength or an epsilon are both given.
    """
    if budget is None:
        return {"strength": strength, "epsilon": epsilon}
    if strength is not None or epsilon is not None:
        raise UserError("a budget has its own limits: give no strength and no epsilon beside it")
    bounds = budget.to_json()
    return {"epsilon": bounds.pop(LINF), "budget": bounds}


def worker_settings(
    count: int, settings: RunSettings, objects: Sequence[object], allow_python: bool
) -> WorkerSettings | None:
    """Return the settings of several processes; None for one.

    Args:
        count: number of processes, at least 1.
        settings: of the run; each process loads its models.
        objects: what was given as an object of this process, which another one cannot load.
        allow_python: whether code from outside may run.

    Raises:
        UserError: the count is less than 1, or there are objects.
    """
    if count < 1:
        raise UserError(f"workers must be at least 1, not {count}")
    if count == 1:
        return None
    if objects:
        kinds = ", ".join(sorted({type(given).__name__ for given in objects}))
        raise UserError(f"workers load models and attacks by their names: give a URI in place of {kinds}, or workers=1")
    return WorkerSettings(count, partial(make_context, settings, allow_python))
