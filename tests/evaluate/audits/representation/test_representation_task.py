"""The task of a representation: classes and attributes, against scikit-learn."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, matthews_corrcoef

from onlymymodel.data.attributes import decode
from onlymymodel.evaluate.audits.pictures import portrait_pictures
from onlymymodel.evaluate.audits.representation.task import Task

CLASSES, ATTRIBUTES = Task(4), Task(3, ("Bald", "Beard", "Smiling"))


def labels(count: int, largest: int, seed: int) -> torch.Tensor:
    return torch.randint(largest + 1, (count,), generator=torch.Generator().manual_seed(seed))


def test_classes_are_scored_as_scikit_learn_does() -> None:
    truth, read = (labels(40, CLASSES.largest_label, seed) for seed in (0, 1))
    assert CLASSES.right(truth, read).mean().item() == pytest.approx(accuracy_score(truth, read))
    assert CLASSES.correlation(truth, read) == pytest.approx(matthews_corrcoef(truth, read))
    assert CLASSES.by_chance(truth) == max(truth.tolist().count(label) for label in range(4)) / 40
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(CLASSES.answers(logits), logits.argmax(1))
    assert CLASSES.loss(logits, truth[:5]).item() == pytest.approx(F.cross_entropy(logits, truth[:5]).item())


def test_attributes_are_scored_one_by_one() -> None:
    truth, read = (labels(40, ATTRIBUTES.largest_label, seed) for seed in (0, 1))
    columns = [
        ([bool(code >> bit & 1) for code in truth.tolist()], [bool(code >> bit & 1) for code in read.tolist()])
        for bit in range(3)
    ]
    scores = [matthews_corrcoef(*column) for column in columns]
    assert ATTRIBUTES.correlation(truth, read) == pytest.approx(sum(scores) / 3)
    assert ATTRIBUTES.right(truth, read).mean().item() == pytest.approx(
        sum(accuracy_score(*column) for column in columns) / 3
    )
    shares = [sum(column) / 40 for column, _ in columns]
    assert ATTRIBUTES.by_chance(truth) == pytest.approx(sum(max(share, 1 - share) for share in shares) / 3)


def test_answers_and_loss_of_attributes_are_those_of_binary_logits() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [-0.5, -0.2, -0.1]])
    truth = torch.tensor([0b101, 0b010])
    assert ATTRIBUTES.answers(logits).tolist() == [0b101, 0]
    wanted = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    expected = F.binary_cross_entropy_with_logits(logits, wanted)
    assert ATTRIBUTES.loss(logits, truth).item() == pytest.approx(expected.item())


def test_a_coefficient_is_undefined_where_nothing_varies() -> None:
    assert CLASSES.correlation(torch.tensor([2, 2]), torch.tensor([2, 2])) is None
    assert ATTRIBUTES.correlation(torch.tensor([5, 5]), torch.tensor([1, 2])) is None


def test_portraits_have_the_attributes_of_their_people_and_expressions() -> None:
    pictures = portrait_pictures(60, 16, task="attributes", people=20, seed=3)
    assert (pictures.classes, len(pictures.attributes)) == (7, 7)
    assert set(pictures.groups.tolist()) == set(range(60, 80))  # other people for every seed
    present = [dict(zip(pictures.attributes, decode(code, 7), strict=True)) for code in pictures.labels.tolist()]
    for person in range(20):  # looks stay, expressions do not
        own = [present[row] for row in range(60) if row % 20 == person]
        assert len({(one["Eyeglasses"], one["Beard"], one["Bald"], one["Long_Hair"]) for one in own}) == 1
    emotions = portrait_pictures(60, 16, people=20, seed=3).labels
    assert [one["Smiling"] for one in present] == (emotions == 1).tolist()
    assert torch.equal(pictures.take([5]).labels, pictures.labels[5:6])
    assert pictures.take([5]).attributes == pictures.attributes
