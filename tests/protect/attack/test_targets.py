"""Surrogates move toward a target class, to the known optimum, and the record names it."""

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from records import answers_of, surrogates_of
from torch import Tensor, nn
from toys import classifier, generators, linear, mine, photos, small_cnn, theirs

from onlymymodel.cli.main import main
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.losses import CrossEntropy, Tap
from onlymymodel.protect.attack.recipe import RECIPES, Recipe, make_recipe
from onlymymodel.protect.attack.targets import NOTE, apply_target_class, target_class
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.attack.warping import WarpedObjective
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.photo import Context, PhotoSource, protect_photos
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model

PLAIN = Recipe(steps=10, views=("center",), guard=False, keep_through=(), kappa=0.0, repair_steps=0)


def named(model: Classifier, *labels: str, task: str = "people") -> Classifier:
    return Classifier(model.net, replace(model.card, labels=labels, task=task, classes=len(labels)))


def pushed(pixels: Tensor, labels: Sequence[int], surrogate: Classifier, recipe: Recipe, **changes: Any) -> Tensor:
    settings: dict[str, Any] = {"authorized": linear(seed=6, classes=surrogate.card.classes), "budget": Budget(8 / 255)}
    computed = protect_batch(
        pixels,
        torch.tensor(labels),
        surrogates=[surrogate],
        recipe=recipe,
        generators=generators(len(pixels)),
        **{**settings, **changes},
    )
    return computed.pixels


def weights_of(model: Classifier) -> Tensor:
    return model.net.get_parameter("weights")


def test_two_linear_classes_reach_the_known_optimum_and_move_away_if_it_is_the_label() -> None:
    """-CE(t) grows along w_t - w_o everywhere: epsilon times its sign. A photo of t itself goes the other way."""
    surrogate, pixels = linear(seed=5, scale=0.01), photos(4)
    after = pushed(pixels, [0, 1, 0, 1], surrogate, replace(PLAIN, toward="1"))
    to_one = (weights_of(surrogate)[1] - weights_of(surrogate)[0]).sign().view(3, 16, 16).int()
    ways = torch.tensor([1, -1, 1, -1]).view(4, 1, 1, 1)
    assert torch.equal(after.int(), pixels.int() + 8 * ways * to_one)


@pytest.mark.parametrize("target", [0, 1, 2, 3])
def test_one_step_among_several_classes_goes_along_the_gradient_of_the_target(target: int) -> None:
    """The gradient of -CE(t) is w_t - sum_j p_j w_j; pushing away from the label would go another way."""
    surrogate, pixels = linear(seed=7, classes=4, scale=0.01), photos(2)
    label = (target + 1) % 4
    after = pushed(pixels, [label] * 2, surrogate, replace(PLAIN, steps=1, step_share=1.0, toward=str(target)))
    weights, chances = weights_of(surrogate), surrogate(to_float(pixels)).softmax(1)
    expected = (weights[target] - chances @ weights).sign().view(2, 3, 16, 16)
    assert torch.equal(after.int(), pixels.int() + 8 * expected.int())
    away = (chances @ weights - weights[label]).sign().view(2, 3, 16, 16)
    assert not torch.equal(expected, away)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_surrogate_reaches_the_target_class_with_every_recipe_that_uses_classes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if make_recipe(name).objective in ("feature", "surrogate_features"):
        with pytest.raises(UserError, match="leave it out, or use one of ensemble"):
            make_recipe(name, toward="1")
        return
    # a model whose weights are noise sees nothing of the photo in a warp
    monkeypatch.setattr(WarpedObjective, "LARGEST_MOVE", 0.0)
    recipe = make_recipe(
        name, toward="3", views=("center",), copies=1, guard=False, keep_through=(), jpeg_quality=0, resize_share=0.0
    )
    pixels = photos(3)
    # tap needs a feature map: here the photo itself
    surrogate = classifier(nn.Sequential(nn.AvgPool2d(1), linear(seed=8, classes=4, scale=0.02).net), 4, "mapped")
    after = pushed(pixels, [0, 1, 2], surrogate, recipe, budget=Budget(16 / 255))
    assert surrogate(to_float(after)).argmax(1).tolist() == [3, 3, 3]


