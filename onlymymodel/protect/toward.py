"""Targeted pushes: surrogates are led to a class that somebody chose, not only away from the label."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.protect.recipe import Recipe
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.uri import did_you_mean
from onlymymodel.surrogates.vocabulary import translation

NOTE = "its label is the class that surrogates are pushed toward: here they are pushed away from it"


def chosen_class(name: str, card: ModelCard) -> int:
    """The class that a name or an index means to a model.

    Raises:
        UserError: none, or more than one.
    """
    meant = {index for index, label in enumerate(card.labels) if label.strip() == name.strip()}
    if name.strip().isdecimal() and int(name) < card.classes:
        meant.add(int(name))
    if len(meant) > 1:
        raise UserError(f"toward {name!r}: more than one class of {card.uri} has this name or index")
    if not meant:
        hint = did_you_mean(name, card.labels) if card.labels else f"; give an index from 0 to {card.classes - 1}"
        raise UserError(f"toward {name!r}: {card.uri} has no such class{hint}")
    return meant.pop()


def words_for_toward(authorized: Classifier, surrogates: Sequence[Classifier], recipe: Recipe) -> list[int | None]:
    """What each surrogate calls the class `recipe.toward`; None where it has no word for it, or nothing is chosen.

    Raises:
        UserError: the authorized model has no such class, or no surrogate has a word for it.
    """
    if not recipe.toward:
        return [None] * len(surrogates)
    index = chosen_class(recipe.toward, authorized.card)
    vocabularies = [translation(authorized.card, model.card) for model in surrogates]
    words = [None if vocabulary is None else vocabulary[index] for vocabulary in vocabularies]
    if all(word is None for word in words):
        name = authorized.card.name_of(index)
        raise UserError(f"no surrogate has a word for {name!r}: choose another class to push toward, or none")
    return words


def turn_toward(
    targets: Sequence[Tensor],
    labels: Tensor,
    *,
    authorized: Classifier,
    surrogates: Sequence[Classifier],
    recipe: Recipe,
) -> tuple[list[Tensor], list[Tensor]]:
    """What each surrogate is pushed at, and which way.

    A photo whose label is the chosen class, and a surrogate that has no word for it, are pushed from `targets`.

    Args:
        targets: for each surrogate (B,) long, the classes that it is pushed from, see `push_targets`.
        labels: (B,) long, classes of the authorized model.

    Returns:
        For each surrogate (B,) classes, and (B,) signs: 1 away from the class, -1 toward it.

    Raises:
        UserError: see `words_for_toward`.
    """
    away = torch.ones(len(labels), device=labels.device)
    if not recipe.toward:
        return list(targets), [away] * len(targets)
    others = labels != chosen_class(recipe.toward, authorized.card)
    words = words_for_toward(authorized, surrogates, recipe)
    classes = [
        target if word is None else torch.where(others, word, target)
        for target, word in zip(targets, words, strict=True)
    ]
    return classes, [away if word is None else torch.where(others, -away, away) for word in words]
