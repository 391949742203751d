"""Target classes: the class of each surrogate that a photo is moved away from, or toward."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.protect.attack.batch import SurrogateTargets
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.surrogates.class_mapping import map_classes
from onlymymodel.surrogates.classifier import Classifier, ModelCard

NOTE = "its label is the target class: stand-ins are moved away from it"


def attack_classes(
    labels: Tensor,
    predictions: Sequence[Tensor],
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
) -> list[Tensor]:
    """Return for each surrogate the (B,) classes to move away from.

    That is the surrogate's own class for the label where it has one and the recipe says so; otherwise its prediction on
    the clean photo, so that models of another task take part without labels.

    Args:
        labels: (B,) long, classes of the authorized model.
        predictions: for each surrogate its (B,) predictions on the clean photos.
    """
    return [
        _label_of(model, labels, authorized, prediction) if recipe.push == "label" else prediction
        for model, prediction in zip(surrogates, predictions, strict=True)
    ]


def _label_of(model: Classifier, labels: Tensor, authorized: Classifier, predictions: Tensor) -> Tensor:
    """Return the (B,) answers of a model that correspond to the labels, and its predictions where none does."""
    if model.card.kind == authorized.card.kind == "attributes":
        return _attributes_of(model.card, labels, authorized.card, predictions)
    mapping = map_classes(authorized.card, model.card)
    if mapping is None:
        return predictions
    classes = torch.tensor([-1 if index is None else index for index in mapping], device=labels.device)[labels]
    return torch.where(classes >= 0, classes, predictions)


def _attributes_of(card: ModelCard, labels: Tensor, authorized: ModelCard, predictions: Tensor) -> Tensor:
    """Return the (B,) codes of a model's predictions, with the label's answer to each attribute of the same name."""
    codes = predictions
    for bit, name in enumerate(card.labels):
        if name in authorized.labels:
            label = labels >> authorized.labels.index(name) & 1
            codes = codes & ~(1 << bit) | label << bit
    return codes


def target_class(name: str, card: ModelCard) -> int:
    """Return the index of the class that a name or an index refers to.

    Raises:
        UserError: no class, or more than one.
    """
    if card.kind == "attributes":
        raise UserError(f"toward {name!r}: {card.uri} answers several questions, and has no classes to move toward")
    matches = {index for index, label in enumerate(card.labels) if label.strip() == name.strip()}
    if name.strip().isdecimal() and int(name) < card.classes:
        matches.add(int(name))
    if len(matches) > 1:
        raise UserError(f"toward {name!r}: more than one class of {card.uri} has this name or index")
    if not matches:
        hint = did_you_mean(name, card.labels) if card.labels else f"; give an index from 0 to {card.classes - 1}"
        raise UserError(f"toward {name!r}: {card.uri} has no such class{hint}")
    return matches.pop()


def target_class_of_each(authorized: Classifier, surrogates: Sequence[Classifier], recipe: Recipe) -> list[int | None]:
    """Return the class of each surrogate that corresponds to `recipe.toward`.

    It is None for a surrogate without that class, and for all surrogates if the recipe is untargeted.

    Raises:
        UserError: the authorized model has no such class, or no surrogate has it.
    """
    if not recipe.toward:
        return [None] * len(surrogates)
    index = target_class(recipe.toward, authorized.card)
    mappings = [map_classes(authorized.card, model.card) for model in surrogates]
    classes = [None if mapping is None else mapping[index] for mapping in mappings]
    if all(target is None for target in classes):
        name = authorized.card.name_of(index)
        raise UserError(f"no stand-in has the class {name!r}: choose another target class, or none")
    return classes


def apply_target_class(
    away: Sequence[Tensor],
    labels: Tensor,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
) -> list[SurrogateTargets]:
    """Direct the surrogates toward the recipe's target class, if it has one.

    A photo whose label is the target class, and a surrogate that does not have it, move away as without a target.

    Args:
        away: for each surrogate the (B,) classes to move away from, see `attack_classes`.
        labels: (B,) long, classes of the authorized model.

    Raises:
        UserError: see `target_class_of_each`.
    """
    away_signs = torch.ones(len(labels), device=labels.device)
    if not recipe.toward:
        return [SurrogateTargets(classes, away_signs) for classes in away]
    directed = labels != target_class(recipe.toward, authorized.card)
    toward = target_class_of_each(authorized, surrogates, recipe)
    return [
        SurrogateTargets(classes, away_signs)
        if target is None
        else SurrogateTargets(torch.where(directed, target, classes), torch.where(directed, -away_signs, away_signs))
        for classes, target in zip(away, toward, strict=True)
    ]
