"""Models of attributes as stand-ins and as the authorized model."""

from dataclasses import replace

import pytest
import torch
from attribute_models import NAMES, attribute_cnn, attribute_model
from batches import attack_batch
from toys import generators, linear, photos, small_cnn

from onlymymodel.errors import UserError
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.attribute_loss import AttributeEntropy
from onlymymodel.protect.attack.external_run import run_attack
from onlymymodel.protect.attack.objective import make_objective
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.recipe import RECIPES, Recipe
from onlymymodel.protect.attack.targets import attack_classes, target_class_of_each
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.surrogates.answers import answer_loss, answers, kept_margins

PLAIN_STEPS = Recipe(views=("center",), steps=12, guard=False, kappa=0.0, step_share=0.25)


def test_a_stand_in_with_one_attribute_is_moved_to_its_optimum() -> None:
    """The loss grows with minus the signed logit, whose optimum in the ball is the corner against its weights."""
    model, epsilon = attribute_model(4, ("Smiling",)), 16 / 255
    originals = photos(3).float() / 255
    codes = answers(model.card, model(originals))
    batch = attack_batch(originals, codes, budget=Budget(epsilon))
    proposal = optimize(batch, authorized=linear(0), surrogates=[model], recipe=PLAIN_STEPS)
    weights = model.net.weights[0].detach()  # type: ignore[index]
    signs = (codes * 2 - 1).float()
    best = signs * model(originals)[:, 0] - epsilon * weights.abs().sum()
    torch.testing.assert_close(
        kept_margins(model.card, model(originals + proposal.delta), codes), best, atol=1e-3, rtol=1e-4
    )


def test_the_loss_is_that_of_the_answers_to_leave() -> None:
    model, crop = attribute_model(4), photos(3, seed=5).float() / 255
    codes = torch.tensor([0b101, 0b000, 0b110])
    batch = attack_batch(photos(3).float() / 255, codes)
    loss = AttributeEntropy.for_surrogate(model, batch.targets[0], batch, Recipe())
    rows = torch.tensor([2, 0])
    values, confidence = loss(crop[rows], rows)
    logits = model(crop[rows])
    torch.testing.assert_close(values, answer_loss(model.card, logits, codes[rows]))
    signs = torch.tensor([[-1.0, 1, 1], [1, -1, 1]])
    torch.testing.assert_close(confidence, (signs * logits).sigmoid().amax(1))


@pytest.mark.parametrize("name", ["ensemble", "variance_reduced", "tap"])
def test_attributes_take_their_own_loss_in_a_mixed_team(name: str) -> None:
    recipe = replace(Recipe(), objective=name)
    batch = attack_batch(photos(2).float() / 255, torch.zeros(2).long(), surrogates=2)
    team = [small_cnn(1), attribute_model(2)]
    objective = make_objective(batch, authorized=linear(0), surrogates=team, recipe=recipe)
    assert isinstance(objective.losses[1], AttributeEntropy)  # type: ignore[attr-defined]


def test_labels_take_the_place_of_the_answers_to_attributes_of_the_same_name() -> None:
    authorized = attribute_model(0, ("Young", "Bald"))
    surrogate = attribute_model(1, NAMES)  # Smiling, Male, Young
    labels, own = torch.tensor([0b01, 0b10, 0b00]), torch.tensor([0b010, 0b111, 0b100])
    away = attack_classes(labels, [own], authorized, [surrogate], Recipe(push="label"))
    assert away[0].tolist() == [0b110, 0b011, 0b000]
    away = attack_classes(labels, [own], authorized, [surrogate], Recipe(push="own"))
    assert away[0].tolist() == own.tolist()


@pytest.mark.parametrize("recipe", ["default", "exact"])
def test_the_authorized_attributes_are_kept_and_others_are_lost(recipe: str) -> None:
    pixels, authorized, stand_in = photos(3), attribute_model(1), attribute_model(2, ("Bald", "Hat", "Bangs"))
    labels, clean = answers(authorized.card, authorized(pixels)), answers(stand_in.card, stand_in(pixels))
    settings = replace(RECIPES[recipe], steps=12, views=("center",), kappa=0.5)
    result = protect_batch(
        pixels, labels, authorized=authorized, surrogates=[stand_in], budget=Budget(), recipe=settings,
        generators=generators(3),
    )  # fmt: skip
    assert result.admissible.all()
    after = authorized(result.pixels)
    assert torch.equal(answers(authorized.card, after), labels)
    assert (kept_margins(authorized.card, after, labels) >= 0.5).all()
    torch.testing.assert_close(result.margins, kept_margins(authorized.card, after, labels), atol=1e-4, rtol=1e-4)
    before, now = (answer_loss(stand_in.card, stand_in(photo), clean) for photo in (pixels, result.pixels))
    assert (now > before + 1).all()


def test_features_of_a_model_of_attributes_may_be_moved() -> None:
    """FMD on an authorized model of attributes: the cross-entropy is the sum of binary ones."""
    pixels, authorized = photos(2), attribute_cnn(3)
    labels = answers(authorized.card, authorized(pixels))
    result = protect_batch(
        pixels, labels, authorized=authorized, surrogates=[], budget=Budget(),
        recipe=replace(RECIPES["fmd"], steps=4, kappa=0.0), generators=generators(2),
    )  # fmt: skip
    assert torch.equal(answers(authorized.card, authorized(result.pixels)), labels)


def test_there_is_no_class_to_move_toward() -> None:
    with pytest.raises(UserError, match="toward 'Smiling': attributes-1 answers several questions"):
        target_class_of_each(attribute_model(1), [linear(0)], Recipe(toward="Smiling"))


def test_an_attack_from_outside_needs_classes() -> None:
    batch = attack_batch(photos(1).float() / 255, torch.zeros(1).long())
    with pytest.raises(UserError, match="an attack from outside needs classes, which attributes-1 has none of"):
        run_attack(None, batch, authorized=linear(0), surrogates=[attribute_model(1)], recipe=Recipe())  # type: ignore[arg-type]
