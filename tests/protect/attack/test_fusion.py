"""Surrogates that are combined by the mean of their logits."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from batches import attack_batch, rows
from toys import generators, photos, small_cnn

from onlymymodel.protect.attack.batch import SurrogateTargets
from onlymymodel.protect.attack.losses import CrossEntropy
from onlymymodel.protect.attack.model_inputs import ModelInputs
from onlymymodel.protect.attack.objective import EnsembleObjective
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.surrogates.classifier import Classifier

ROWS, TARGETS = rows(0, 1, 2), torch.tensor([0, 1, 2])
FUSED = Recipe(views=("center",), normalize=False, fusion="logits")


def cropped(model: Classifier, name: str) -> Classifier:
    """Return the model with a canvas of its own: it reads the center of a larger one."""
    card = replace(model.card, uri=name, preprocess=replace(model.card.preprocess, crop_pct=0.8))
    return Classifier(model.net, card)


def ensemble_gradient(team: Sequence[Classifier], recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what an ensemble climbs on three photos, and the confidence."""
    originals = to_float(photos(3))
    losses = [CrossEntropy(model, TARGETS) for model in team]
    batch = attack_batch(originals, TARGETS, surrogates=len(team))
    return EnsembleObjective(team, losses, recipe, batch).gradient(ModelInputs(originals, team), ROWS, generators(3))


@pytest.mark.parametrize("other_canvas", [False, True], ids=["one-canvas", "two-canvases"])
def test_the_loss_is_that_of_the_mean_logits(other_canvas: bool) -> None:
    second = small_cnn(seed=3, name="b")
    team = [small_cnn(seed=2, name="a"), cropped(second, "c") if other_canvas else second]
    found, confidence = ensemble_gradient(team, FUSED)
    leaf = to_float(photos(3)).requires_grad_()
    logits = (team[0](leaf) + team[1](leaf)) / 2
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, TARGETS, reduction="sum"), leaf)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(confidence, logits.softmax(1).detach()[range(3), TARGETS])


def test_other_classes_are_not_fused() -> None:
    team = [small_cnn(seed=2, name="a"), small_cnn(seed=4, classes=6)]
    fused, separate = ensemble_gradient(team, FUSED), ensemble_gradient(team, replace(FUSED, fusion="losses"))
    assert torch.equal(fused[0], separate[0])
    assert torch.equal(fused[1], separate[1])


def test_each_surrogate_has_its_own_target_and_photos_where_a_face_is_not_attacked() -> None:
    """The first photo is attacked on the first surrogate alone, the others have two targets; no photo needs another."""
    team, other = [small_cnn(seed=2, name="a"), small_cnn(seed=3, name="b")], torch.tensor([3, 1, 0])
    originals = to_float(photos(3))
    signs = [torch.ones(3), torch.tensor([0.0, 1.0, 1.0])]
    targets = [SurrogateTargets(TARGETS, signs[0]), SurrogateTargets(other, signs[1])]
    losses = [CrossEntropy(model, *given) for model, given in zip(team, targets, strict=True)]
    batch = attack_batch(originals, TARGETS, surrogates=2)
    batch = replace(batch, targets=targets)
    objective = EnsembleObjective(team, losses, FUSED, batch)
    found, _ = objective.gradient(ModelInputs(originals, team), ROWS, generators(3))
    for row in range(3):
        leaf = originals[row : row + 1].clone().requires_grad_()
        of_photo = [model(leaf) for model, of_model in zip(team, signs, strict=True) if of_model[row]]
        logits = torch.stack(of_photo).mean(0)
        given = [
            target[row : row + 1] for target, of_model in zip((TARGETS, other), signs, strict=True) if of_model[row]
        ]
        loss = torch.stack([F.cross_entropy(logits, target) for target in given]).sum()
        torch.testing.assert_close(found[row : row + 1], torch.autograd.grad(loss, leaf)[0] / 2)
        part, _ = objective.gradient(
            ModelInputs(originals[row : row + 1], team), rows(row), generators(3)[row : row + 1]
        )
        torch.testing.assert_close(found[row : row + 1], part)


def test_a_fused_pair_counts_twice_beside_a_third_model() -> None:
    pair, third = [small_cnn(seed=2, name="a"), small_cnn(seed=3, name="b")], small_cnn(seed=4, classes=6)
    found, _ = ensemble_gradient([pair[0], third, pair[1]], FUSED)
    of_pair, _ = ensemble_gradient(pair, FUSED)
    of_third, _ = ensemble_gradient([third], FUSED)
    torch.testing.assert_close(found, (2 * of_pair + of_third) / 3)


def test_published_methods_fuse_logits_and_ours_average_losses() -> None:
    fused = {name for name, recipe in RECIPES.items() if recipe.fusion == "logits"}
    assert fused == {"ens", "di", "si", "admix", "bsr", "decowa", "ops", "mef", "svre"}
