"""Margins through deployments are those of the real codecs; repair and verdict keep them."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toys import Smooth, SmoothAndFragile, classifier, generators, linear, small_cnn

from onlymymodel.data.pixels import to_array, to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack import deployed_margins
from onlymymodel.protect.attack.attack import protect_batch
from onlymymodel.protect.attack.deployed_margins import DeployedMargins, readable
from onlymymodel.protect.attack.differentiable_channels import STEPS, differentiable_step
from onlymymodel.protect.attack.quantize import quantize_and_repair
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.context import Context
from onlymymodel.protect.photo import protect_bytes
from onlymymodel.surrogates.answers import margin
from onlymymodel.surrogates.deployments import DEPLOYMENTS, KEPT_BY_DEFAULT, get_deployments
from onlymymodel.surrogates.readings import DeployedClassifier

AVAILABLE = [deployment.name for deployment in get_deployments([])]


def portrait(size: int = 64) -> torch.Tensor:
    return to_tensor(render(identity=4, emotion=1, seed=9, size=size))


def test_margins_are_those_that_the_evaluation_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """`omm evaluate --deployments` asks a model photo by photo; here all deployments are one batch, or several."""
    monkeypatch.setattr(deployed_margins, "BATCH", 5)
    model, pixels = small_cnn(seed=3), portrait()
    margins = DeployedMargins(model, AVAILABLE).measure(pixels, label=2)
    assert list(margins) == AVAILABLE
    for name, value in margins.items():
        deployment = DEPLOYMENTS[name]
        scores = DeployedClassifier(model, deployment.reading).predict([deployment.apply(to_array(pixels))])
        expected = float(margin(torch.from_numpy(scores), torch.tensor([2])))
        assert value == pytest.approx(expected, abs=1e-4), name


def test_a_selection_is_measured_alone() -> None:
    model, pixels = small_cnn(seed=3), portrait()
    deployed = DeployedMargins(model, KEPT_BY_DEFAULT)
    everything = deployed.measure(pixels, 2)
    assert deployed.measure(pixels, 2, ["mirror", "jpeg-75"]) == pytest.approx(
        {name: everything[name] for name in ("mirror", "jpeg-75")}, abs=1e-5
    )
    assert deployed.measure(pixels, 2, []) == {}
    assert DeployedMargins(model, ()).measure(pixels, 2) == {}


def test_a_codec_that_cannot_hold_the_photo_is_left_out() -> None:
    pixels = torch.zeros(3, 1, 20_000, dtype=torch.uint8)
    assert list(DeployedMargins(small_cnn(seed=3), ["mirror", "webp-80"]).measure(pixels, 2)) == ["mirror"]


def test_the_gradient_of_a_linear_model_is_its_weights_as_each_deployment_sees_them() -> None:
    """Of two mirrored readings and one plain one, all at the network's own size."""
    model, pixels = linear(seed=4, scale=0.1), to_tensor(render(identity=4, emotion=1, seed=9, size=16))
    weights = model.net.get_parameter("weights")
    difference = (weights[1] - weights[0]).view(3, 16, 16)
    deployed = DeployedMargins(model, ["mirror", "noise-2"])
    total = torch.ones(1, 3, 16, 16)
    deployed.add_gradient(pixels, 1, ["mirror", "noise-2"], total)
    torch.testing.assert_close(total[0], 1 + difference.flip(2) + difference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in AVAILABLE if DEPLOYMENTS[name].step])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_differentiable_step_is_near_the_real_one(name: str, channels: int) -> None:
    image = np.ascontiguousarray(np.asarray(Image.fromarray(render(3, 1, 3, 128)).resize((120, 96)))[..., :channels])
    deployment, photo = DEPLOYMENTS[name], to_float(to_tensor(image))[None].requires_grad_()
    real = to_float(to_tensor(deployment.apply(image)))
    processed = differentiable_step(deployment.step, deployment.options)(photo)[0]
    assert processed.shape[1:] == real.shape[1:]
    # WebP and AVIF are other codecs than the JPEG that stands in for them
    limit = 8 if deployment.options.get("codec", "JPEG") != "JPEG" else 3
    assert (processed - real).abs().mean() < limit / 255
    (gradient,) = torch.autograd.grad(processed.sum(), photo)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_every_step_has_a_differentiable_version() -> None:
    assert set(STEPS) == {deployment.step for deployment in DEPLOYMENTS.values()}


