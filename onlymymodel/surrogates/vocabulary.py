"""Classes that mean the same to two models, whatever each of them calls them and in whichever order."""

import unicodedata
from collections import defaultdict

from onlymymodel.data.affectnet import EXPRESSIONS, meaning
from onlymymodel.surrogates.classifier import ModelCard

Words = tuple[int | None, ...]


def translation(source: ModelCard, target: ModelCard) -> Words | None:
    """For each class of `source` the class of `target` that means the same, None where it has none.

    Classes are matched by name, expressions also across their forms (happy, happiness). Where one of the two has no
    names, equal indices mean the same if the task and the number of classes are equal.

    Returns:
        None where the two have nothing in common: another task, other numbers of nameless classes, other names.
    """
    if source.labels and source.labels == target.labels:
        return tuple(range(source.classes))
    if source.task != target.task:
        return None
    if not source.labels or not target.labels:
        return tuple(range(source.classes)) if source.classes == target.classes else None
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(target.labels):
        places[_meant(name, target)].append(index)
    found = [places.get(_meant(name, source), []) for name in source.labels]
    words = tuple(indices[0] if len(indices) == 1 else None for indices in found)
    return words if any(word is not None for word in words) else None


def _meant(name: str, card: ModelCard) -> str:
    plain = unicodedata.normalize("NFC", name).strip()
    return meaning(plain) if card.task == "emotion" else plain.casefold()


def not_affectnet(card: ModelCard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(AffectNet's expressions that a model of emotions has not, classes of its own that are none of AffectNet's)."""
    own = {meaning(name): name for name in card.labels}
    known = {meaning(name): name for name in EXPRESSIONS}
    missing = tuple(name for word, name in known.items() if word not in own)
    return missing, tuple(name for word, name in own.items() if word not in known)
