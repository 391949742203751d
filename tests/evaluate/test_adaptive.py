"""The adaptive adversary: it learns what can be learned, and nothing from the photos that it answers."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from toys import SIZE, classifier, small_cnn

from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError
from onlymymodel.evaluate import adaptive
from onlymymodel.evaluate.adaptive import ADAPTATION, Diverged, adapt
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.judges import Judge
from onlymymodel.evaluate.students import Student, find_students, that_know
from onlymymodel.surrogates.black_box import CallableBlackBox, ClassifierBlackBox, to_pixels
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model

Pixels = NDArray[np.uint8]
CLASSES = 3
RNG = np.random.default_rng(7)
MOTIFS = RNG.choice([-1.0, 1.0], (CLASSES, SIZE, SIZE, 3))
NOISE = 40.0


def answers_after(model: Classifier, images: Sequence[Pixels], labels: Sequence[int], **settings: Any) -> list[int]:
    return adapt(model, images, labels, **settings).answers(images)


def photos(count: int, seed: int, *, size: int = SIZE) -> tuple[list[Pixels], list[int]]:
    """Each class has its own faint motif under strong noise; labels alternate."""
    rng = np.random.default_rng(seed)
    labels = [index % CLASSES for index in range(count)]
    motifs = MOTIFS.repeat(size // SIZE, 1).repeat(size // SIZE, 2)
    images = [128 + 12 * motifs[label] + rng.normal(0, NOISE, (size, size, 3)) for label in labels]
    return [image.round().clip(0, 255).astype(np.uint8) for image in images], labels


def matched() -> Classifier:
    """Correlates with each motif: reads the clean photos."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES))
    head = net[1]
    assert isinstance(head, nn.Linear)
    head.weight.data = torch.tensor(MOTIFS.transpose(0, 3, 1, 2).reshape(CLASSES, -1), dtype=torch.float32) * 0.2
    head.bias.data = -head.weight.data.sum(1) / 2
    return classifier(net, CLASSES, "matched")


def protected(images: list[Pixels]) -> list[Pixels]:
    """One fixed pattern over every picture: the second class's motif, stronger than any of the photo's own."""
    return [(image + 30 * MOTIFS[1]).round().clip(0, 255).astype(np.uint8) for image in images]


def answers_of(model: Classifier, images: list[Pixels]) -> list[int]:
    with torch.no_grad():
        return [int(model(to_pixels(image)).argmax()) for image in images]


def share(answers: list[int], labels: list[int]) -> float:
    return float(np.mean(np.array(answers) == np.array(labels)))


def test_adapted_model_resists_a_fixed_pattern() -> None:
    model = matched()
    images, labels = photos(60, seed=1)
    fooling = protected(images)
    assert share(answers_of(model, images), labels) > 0.95
    assert share(answers_of(model, fooling), labels) < 0.4
    assert share(answers_after(model, fooling, labels, learning_rate=1e-3, epochs=20), labels) > 0.9


@pytest.mark.slow
def test_random_labels_do_not_improve_the_model() -> None:
    """A copy trained on its test photos would have memorized these labels; otherwise it is at chance, 1 in 3."""
    images, _ = photos(90, seed=2)
    labels = np.random.default_rng(3).integers(0, CLASSES, 90).tolist()
    answers = answers_after(small_cnn(0, CLASSES), images, labels, learning_rate=1e-2, epochs=40, also_clean=images)
    assert 0.15 < share(answers, labels) < 0.52  # more than 3.5 standard errors to both sides


@pytest.mark.slow
def test_own_label_never_influences_the_answer() -> None:
    """With as many folds as photos, no photo's answer depends on the label given to that photo."""
    images, labels = photos(6, seed=4)
    model = small_cnn(1, CLASSES)
    ask = partial(answers_after, model, images, folds=6, learning_rate=1e-2, epochs=10, also_clean=images)
    honest = ask(labels)
    for index in range(len(images)):
        other = [*labels[:index], (labels[index] + 1) % CLASSES, *labels[index + 1 :]]
        assert ask(other)[index] == honest[index]
        assert ask(other) != honest  # the label does reach the others


def test_answers_are_in_the_order_of_the_photos() -> None:
    """Nearly without training, every answer is the untouched model's own to that photo."""
    images, labels = photos(11, seed=5)
    model = small_cnn(2, CLASSES)
    spread = [*images[:6], *[255 - image for image in images[6:]]]
    assert answers_after(model, spread, labels, folds=3, batch=4, epochs=1, learning_rate=1e-12) == answers_of(
        model, spread
    )