FLAT = torch.full((3, 16, 16), 120, dtype=torch.uint8)
FLAT[..., :8] = 124
CHECKERBOARD = (torch.arange(16)[:, None] + torch.arange(16)[None]) % 2 * 2.0 - 1


def test_repair_raises_the_margins_that_only_a_deployment_lacks() -> None:
    """The change darkens the left and makes up for it by a checkerboard, which a blur removes."""
    model, label = classifier(SmoothAndFragile(), 2, "fragile"), 0
    delta = 3 / 255 * CHECKERBOARD.expand(3, -1, -1).clone()
    delta[..., :8] -= 5 / 255
    recipe, budget = make_recipe("default", kappa=0.5, repair_steps=20), Budget(8 / 255)
    given: dict[str, Any] = {"authorized": model, "budget": budget, "recipe": recipe}
    alone = quantize_and_repair(FLAT, delta, label, **given)
    assert alone.admissible
    repaired = quantize_and_repair(FLAT, delta, label, deployments=["blur-1"], **given)
    assert repaired.admissible
    blurred = DeployedMargins(model, ["blur-1"])
    assert blurred.measure(alone.pixels, label)["blur-1"] < 0
    assert blurred.measure(repaired.pixels, label)["blur-1"] >= 0.05
    assert repaired.margin >= 0.5
    assert budget.admits(repaired.pixels[None], FLAT[None]).all()


def test_a_photo_that_a_promised_deployment_would_lose_is_written_only_where_it_is_kept() -> None:
    authorized, surrogate = classifier(SmoothAndFragile(), 2, "fragile"), classifier(Smooth(), 2, "smooth")
    buffer = io.BytesIO()
    Image.fromarray(to_array(FLAT)).save(buffer, "PNG")

    def protect(**changes: Any) -> tuple[bytes | None, Any]:
        recipe = make_recipe("exact", **{"steps": 40, "views": ("center",), "kappa": 0.5, **changes})
        context = Context(authorized, (surrogate,), Budget(8 / 255), recipe)
        return protect_bytes(buffer.getvalue(), label=0, context=context)

    data, record = protect()
    assert record.status == "protected"
    assert "deployments" not in record.to_json()
    assert data is not None
    written = to_tensor(np.asarray(Image.open(io.BytesIO(data))))
    assert DeployedMargins(authorized, ["blur-1"]).measure(written, 0)["blur-1"] < 0

    # kept through the blur, the photo is so to the surrogate too
    data, record = protect(keep_through=("blur-1",))
    assert (data, record.status) == (None, "unchanged")
    margins = record.to_json()["deployments"]["blur-1"]
    assert margins["before"] > 0
    assert margins["after"] > 0


def test_every_admissible_photo_of_a_batch_is_kept_where_it_was_readable() -> None:
    authorized, surrogate = small_cnn(seed=3), small_cnn(seed=8)
    pixels = torch.stack([to_tensor(render(identity=number, emotion=1, seed=number, size=64)) for number in range(4)])
    labels = authorized(to_float(pixels)).argmax(1)
    recipe = make_recipe("default", steps=8, kappa=0.01, views=("center",))
    protected = protect_batch(
        pixels, labels, authorized=authorized, surrogates=[surrogate], budget=Budget(8 / 255), recipe=recipe,
        generators=generators(4),
    )  # fmt: skip
    assert protected.admissible.any()
    deployed = DeployedMargins(authorized, KEPT_BY_DEFAULT)
    for row in protected.admissible.nonzero()[:, 0].tolist():
        names = readable(deployed.measure(pixels[row], int(labels[row])))
        after = deployed.measure(protected.pixels[row], int(labels[row]), names)
        assert min(after.values()) >= 0.001 - 1e-5
