"""SVRE: an ensemble gradient with reduced variance."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from batches import attack_batch, rows
from toys import generators, photos, small_cnn

from onlymymodel.protect.attack.losses import CrossEntropy
from onlymymodel.protect.attack.model_inputs import ModelInputs
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.attack.variance_reduced import VarianceReducedObjective
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.classifier import Classifier

ROWS = rows(0, 1, 2)


def test_one_surrogate_gives_a_plain_inner_walk() -> None:
    """With one surrogate the correction vanishes: the push is the sum of its gradients along momentum sign steps."""
    model, targets = small_cnn(seed=2), torch.tensor([0, 1, 2])
    originals, budget = to_float(photos(3)), Budget(8 / 255)
    recipe = Recipe(objective="variance_reduced", views=("center",), normalize=False, step_share=0.1)
    batch = attack_batch(originals, targets, budget=budget)
    objective = VarianceReducedObjective([model], [CrossEntropy(model, targets)], recipe, batch)
    accumulated, _ = objective.gradient(ModelInputs(originals, [model]), ROWS, generators(3))
    point, total = originals.clone(), torch.zeros_like(originals)
    for _ in range(4):
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), targets, reduction="sum"), leaf)
        total = total + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        point = (point + 0.8 / 255 * total.sign()).clamp(originals - 8 / 255, originals + 8 / 255)
    torch.testing.assert_close(accumulated, total)


def test_inner_steps_have_the_size_of_outer_ones() -> None:
    """Under a bound on SSIM a step is a fraction of what that bound leaves of epsilon, and the walk keeps the bound."""
    model, targets = small_cnn(seed=2), torch.tensor([0, 1, 2])
    originals, budget = to_float(photos(3)), Budget(16 / 255, ssim=0.98)
    recipe = Recipe(objective="variance_reduced", views=("center",), normalize=False, step_share=0.4)
    batch = attack_batch(originals, targets, budget=budget)
    objective = VarianceReducedObjective([model], [CrossEntropy(model, targets)], recipe, batch)
    accumulated, _ = objective.gradient(ModelInputs(originals, [model]), ROWS, generators(3))
    step_sizes = 0.4 * budget.step_size(originals).float()
    point, total = originals.clone(), torch.zeros_like(originals)
    for _ in range(4):
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), targets, reduction="sum"), leaf)
        total = total + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        point = originals + budget.project(point + step_sizes * total.sign() - originals, originals)
    torch.testing.assert_close(accumulated, total)


def test_several_surrogates_give_the_algorithm_of_the_paper() -> None:
    """With the ensemble's gradient at the mean logits, written down once more."""
    team, targets = [small_cnn(seed=2, name="a"), small_cnn(seed=3, name="b")], torch.tensor([0, 1, 2])
    originals, budget = to_float(photos(3)), Budget(8 / 255)
    recipe = Recipe(objective="variance_reduced", fusion="logits", views=("center",), normalize=False, step_share=0.1)
    batch = attack_batch(originals, targets, surrogates=2, budget=budget)
    objective = VarianceReducedObjective(team, [CrossEntropy(model, targets) for model in team], recipe, batch)
    accumulated, _ = objective.gradient(ModelInputs(originals, team), ROWS, generators(3))

    def gradient_of(models: Sequence[Classifier], pixels: torch.Tensor) -> torch.Tensor:
        leaf = pixels.clone().requires_grad_()
        logits = torch.stack([model(leaf) for model in models]).mean(0)
        return torch.autograd.grad(F.cross_entropy(logits, targets, reduction="sum"), leaf)[0]

    point, total = originals.clone(), torch.zeros_like(originals)
    order = torch.randint(2, (8,), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    for index in order:
        at_start = gradient_of([team[index]], originals) - gradient_of(team, originals)
        corrected = gradient_of([team[index]], point) - at_start
        total = total + corrected / corrected.abs().mean(dim=(1, 2, 3), keepdim=True)
        point = (point + 0.8 / 255 * total.sign()).clamp(originals - 8 / 255, originals + 8 / 255)
    assert set(order) == {0, 1}
    torch.testing.assert_close(accumulated, total)