def test_original_model_is_unchanged() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3))
    net(torch.zeros(2, 3, SIZE, SIZE))
    model = classifier(net, CLASSES, "normed")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images, labels = photos(9, seed=6)
    answers_after(model, images, labels, learning_rate=1e-2, epochs=2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert not model.training
    assert not model.net.training


def test_dropout_and_batch_statistics_stay_fixed() -> None:
    """A network in train mode would draw on the global random stream, and a batch of 1 would fail in batch norm."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    model = classifier(net, CLASSES, "dropped")
    images, labels = photos(4, seed=8)
    stream = torch.get_rng_state()
    answers_after(model, images, labels, batch=1, epochs=1)
    assert torch.equal(torch.get_rng_state(), stream)


def test_answers_depend_only_on_the_seed() -> None:
    images, labels = photos(24, seed=9)
    model = small_cnn(3, CLASSES)
    runs = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        runs.append(answers_after(model, images, labels, learning_rate=1e-2, epochs=3, seed=5))
    assert runs[0] == runs[1]
    other_seeds = [answers_after(model, images, labels, learning_rate=1e-2, epochs=3, seed=seed) for seed in range(4)]
    assert any(other != runs[0] for other in other_seeds)


def test_photos_of_mixed_sizes_and_gray_photos() -> None:
    images, labels = photos(6, seed=10)
    larger, more = photos(6, seed=11, size=2 * SIZE)
    gray = [image[:, :20, :1] for image in larger]
    answers = answers_after(matched(), [*images, *larger, *gray], [*labels, *more, *more], epochs=1)
    assert len(answers) == 18
    assert set(answers) <= set(range(CLASSES))


def train_by_hand(model: Classifier, training: list[Pixels], label: int, test_photo: Pixels) -> int:
    """Five Adam steps on all lessons at once, written out (Kingma and Ba, ICLR 2015)."""
    net, rate = copy.deepcopy(model.net), 5e-4
    weights = [parameter.requires_grad_() for parameter in net.parameters()]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    pixels = torch.cat([to_pixels(lesson) for lesson in training])
    for step in range(1, 6):
        loss = torch.nn.functional.cross_entropy(net(pixels), torch.full((len(training),), label))
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient, m, v in zip(weights, gradients, first, second, strict=True):
                m.lerp_(gradient, 0.1)
                v.lerp_(gradient.square(), 0.001)
                weight -= rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    return int(net(to_pixels(test_photo)).argmax())


@pytest.mark.slow
def test_each_copy_trains_only_on_other_photos_and_their_originals() -> None:
    """Two photos in two folds, against the same training written out; the originals make a difference."""
    model, learned = small_cnn(5, CLASSES), []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        a, b = rng.integers(0, 80, (2, SIZE, SIZE, 3), dtype=np.uint8)
        clean_a, clean_b = 255 - a, 255 - b
        labels = rng.integers(0, CLASSES, 2).tolist()
        plain = [train_by_hand(model, [b], labels[1], a), train_by_hand(model, [a], labels[0], b)]
        both = [train_by_hand(model, [b, clean_b], labels[1], a), train_by_hand(model, [a, clean_a], labels[0], b)]
        assert answers_after(model, [a, b], labels, epochs=5, learning_rate=5e-4) == plain
        assert answers_after(model, [a, b], labels, epochs=5, learning_rate=5e-4, also_clean=[clean_a, clean_b]) == both
        learned.append((answers_of(model, [a, b]), plain, both))
    assert any(untouched != plain for untouched, plain, _ in learned)
    assert any(plain != both for _, plain, both in learned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda call: call | {"labels": [0, 1, 3]}, "photo 3 of 3: cnn-0 has no class 3, only 0 to 2"),
        (lambda call: call | {"labels": [-1, 1, 2]}, "photo 1 of 3: cnn-0 has no class -1"),
        (lambda call: call | {"labels": [0, 1]}, "3 photos have 2 labels"),
        (lambda call: call | {"folds": 4}, "3 photos are too few for 4 folds"),
        (lambda call: call | {"images": [], "labels": []}, "0 photos are too few for 2 folds"),
        (lambda call: call | {"folds": 1}, "needs 2 folds or more"),
        (lambda call: call | {"epochs": 0}, "1 epoch and a batch of 1"),
        (lambda call: call | {"batch": 0}, "1 epoch and a batch of 1"),
        (lambda call: call | {"learning_rate": 0.0}, "above 0 and at most 1, not 0.0"),
        (lambda call: call | {"learning_rate": float("nan")}, "above 0 and at most 1, not nan"),
        (lambda call: call | {"learning_rate": 1e38}, "at most 1, not 1e[+]38"),
        (lambda call: call | {"also_clean": call["images"][1:]}, "3 protected photos have 2 originals"),
    ],
)
def test_invalid_arguments_are_refused(change: Callable[[dict[str, Any]], dict[str, Any]], message: str) -> None:
    images, labels = photos(3, seed=13)
    call = change({"images": images, "labels": labels})
    with pytest.raises(UserError, match=message):
        answers_after(small_cnn(0, CLASSES), **call)


def test_model_without_parameters_cannot_adapt() -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images, labels = photos(4, seed=14)
    with pytest.raises(UserError, match="no parameters to train"):
        answers_after(classifier(net, 3, "fixed"), images, labels)


class Logarithm(nn.Module):
    """Diverges where the first steps are larger than its weights."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, CLASSES), weight))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3)) @ self.weight.log()


def test_diverged_training_is_an_error() -> None:
    images, labels = photos(4, seed=15)
    with pytest.raises(Diverged, match=r"^log diverged in training$"):
        answers_after(classifier(Logarithm(0.5), CLASSES, "log"), images, labels, learning_rate=1.0)


def test_a_learning_rate_that_diverges_leaves_the_other_and_the_other_judges(caplog: pytest.LogCaptureFixture) -> None:
    """Adam's first step is the learning rate: 3e-4 is too large for weights of 2e-4, 3e-5 for those of 1e-5 too."""
    images, labels = photos(6, seed=16)
    pairs = [
        Pair(f"{index}.png", image, {"run": image}, label)
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    one = classifier(Logarithm(2e-4), CLASSES, "one")
    heldout = [classifier(Logarithm(1e-5), CLASSES, "both"), one, small_cnn(0, CLASSES, "none")]
    judges = [Judge("authorized", ClassifierBlackBox(matched()))]
    judges += [Judge("held-out", ClassifierBlackBox(model)) for model in heldout]
    results = evaluate_models(judges, pairs, progress=False)
    rows = adaptive.adapted_rows(results, find_students(judges, 6, 2), pairs, progress=False)
    assert [row.model for row in rows] == ["one (adapted)", "none (adapted)"]
    assert caplog.messages == [
        "both diverged in training at each learning rate that was tried, so that it has no row as fine-tuned"
    ]
    slow = adapt(one, images, labels, **ADAPTATION, learning_rate=3e-5, also_clean=images)
    assert rows[0].answers["run"]["png"] == tuple(slow.answers(images))


def test_judges_that_cannot_be_fine_tuned_are_refused_before_they_are_asked() -> None:
    def judges(*heldout: Classifier | CallableBlackBox) -> list[Judge]:
        boxes = [ClassifierBlackBox(one) if isinstance(one, Classifier) else one for one in heldout]
        return [Judge("authorized", ClassifierBlackBox(matched())), *(Judge("held-out", box) for box in boxes)]

    def never(_: Pixels) -> int:
        raise AssertionError("it was asked")

    served = CallableBlackBox(never, matched().card)
    fixed = classifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), CLASSES, "fixed")
    four = small_cnn(0, 4)
    for unfit in ([], [served], [fixed], [four]):
        with pytest.raises(UserError, match=r"^no judge can be fine-tuned: "):
            find_students(judges(*unfit), 6, 2)
    (student,) = find_students(judges(served, four, small_cnn(1, CLASSES)), 6, 2)
    assert student.index == 3
    with pytest.raises(UserError, match=r"^--adapt needs 2 photos or more: "):
        find_students(judges(small_cnn(1, CLASSES)), 1, 2)


def test_a_judge_without_a_class_of_a_label_is_no_student() -> None:
    student = Student(1, small_cnn(0, CLASSES), (0, None, 2))
    assert that_know([student], [2, 0]) == (student,)
    with pytest.raises(UserError, match=r"^no judge can be fine-tuned: "):
        that_know([student], [0, 1])


def test_answers_after_training_have_the_names_of_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that no model answered before may be the answer now; the training is replaced to be sure of it."""
    authorized, judge = (load_model(f"zoo:identity-{kind}") for kind in ("plain", "depthwise"))
    pairs = [Pair(f"{index}.png", (photo := render(index, 0, index, 64)), {"run": photo}, index) for index in range(3)]
    judges = [Judge("authorized", ClassifierBlackBox(authorized)), Judge("held-out", ClassifierBlackBox(judge))]
    results = evaluate_models(judges, pairs, progress=False)

    class Fourteen:
        def answers(self, images: Sequence[Pixels]) -> list[int]:
            return [14] * len(images)

    monkeypatch.setattr(adaptive, "_strongest", lambda *_: Fourteen())
    (row,) = adaptive.adapted_rows(results, find_students(judges, 3, 2), pairs, progress=False)
    assert row.name_of(14) == judge.card.name_of(14) != "14"
