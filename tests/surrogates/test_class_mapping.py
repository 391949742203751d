"""Classes are mapped by their meaning, and nothing is guessed for classes that a model lacks."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.markdown_tables import to_markdown
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.tables import UNMAPPED_NOTE
from onlymymodel.evaluate.terminal_table import to_text
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.targets import attack_classes
from onlymymodel.surrogates.black_box import CallableBlackBox
from onlymymodel.surrogates.class_mapping import compare_with_affectnet, map_classes
from onlymymodel.surrogates.classifier import Classifier, ModelCard, Preprocess

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
FER2013 = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")


def card(*labels: str, classes: int = 0, **changes: Any) -> ModelCard:
    fields = {"uri": "toy", "sha256": "0", "classes": len(labels) or classes, "preprocess": Preprocess(4, 4)}
    return ModelCard(**{**fields, "labels": labels, "task": "emotion", **changes})


def test_equal_names_are_equal_classes_whatever_the_task_is_called() -> None:
    assert map_classes(card("cat", "dog", task="pets"), card("cat", "dog", task="animals")) == (0, 1)


def test_another_order_and_other_word_forms_are_mapped() -> None:
    assert map_classes(card(*SEVEN), card(*FER2013)) == (6, 3, 4, 5, 2, 1, 0)
    assert map_classes(card(*FER2013), card(*SEVEN)) == (6, 5, 4, 1, 2, 3, 0)


def test_there_and_back_is_where_one_was() -> None:
    there, back = map_classes(card(*SEVEN), card(*FER2013)), map_classes(card(*FER2013), card(*SEVEN))
    assert there is not None
    assert back is not None
    assert [back[word] for word in there if word is not None] == list(range(7))


def test_a_missing_class_is_not_guessed() -> None:
    assert map_classes(card(*SEVEN, "contempt"), card(*SEVEN)) == (0, 1, 2, 3, 4, 5, 6, None)


def test_a_name_that_two_classes_have_is_not_guessed() -> None:
    assert map_classes(card("crane", "owl", task="birds"), card("crane", "crane", "owl", task="birds")) == (None, 2)


def test_people_are_found_by_name_in_another_gallery_and_the_stranger_too() -> None:
    here, there = card("ann", "bob", "stranger", task="identity"), card("bob", "eve", "stranger", task="identity")
    assert map_classes(here, there) == (None, 0, 2)


def test_without_names_task_and_number_of_classes_decide() -> None:
    named, bare = card("cat", "dog"), card(classes=2)
    assert map_classes(named, bare) == map_classes(bare, named) == (0, 1)
    assert map_classes(named, card(classes=3)) is None
    assert map_classes(named, card(classes=2, task="other")) is None


def test_other_tasks_and_other_class_names_are_not_mapped() -> None:
    assert map_classes(card("cat", "dog"), card("dog", "cat", task="other")) is None
    assert map_classes(card("cat", "dog"), card("pear", "plum")) is None


def test_a_model_of_emotions_says_how_it_differs_from_affectnet() -> None:
    assert compare_with_affectnet(card(*FER2013, "unknown")) == (("Contempt",), ("unknown",))


def classifier(of: ModelCard) -> Classifier:
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, of.classes)), of)


@pytest.mark.parametrize(("push", "expected"), [("label", [3, 0]), ("own", [5, 0])])
def test_surrogates_are_pushed_from_their_own_class_for_the_label(push: str, expected: list[int]) -> None:
    authorized, surrogate = classifier(card(*SEVEN, "contempt")), classifier(card(*FER2013))
    happiness, contempt = 1, 7
    (away_classes,) = attack_classes(
        torch.tensor([happiness, contempt]),
        [torch.tensor([5, 0])],
        authorized,
        [surrogate],
        Recipe(push=push),  # type: ignore[arg-type]
    )
    assert away_classes.tolist() == expected  # contempt is unknown to the surrogate: its own answer, 0


def judged(labels: tuple[int, ...], *, says: dict[int, int]) -> Results:
    """An authorized model with eight expressions that is always right, and a FER2013 model with given answers."""
    photo = np.zeros((12, 12, 3), np.uint8)

    def knows(image: np.ndarray[Any, Any]) -> int:
        return int(image[0, 0, 0])

    def other(image: np.ndarray[Any, Any]) -> int:
        return says[int(image[0, 0, 0])]

    pairs = []
    for number, label in enumerate(labels):
        marked = photo.copy()
        marked[0, 0, 0] = label
        pairs.append(Pair(f"{number}.png", marked, {"run": marked}, label))
    judges = [
        Judge("authorized", CallableBlackBox(knows, card(*SEVEN, "contempt", uri="a", sha256="a"))),
        Judge("held-out", CallableBlackBox(other, card(*FER2013, uri="h", sha256="h"))),
    ]
    return evaluate_models(judges, pairs, progress=False)


def test_a_held_out_model_is_measured_by_its_own_classes() -> None:
    results = judged((0, 1, 6), says={0: 6, 1: 3, 6: 1})  # neutral, happy, and disgust for anger
    row = results.rows[1]
    assert row.truth == "label"
    assert row.truths == (6, 3, 0)
    assert (row.score("run").right, row.score("run").photos) == (2, 3)


def test_photos_without_a_matching_class_are_left_out_and_reported() -> None:
    results = judged((1, 7), says={1: 3, 7: 3})
    row = results.rows[1]
    assert row.unmapped == ("contempt",)
    assert (row.score("clean").right, row.score("clean").photos, row.score("clean").readable) == (1, 1, 1)
    assert results.heldout_mean("run") == 1
    for text in (to_text(results), to_markdown(results)):
        assert UNMAPPED_NOTE in text
        assert "contempt" in text


def test_a_model_without_any_label_class_is_measured_by_its_own_answers() -> None:
    row = judged((7, 7), says={7: 3}).rows[1]
    assert (row.truth, row.truths, row.unmapped) == ("own", (3, 3), ())