def test_each_loss_turns_its_answers_and_nothing_else() -> None:
    model, originals, targets = small_cnn(seed=0), to_float(photos(3)), torch.tensor([0, 1, 2])
    rows, signs = torch.arange(3), torch.tensor([1.0, -1.0, -1.0])
    moved = originals + 0.02 * torch.randn(originals.shape, generator=torch.Generator().manual_seed(0))
    entropy = F.cross_entropy(model(moved), targets, reduction="none")
    computed = CrossEntropy(model, targets, signs)(moved, rows)
    torch.testing.assert_close(computed.loss, signs * entropy)
    at_target = torch.exp(-entropy)
    torch.testing.assert_close(computed.confidence, torch.stack([at_target[0], 1 - at_target[1], 1 - at_target[2]]))
    turned, plain = Tap(model, originals, targets, signs), Tap(model, originals, targets)
    difference = turned(moved, rows).loss - plain(moved, rows).loss
    torch.testing.assert_close(difference, (signs - 1) * entropy, atol=1e-4, rtol=1e-4)


def test_every_surrogate_is_moved_toward_its_own_class_or_away_as_before() -> None:
    authorized = named(linear(1, 3), "ann", "bob", "stranger")
    other_order = named(linear(2, 3), "stranger", "Bob ", "ann")
    knows_nobody = named(linear(3, 2), "eve", "stranger")
    another_task = named(linear(4, 2), "bob", "cat", task="pets")
    away = [torch.tensor([1, 2]), torch.tensor([1, 0]), torch.tensor([0, 0])]
    targets = apply_target_class(
        away,
        torch.tensor([1, 0]),
        authorized=authorized,
        surrogates=[other_order, knows_nobody, another_task],
        recipe=Recipe(toward="ann"),
    )
    # the second photo is ann's own: there the surrogate is pushed from its word for her
    assert [column.tolist() for column, _ in targets] == [[2, 2], [1, 0], [0, 0]]
    assert [column.tolist() for _, column in targets] == [[-1, 1], [1, 1], [1, 1]]


def png(pixels: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def team() -> tuple[Classifier, Classifier, Classifier]:
    """An authorized model, a surrogate that has its classes in another order, and one that shares none."""
    return (
        named(linear(11, 3, scale=0.02), "ann", "bob", "cem"),
        named(linear(12, 3, scale=0.02), "cem", "ann", "bob"),
        named(linear(13, 3, scale=0.02), "tea", "pie", "jam", task="food"),
    )


def test_the_record_says_toward_what_and_how_many_say_it_now() -> None:
    authorized, knows, foreign = team()
    context = Context(authorized, (knows, foreign), Budget(16 / 255), replace(PLAIN, toward="cem", guard=True))
    source, other = (PhotoSource(png(picture), label=label) for picture, label in zip(photos(2), (0, 2), strict=True))
    (_, led), (_, own) = protect_photos([source, other], context)
    assert led.status == "protected", led.reason
    first, second = surrogates_of(led)
    assert (first.pushed_from, first.pushed_toward, first.answer_after) == (1, 0, 0)  # its cem is 0
    assert (second.pushed_from, second.pushed_toward) == (second.answer_before, None)
    assert led.reason.endswith(", 1 of the 1 that know cem say so")
    assert NOTE not in led.notes
    assert [row.pushed_toward for row in surrogates_of(own)] == [None, None]  # its label is cem
    assert NOTE in own.notes
    assert "say so" not in own.reason


def test_led_photos_do_not_depend_on_their_batch() -> None:
    authorized, knows, foreign = team()
    context = Context(authorized, (knows, foreign), Budget(16 / 255), make_recipe("default", steps=4, toward="2"))
    sources = [PhotoSource(png(picture), label=label) for picture, label in zip(photos(3), (0, 2, 1), strict=True)]
    together = protect_photos(sources, context)
    assert [data for data, _ in together] == [protect_photos([source], context)[0][0] for source in sources]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bbo", "has no such class; did you mean 'bob'"),
        ("3", "has no such class"),
        ("-1", "has no such class"),
        ("²", "has no such class"),
        ("jam", "has no such class"),
    ],
)
def test_an_unknown_class_is_refused_before_the_first_photo(name: str, words: str) -> None:
    authorized, knows, _ = team()
    with pytest.raises(UserError, match=words):
        protect_photos([], Context(authorized, (knows,), Budget(), Recipe(toward=name)))


