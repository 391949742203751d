"""Surrogates of several kinds in one team, each with the loss that fits it."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from batches import attack_batch, rows
from torch import Tensor, nn
from toys import PLAIN, classifier, generators, linear, photos, small_cnn

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.losses import CrossEntropy, SelfCosine
from onlymymodel.protect.attack.model_inputs import ModelInputs, normalize_gradient
from onlymymodel.protect.attack.objective import EnsembleObjective, make_objective
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.answers import margin
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.heads import ANOTHER, ORIGINAL, Look, SelfHead, answer_logits

PLAIN_STEPS = Recipe(views=("center",), steps=12, guard=False, kappa=0.0, step_share=0.25)


def embedder(net: nn.Module, name: str = "embedder", threshold: float = 0.5) -> Classifier:
    """A network that takes (B,3,16,16) pixels as they are, with its embedding compared with the original's."""
    with torch.no_grad():
        width = net(torch.zeros(1, 3, 16, 16)).shape[1]
    model = classifier(SelfHead(net), width, name, task="embedding")
    return Classifier(model.net, replace(model.card, threshold=threshold))


def cnn_embedder(seed: int) -> Classifier:
    return embedder(small_cnn(seed, classes=6).net, f"embedder-{seed}")


class Halves(nn.Module):
    """The mean of the left and of the right half."""

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.stack([pixels[..., :8].mean((1, 2, 3)), pixels[..., 8:].mean((1, 2, 3))], dim=1)


def test_a_linear_embedder_is_moved_to_its_optimum() -> None:
    """With an l-infinity ball the two means move independently: the optimum is the corner at the widest angle."""
    means, epsilon = torch.tensor([[0.5, 0.3], [0.4, 0.4]]), 16 / 255
    originals = means[:, None, None].repeat_interleave(8, dim=3).expand(2, 3, 16, 16).clone()
    model = embedder(Halves())
    batch = attack_batch(originals, torch.zeros(2, dtype=torch.long), budget=Budget(epsilon))
    proposal = optimize(batch, authorized=linear(0), surrogates=[model], recipe=PLAIN_STEPS)
    after = torch.stack([(originals + proposal.delta)[..., :8].mean((1, 2, 3)),
                         (originals + proposal.delta)[..., 8:].mean((1, 2, 3))], dim=1)  # fmt: skip
    cosines = F.cosine_similarity(after, means)
    corners = [torch.tensor([a, b]) for a in (-epsilon, epsilon) for b in (-epsilon, epsilon)]
    for row in range(2):
        best = min(float(F.cosine_similarity(means[row] + corner, means[row], dim=0)) for corner in corners)
        assert float(cosines[row]) == pytest.approx(best, abs=1e-4)


def test_the_loss_is_one_minus_the_cosine_to_the_original() -> None:
    model, originals = cnn_embedder(3), photos(3).float() / 255
    batch = attack_batch(originals, torch.zeros(3, dtype=torch.long))
    loss = SelfCosine.for_surrogate(model, batch.targets[0], batch, Recipe())
    crop = photos(3, seed=5).float() / 255
    embed = model.net.embedder
    cosines = F.cosine_similarity(embed(crop[[1, 0]]), embed(originals[[2, 1]])).detach()  # type: ignore[operator]
    values, confidence = loss(crop[[1, 0]], torch.tensor([2, 1]))
    assert values.tolist() == pytest.approx((1 - cosines).tolist(), abs=0.02)  # the reference is moved by a hundredth
    expected = torch.sigmoid(32 * (cosines - 0.5))
    assert confidence.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize("name", ["ensemble", "variance_reduced", "tap"])
def test_each_surrogate_has_the_loss_that_fits_it(name: str) -> None:
    recipe, batch = (
        replace(Recipe(), objective=name),
        attack_batch(photos(2).float() / 255, torch.zeros(2).long(), surrogates=2),
    )
    objective = make_objective(batch, authorized=linear(0), surrogates=[small_cnn(1), cnn_embedder(2)], recipe=recipe)
    assert isinstance(objective, EnsembleObjective)
    assert isinstance(objective.losses[0], CrossEntropy) != (name == "tap")
    assert isinstance(objective.losses[1], SelfCosine)


