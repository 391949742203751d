"""Attacks from outside the package: what they are given, and that budget, mask, randomness and verdict stay ours."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from batches import attack_batch
from outside_attacks import Fgsm, Noise, NoiseOfABatch, Returns, raising
from torch import Tensor
from toys import generators, linear, photos, small_cnn

from onlymymodel import Attack, Budget, Classifier, LoadedAttack, UserError, make_recipe, protect_batch
from onlymymodel.protect.attack.attack import ProtectedBatch
from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.external import AttackInputs
from onlymymodel.protect.attack.external_run import AttackError, run_attack
from onlymymodel.protect.attack.optimizer import Proposal
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.attack.uint8 import to_float

EPSILON = 8 / 255
MINE = linear(seed=1, classes=3, scale=0.1)
THEIRS = linear(seed=2, classes=3, scale=0.1)


def run(attack: Attack, batch: AttackBatch, *surrogates: Classifier) -> Proposal:
    return run_attack(
        LoadedAttack.of(attack), batch, authorized=MINE, surrogates=surrogates or (THEIRS,), recipe=Recipe()
    )


def batch_of(count: int = 3, **settings: Any) -> AttackBatch:
    originals = to_float(photos(count))
    return attack_batch(originals, THEIRS(originals).argmax(1), budget=Budget(EPSILON), **settings)


def protect(attack: Attack, pixels: Tensor, *, mask: Tensor | None = None, budget: Budget | None = None) -> Any:
    loaded = LoadedAttack.of(attack)
    protected: ProtectedBatch = protect_batch(
        pixels,
        MINE(pixels).argmax(1),
        authorized=MINE,
        surrogates=[THEIRS],
        budget=budget or Budget(EPSILON),
        recipe=make_recipe("exact", attack=loaded.name, kappa=0.5),
        generators=generators(len(pixels)),
        mask=mask,
        attack=loaded,
    )
    return protected


def test_fgsm_on_a_linear_model_moves_every_pixel_by_epsilon_along_its_weights() -> None:
    """The optimum in closed form: of two classes the loss falls along the difference of their weights."""
    surrogate = linear(seed=4, classes=2, scale=0.1)
    originals = to_float(photos(3))
    classes = surrogate(originals).argmax(1)
    proposal = run(Fgsm(), attack_batch(originals, classes, budget=Budget(EPSILON)), surrogate)
    weights = surrogate.net.get_parameter("weights")
    direction = (weights[1 - classes] - weights[classes]).sign().view(originals.shape)
    torch.testing.assert_close(proposal.delta, EPSILON * direction)
    assert proposal.notes == ("", "", "")


def test_the_loss_is_the_mean_cross_entropy_of_the_surrogates_that_take_part() -> None:
    two = (small_cnn(seed=1), small_cnn(seed=2))
    originals = to_float(photos(2))
    away, toward, not_attacked = torch.tensor([1, 2]), torch.tensor([3, 0]), torch.tensor([1.0, 0.0])
    targets = (SurrogateTargets(away, torch.ones(2)), SurrogateTargets(toward, -not_attacked))
    inputs = AttackInputs(
        photos=originals,
        labels=torch.tensor([0, 1]),
        authorized=MINE,
        surrogates=two,
        targets=targets,
        budgets=(Budget(),) * 2,
        generators=tuple(generators(2)),
        mask=None,
        landmarks=None,
        recipe=Recipe(),
    )
    first, second = (model(originals).log_softmax(1) for model in two)
    expected = torch.stack([(-first[0, 1] + second[0, 3]) / 2, -first[1, 2]])
    torch.testing.assert_close(inputs.losses(originals), expected)
    log_odds = torch.stack([_log_odds(first, away), -_log_odds(second, toward)])
    logits = inputs.model(originals)
    torch.testing.assert_close(logits[:, 0], torch.stack([log_odds[:, 0].mean(), log_odds[0, 1]]))
    assert torch.equal(logits[:, 1], torch.zeros(2))
    assert torch.equal(inputs.classes, torch.zeros(2, dtype=torch.long))
    expected_margins = MINE(originals)[[0, 1], [0, 1]] - _largest_other(MINE(originals), torch.tensor([0, 1]))
    torch.testing.assert_close(inputs.authorized_margins(originals), expected_margins)


def _log_odds(log_probabilities: Tensor, classes: Tensor) -> Tensor:
    chosen = log_probabilities.gather(1, classes[:, None])[:, 0]
    return chosen - torch.log1p(-chosen.exp())


def _largest_other(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.scatter(1, classes[:, None], -torch.inf).amax(1)


def test_one_surrogate_is_handed_over_as_it_is() -> None:
    seen = []

    class Look(Fgsm):
        def propose(self, batch: AttackInputs) -> Tensor:
            seen.append((batch.model, batch.classes.tolist()))
            return super().propose(batch)

    batch = batch_of()
    run(Look(), batch)
    assert [model for model, _ in seen] == [THEIRS] * 3
    assert [classes for _, classes in seen] == [[int(label)] for label in batch.labels]


@pytest.mark.parametrize("attack", [Noise(), NoiseOfABatch()])
def test_a_photo_gets_the_same_change_in_any_batch_and_whatever_was_drawn_before(attack: Attack) -> None:
    whole = run(attack, batch_of(4)).delta
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    states = torch.get_rng_state(), np.random.random(), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    originals = to_float(photos(4))
    for row in (2, 0):
        alone = attack_batch(
            originals[row : row + 1],
            torch.tensor([0]),
            budget=Budget(EPSILON),
            streams=[torch.Generator().manual_seed(row)],
        )
        assert torch.equal(run(attack, alone).delta[0], whole[row])
    # and the streams of the caller go on as if nothing had been drawn
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.random(), random.random()) == states[1:]
    assert not torch.equal(whole[0], whole[1])


def test_the_budget_and_the_mask_hold_whatever_is_proposed() -> None:
    pixels = photos(2)
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., 8:] = 1
    protected = protect(Returns(lambda photos: 1000 * (photos - 0.5).sign().double()), pixels, mask=mask)
    change = protected.pixels.int() - pixels.int()
    assert change.abs().amax() == 8
    assert (change[..., :8] == 0).all()
    bounded = protect(Returns(torch.ones_like), pixels, budget=Budget(16 / 255, psnr=40))
    assert Budget(16 / 255, psnr=40).admits(bounded.pixels, pixels).all()


def test_an_oversized_change_is_noted() -> None:
    proposal = run(Returns(lambda photos: torch.full_like(photos, 20 / 255)), batch_of(2))
    assert proposal.notes[0].endswith("proposed a change of up to 20.0/255; it was projected into the budget")


def test_where_the_authorized_model_loses_the_photo_a_smaller_change_is_taken() -> None:
    """Toward another class of the authorized model, so that no repair suffices at full size."""
    pixels = photos(6)
    label, others = MINE(pixels).topk(2).indices.T
    weights = MINE.net.get_parameter("weights")
    direction = {
        tuple(p.flatten().tolist()): d for p, d in zip(to_float(pixels), weights[others] - weights[label], strict=True)
    }
    attack = Returns(lambda photos: direction[tuple(photos[0].flatten().tolist())].sign().view(photos.shape))
    protected = protect(attack, pixels)
    change = (protected.pixels.int() - pixels.int()).abs().flatten(1).float().mean(1)
    assert protected.admissible.any()
    assert (MINE(protected.pixels).argmax(1) == label)[protected.admissible].all()
    assert (change[protected.admissible] < 8 * 0.8).all()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda _: None, "NoneType where a tensor is needed"),
        (lambda photos: photos.numpy(), "ndarray where a tensor is needed"),
        (lambda photos: photos[0], r"of shape \(3, 16, 16\) for photos of shape \(1, 3, 16, 16\)"),
        (lambda photos: photos * float("nan"), "values that are not finite"),
        (lambda photos: photos / 0, "values that are not finite"),
        (lambda photos: photos * 1j, "complex numbers"),
    ],
)
def test_what_is_no_change_of_the_photos_is_an_error_that_names_the_attack(returned: Any, message: str) -> None:
    with pytest.raises(AttackError, match=f"the attack python:outside_attacks:Returns returned .*{message}"):
        run(Returns(returned), batch_of(1))


def test_an_attack_that_raises_is_an_error_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    loaded, batch = LoadedAttack.of(raising()), batch_of(1)
    for _ in range(2):
        with pytest.raises(AttackError, match="raised ValueError: no idea what to do with 1 photo"):
            run_attack(loaded, batch, authorized=MINE, surrogates=[THEIRS], recipe=Recipe())
    assert len(caplog.records) == 1  # with its traceback, once


def test_an_attack_cannot_change_the_photos_of_the_run() -> None:
    batch = batch_of(2)
    before = batch.originals.clone()
    run(Returns(lambda photos: photos.zero_()), batch)
    assert torch.equal(batch.originals, before)


def test_settings_of_the_optimizer_are_refused_beside_an_attack() -> None:
    with pytest.raises(UserError, match=r"takes the place of the optimizer.*leave out steps, momentum \("):
        make_recipe("default", attack="python:a:b", steps=3, momentum=0.5)
    with pytest.raises(UserError, match="takes the place of the objective feature"):
        make_recipe("fmd", attack="python:a:b")
    named = make_recipe("exact", attack="python:a:b", steps=60, kappa=3.0, seed=1)
    assert Recipe.from_json(named.to_json()) == named
    assert "attack" not in Recipe().to_json()  # hashes of earlier runs stay the same


def test_the_attack_has_to_be_the_one_that_the_recipe_names() -> None:
    for recipe, attack in ((make_recipe("exact", attack="python:a:b"), None), (Recipe(), LoadedAttack.of(Fgsm()))):
        with pytest.raises(UserError, match=r"the recipe names the attack .*, but .* is loaded"):
            protect_batch(
                photos(1),
                torch.tensor([0]),
                authorized=MINE,
                surrogates=[THEIRS],
                budget=Budget(),
                recipe=recipe,
                generators=generators(1),
                attack=attack,
            )