def test_what_a_name_means() -> None:
    card = team()[0].card
    assert [target_class(name, card) for name in ("bob", " bob", "1")] == [1, 1, 1]
    with pytest.raises(UserError, match="more than one class"):
        target_class("crane", replace(card, labels=("crane", "crane", "owl")))
    with pytest.raises(UserError, match="more than one class"):
        target_class("1", replace(card, labels=("1", "2", "3")))
    with pytest.raises(UserError, match="give an index from 0 to 2"):
        target_class("bob", replace(card, labels=()))


def test_a_target_class_that_no_surrogate_has_is_refused_before_the_first_photo() -> None:
    authorized, _, foreign = team()
    with pytest.raises(UserError, match="no stand-in has the class 'bob'"):
        protect_photos([], Context(authorized, (foreign,), Budget(), Recipe(toward="bob")))
    with pytest.raises(UserError, match="no stand-in has the class"):
        pushed(photos(1), [0], linear(3, classes=3), replace(PLAIN, toward="1"), authorized=linear(4, classes=2))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    pixels = photos(1)
    (source / "one.png").write_bytes(png(pixels[0]))
    label = int(mine()(to_float(pixels)).argmax())
    target = (label + 1) % 3
    words = ["protect", str(source), "--authorized", "python:toys:mine", "--surrogate", "python:toys:theirs"]
    words += ["--allow-python", "--quiet", "--device", "cpu", "--steps", "4", "--views", "center", "--kappa", "0"]
    words += ["--epsilon", "16", "--out", str(out)]
    assert main([*words, "--toward", "7"]) == 2
    assert "toward '7'" in capsys.readouterr().err
    assert not (out / "run.json").exists()
    assert main([*words, "--toward", str(target)]) == 1  # the surrogate misreads the photo when clean
    (record,) = PhotoManifest(out).load()
    assert surrogates_of(record)[0].pushed_toward == target
    written = np.asarray(Image.open(out / "one.png"))
    logits = theirs()(torch.from_numpy(written.copy()).permute(2, 0, 1)[None].float() / 255)
    assert int(logits.argmax()) == target == surrogates_of(record)[0].answer_after
    assert main(["verify", str(out), "--allow-python", "--quiet"]) == 0


def test_a_real_face_network_takes_one_person_for_another(
    assets: Path, real_records: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """People of LFW by name: the surrogate calls a photo of the first person by the name of the third."""
    people = sorted(path for path in (assets / "faces" / "lfw_identity").iterdir() if path.is_dir())[:3]
    for person in people:
        (tmp_path / person.name).mkdir()
        for photo in sorted(person.glob("*.jpg"))[:2]:
            shutil.copy(photo, tmp_path / person.name)
    authorized, surrogate = (
        load_model(f"onnx:{assets / real_records[name]['file']}?fit=align&gallery={tmp_path}&threshold=0.3")
        for name in ("edgeface_xs", "mobilefacenet_casia")
    )
    recipe = make_recipe("face", steps=20, toward=people[2].name)
    context = Context(authorized, (surrogate,), Budget(16 / 255), recipe)
    probe = sorted(people[0].glob("*.jpg"))[4]
    ((_, record),) = protect_photos([PhotoSource(probe.read_bytes(), label=0)], context)
    assert record.status == "protected", record.reason
    (row,) = surrogates_of(record)
    assert (row.answer_before, row.pushed_from, row.pushed_toward, row.answer_after) == (0, 0, 2, 2)
    assert answers_of(record).answer_after == 0
