"""What flags and run file say: models, recipe, budget, photos, labels; flags over the run file over the defaults."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from onlymymodel.data.datasets import KINDS, labels_for, open_dataset
from onlymymodel.data.labels import read_labels
from onlymymodel.errors import UserError
from onlymymodel.evaluate.harness import check_independence
from onlymymodel.evaluate.judgment import panel
from onlymymodel.protect.budget import Budget
from onlymymodel.protect.photo import Context
from onlymymodel.protect.recipe import RECIPE_EPSILON, STRENGTHS, Recipe, make_recipe
from onlymymodel.protect.region import Region
from onlymymodel.roles import Roles
from onlymymodel.run_file import BUDGET_KEYS, PHOTO_KEYS, PhotoSettings, RunFile
from onlymymodel.runtime import pick_device
from onlymymodel.surrogates.black_box import BlackBox, load_black_box
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.doctor import check_team
from onlymymodel.surrogates.load import load_model


def team_of(
    arguments: argparse.Namespace, photos: PhotoSettings, roles: Roles, recipe: Recipe, budget: Budget
) -> tuple[Context, Sequence[BlackBox]]:
    """Load and check every model, so that nothing is left to fail after the first photo."""
    device, allow = pick_device(arguments.device), arguments.allow_python
    authorized, *surrogates = (
        load_model(uri, allow_python=allow, device=device) for uri in (roles.authorized, *roles.surrogates)
    )
    check_team(authorized, surrogates)
    judges = [load_black_box(uri, allow_python=allow, device=device) for uri in roles.heldout]
    context = Context(
        authorized=authorized,
        surrogates=tuple(surrogates),
        budget=budget,
        recipe=recipe,
        format=photos.format,
        strip_metadata=photos.strip_metadata,
        max_pixels=photos.max_pixels,
        region=Region(photos.kind, photos.no_face, photos.faces),
    )
    check_independence(panel(context, judges))
    return context, judges


def labels_of(arguments: argparse.Namespace, known: Sequence[str], card: ModelCard) -> Mapping[str, int]:
    """Labels from a CSV or a labelled set, KIND:PATH."""
    if arguments.labels is None:
        return {}
    names = card.labels or None
    if arguments.labels.partition(":")[0] in KINDS:
        dataset = open_dataset(arguments.labels)
        found = labels_for(dataset, known=known, classes=names, n_classes=card.classes)
        if len(found) < len(known):
            print(f"{dataset.name}: labels for {len(found)} of {len(known)} photos")
        for reason, count in dataset.left_out.items():
            print(f"{dataset.name}: {count} left out: {reason}")
        return found
    return read_labels(Path(arguments.labels), known=known, classes=names, n_classes=card.classes)


def recipe_of(arguments: argparse.Namespace, run: RunFile) -> Recipe:
    """Flags over the run file over the named recipe.

    What a run file says of the recipe that it names does not apply where `--recipe` names another: `omm tune` writes
    every setting down, and the flag would do nothing but rename them.
    """
    name = arguments.recipe or run.recipe.get("name", "default")
    same = run.recipe.get("name", name) == name
    changes = {key: value for key, value in run.recipe.items() if key != "name"} if same else {}
    for knob in fields(Recipe):
        value = getattr(arguments, f"recipe_{knob.name}", None)
        if value is not None:
            changes[knob.name] = tuple(value) if isinstance(value, list) else value
    return make_recipe(name, **changes)


def photo_settings_of(arguments: argparse.Namespace, run: RunFile) -> PhotoSettings:
    """Flags over the run file over the defaults."""
    given = {name: getattr(arguments, name) for name in PHOTO_KEYS if getattr(arguments, name) is not None}
    return PhotoSettings(**{**run.photos, **given})


def masks_of(arguments: argparse.Namespace, photos: PhotoSettings) -> Path | None:
    """The picture, or the folder of pictures, that the region names.

    Raises:
        UserError: it is not there.
    """
    if photos.kind != "mask":
        return None
    path = Path(photos.region)
    if not path.exists():
        place = "--region" if arguments.region is not None else f"{arguments.run_file}: region"
        raise UserError(f"{place} is image, face, or a picture or folder of masks; there is no {photos.region}")
    return path


def budget_of(arguments: argparse.Namespace, run: RunFile, recipe: Recipe) -> Budget:
    """Flags over the run file, bound by bound."""
    given = {name: getattr(arguments, name) for name in BUDGET_KEYS if getattr(arguments, name) is not None}
    further = {**run.budget, **given}
    bounded = any(name != "shape" for name in further)
    if "luma" in further:
        further["luma"] /= 255
    return Budget(_epsilon(arguments, run, recipe, "high" if bounded else "medium") / 255, **further)


def _epsilon(arguments: argparse.Namespace, run: RunFile, recipe: Recipe, usual: str) -> float:
    """Flags over the run file over the budget of the recipe's own paper over the `usual` strength."""
    for place, strength, epsilon in (
        ("the command", arguments.strength, arguments.epsilon),
        ("the run file", run.strength, run.epsilon),
    ):
        if strength is not None and epsilon is not None:
            raise UserError(f"{place} gives both a strength and an epsilon; give one")
        if strength is not None and strength not in STRENGTHS:
            raise UserError(f"{place} gives strength {strength!r}; it is one of {', '.join(STRENGTHS)}")
        if strength is not None:
            return STRENGTHS[strength].epsilon
        if epsilon is not None:
            return float(epsilon)
    return RECIPE_EPSILON.get(recipe.name, STRENGTHS[usual].epsilon)