def test_a_mixed_team_is_the_mean_of_the_normalized_gradients() -> None:
    originals = photos(2).float() / 255
    recipe = Recipe(views=("center",))
    moved = originals + 0.02 * torch.randn(originals.shape, generator=torch.Generator().manual_seed(0))
    team = [small_cnn(1), cnn_embedder(2)]
    gradients = []
    for models in ([team[0]], [team[1]], team):
        batch = attack_batch(originals, torch.zeros(2).long(), surrogates=len(models))
        objective = make_objective(batch, authorized=linear(0), surrogates=models, recipe=recipe)
        gradients.append(objective.gradient(ModelInputs(moved, models), rows(0, 1), generators(2))[0])
    torch.testing.assert_close(gradients[2], (normalize_gradient(gradients[0]) + normalize_gradient(gradients[1])) / 2)


@pytest.mark.parametrize("recipe", ["default", "exact"])
def test_a_mixed_team_misleads_both_kinds(recipe: str) -> None:
    pixels, authorized = photos(3), linear(0)
    team = [linear(5, scale=0.3), embedder(linear(7, classes=6).net)]
    # to a random linear network a moved photo is another photo
    settings = replace(RECIPES[recipe], steps=10, views=("center",))
    labels = authorized(pixels).argmax(1)
    both = protect_batch(
        pixels, labels, authorized=authorized, surrogates=team, budget=Budget(), recipe=settings,
        generators=generators(3),
    )  # fmt: skip
    assert both.admissible.all()
    assert (margin(team[0](both.pixels), labels) < margin(team[0](pixels), labels) - 1).all()
    before = answer_logits(team[1], Look(pixels)).argmax(1)
    assert before.tolist() == [ORIGINAL] * 3
    logits = answer_logits(team[1], Look(both.pixels), Look(pixels))
    assert (logits[:, ORIGINAL] < 32 * 0.9).all()


def test_no_photo_depends_on_its_batch() -> None:
    pixels, authorized, team = photos(3), linear(0), [small_cnn(1), cnn_embedder(2)]
    options = {"authorized": authorized, "surrogates": team, "budget": Budget(), "recipe": Recipe(steps=4)}
    labels = authorized(pixels).argmax(1)
    together = protect_batch(pixels, labels, generators=generators(3), **options)  # type: ignore[arg-type]
    alone = protect_batch(pixels[1:2], labels[1:2], generators=generators(3)[1:2], **options)  # type: ignore[arg-type]
    assert torch.equal(together.pixels[1], alone.pixels[0])


def test_an_answer_is_given_beside_the_original() -> None:
    model = embedder(Halves(), threshold=0.9)
    original = torch.full((1, 3, 16, 16), 0.5)
    other = original.clone()
    other[..., :8] = 0
    logits = answer_logits(model, Look(other), Look(original))
    assert logits[0].tolist() == pytest.approx([32 / math.sqrt(2), 32 * 0.9], abs=1e-4)
    assert int(logits.argmax(1)) == ANOTHER
    assert int(answer_logits(model, Look(other)).argmax(1)) == ORIGINAL


def test_an_attack_from_outside_needs_classes() -> None:
    from onlymymodel.protect.attack.external_run import run_attack

    batch = attack_batch(photos(1).float() / 255, torch.zeros(1).long())
    with pytest.raises(UserError, match="an attack from outside needs classes, which embedder-1 has none of"):
        run_attack(None, batch, authorized=linear(0), surrogates=[cnn_embedder(1)], recipe=Recipe())  # type: ignore[arg-type]


def test_the_toy_takes_pixels_as_they_are() -> None:
    assert embedder(Halves()).card.preprocess == PLAIN
