"""Map the classes of one model to those of another by their meaning."""

import unicodedata
from collections import defaultdict

from onlymymodel.data.affectnet import EXPRESSIONS, expression_noun
from onlymymodel.errors import UserError
from onlymymodel.surrogates.model_card import ModelCard

ClassMap = tuple[int | None, ...]


def map_classes(source: ModelCard, target: ModelCard) -> ClassMap | None:
    """Map each class of `source` to the class of `target` with the same meaning.

    Classes are matched by name, facial expressions also across their forms (happy, happiness). If one of the models
    has no class names, equal indices match, provided that task and number of classes are equal.

    Returns:
        For each class of `source` an index of `target`, or None where no single class matches. None instead of a map
        if nothing matches: other tasks, other numbers of unnamed classes, other names, embeddings, attributes (whose
        answers are no classes).
    """
    if {source.kind, target.kind} & {"embedder", "attributes"}:
        return None
    if source.labels and source.labels == target.labels:
        return tuple(range(source.classes))
    if source.task != target.task:
        return None
    if not source.labels or not target.labels:
        return tuple(range(source.classes)) if source.classes == target.classes else None
    indices_of: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(target.labels):
        indices_of[_meaning(name, target)].append(index)
    matches = [indices_of.get(_meaning(name, source), []) for name in source.labels]
    class_map = tuple(indices[0] if len(indices) == 1 else None for indices in matches)
    return class_map if any(index is not None for index in class_map) else None


def classes_of_labels(card: ModelCard) -> int:
    """Return the number of classes of which a photo's label names one.

    Raises:
        UserError: the model's answers are no classes.
    """
    if card.kind == "attributes":
        raise UserError(f"{card.uri} answers several questions at once: only a table of attributes has labels for it")
    return card.classes


def _meaning(name: str, card: ModelCard) -> str:
    plain = unicodedata.normalize("NFC", name).strip()
    return expression_noun(plain) if card.task == "emotion" else plain.casefold()


def compare_with_affectnet(card: ModelCard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare the classes of an emotion model with AffectNet's expressions.

    Returns:
        AffectNet's expressions that the model lacks, and the model's classes that AffectNet lacks.
    """
    model = {expression_noun(name): name for name in card.labels}
    affectnet = {expression_noun(name): name for name in EXPRESSIONS}
    missing = tuple(name for word, name in affectnet.items() if word not in model)
    return missing, tuple(name for word, name in model.items() if word not in affectnet)
