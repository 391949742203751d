"""Quick checks of models before a long run, for the most common mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.classifier import Classifier, ModelCard

PORTRAITS = ((1, 1, 1), (3, 2, 5))  # person, expression and seed, of faces that MTCNN finds
FEW_LOGITS = 12  # logits of attributes that may all lie in [0,1] by chance


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes:
        check: short name of the property that was checked.
        passed: whether the model has it.
        advice: what is wrong and what to do, in one sentence; empty if it passed.
    """

    check: str
    passed: bool
    advice: str = ""


def check_model(model: Classifier) -> list[CheckResult]:
    """Check a model on two random photos, a bright and a dark one; a detector on two rendered portraits.

    Checks: eval mode, a batch of two, finite logits, determinism, independence of the rest of the batch, logits rather
    than probabilities, different logits for different photos, and a gradient that reaches the pixels.
    """
    training = any(module.training for module in model.modules())
    eval_mode = _result("eval mode", not training, "some of its layers are in training mode; call eval()")
    pixels = _pictures(model.card).to(model.mean.device).requires_grad_()
    try:
        # with gradients both times: without them some attention layers use another kernel with other last digits
        logits, repeated, single = model(pixels), model(pixels).detach(), model(pixels[:1]).detach()
    except Exception as error:  # noqa: BLE001 - a network of the user's own code may raise anything
        return [eval_mode, CheckResult("batch of two", False, f"it fails on a batch of two: {first_line(error)}")]
    if logits.shape != (2, model.card.classes):
        return [eval_mode, CheckResult("batch of two", False, f"it gives {tuple(logits.shape)} for a batch of two")]
    finite = bool(torch.isfinite(logits).all())
    return [
        eval_mode,
        CheckResult("batch of two", True),
        _result("finite logits", finite, "its logits are NaN or infinite; check its weights and its precision"),
        _result(
            "deterministic", not finite or torch.equal(logits, repeated), "it gives different logits for the same photo"
        ),
        _result(
            "batch independent",
            not finite or _close(logits[:1], single),
            "its logits for a photo depend on the other photos of the batch",
        ),
        _result(
            "logits",
            not _probabilities(logits, model.card),
            "it gives probabilities, not logits; remove its softmax or sigmoid",
        ),
        _result(
            "input dependent",
            not finite or not torch.equal(logits[0], logits[1]),
            "it gives the same logits for two different photos",
        ),
        _result(
            "gradient", _has_gradient(logits, pixels), "its gradient does not reach the pixels; it can judge, not guide"
        ),
    ]


def check_models(authorized: Classifier, surrogates: Sequence[Classifier]) -> None:
    """Refuse a run that cannot work, before the first photo.

    Raises:
        UserError: the authorized model has no classes, a model fails a check of `check_model`, or a surrogate has the
            weights of the authorized model or of another surrogate.
    """
    require_classes(authorized.card)
    for role, model in (("authorized model", authorized), *(("surrogate", model) for model in surrogates)):
        failed = [result.advice for result in check_model(model) if not result.passed]
        if failed:
            raise UserError(f"{role} {model.card.uri} cannot be used: {'; '.join(failed)}")
    for surrogate in surrogates:
        if surrogate.card.same_weights(authorized.card):
            raise UserError(
                f"stand-in {surrogate.card.uri} is the authorized model itself (the same weights): "
                "it cannot be misled and kept right at once"
            )
    for first, second in combinations((model.card for model in surrogates), 2):
        if first.same_weights(second):
            raise UserError(f"stand-in {second.uri} is named twice: {first.uri} has the same weights")


def require_classes(card: ModelCard) -> None:
    """Refuse an embedder without people or words as the authorized model: it has no answer that could be kept.

    Raises:
        UserError: it is one.
    """
    if card.embeds:
        raise UserError(
            f"{card.uri} gives features, not the logits of a classifier, and cannot be the authorized model: add "
            "gallery=FOLDER, a folder with one folder of photos for each person, or labels=FILE if it is a tower of "
            "CLIP (clip:) or its outputs are classes"
        )


def _result(check: str, passed: bool, advice: str) -> CheckResult:
    return CheckResult(check, passed, "" if passed else advice)


def _pictures(card: ModelCard) -> Tensor:
    """Return (2,3,H,W) in [0,1] on which a model is checked; some detectors propose nothing in noise."""
    height, width = card.preprocess.height, card.preprocess.width
    if card.kind == "detector":
        side = max(height, width)
        portraits = (to_tensor(render(*numbers, side)) for numbers in PORTRAITS)
        return torch.stack([portrait[:, :height, :width] for portrait in portraits]).float() / 255
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    return pixels * torch.tensor([1.0, 0.4]).view(2, 1, 1, 1)


def _close(batched: Tensor, single: Tensor) -> bool:
    """Return whether logits are equal up to the arithmetic of another batch size (TF32 on GPUs: three digits)."""
    return bool((batched - single).abs().amax() <= 0.01 * batched.abs().amax())


def _probabilities(logits: Tensor, card: ModelCard) -> bool:
    """Return whether logits are probabilities: of classes, which sum to 1, or of several attributes."""
    rows = logits.detach()
    if not ((rows >= 0) & (rows <= 1)).all():
        return False
    if card.kind == "attributes":
        return rows.numel() >= FEW_LOGITS
    return torch.allclose(rows.sum(1), torch.ones_like(rows[:, 0]), atol=1e-3)


def _has_gradient(logits: Tensor, pixels: Tensor) -> bool:
    if not logits.requires_grad:
        return False
    spread = logits.logsumexp(1).sum() + logits.amax(1).sum()
    (gradient,) = torch.autograd.grad(spread, pixels, allow_unused=True)
    return gradient is not None and bool(
        torch.isfinite(gradient).all() and (gradient.flatten(1).abs().amax(1) > 0).all()
    )
