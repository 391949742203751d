"""Cheap checks of a model before a long run: most failures that people report are one of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Classifier


@dataclass(frozen=True)
class Finding:
    """One check. `advice` is a sentence that says what is wrong and what to do; empty when it passed."""

    check: str
    passed: bool
    advice: str = ""


def examine(model: Classifier) -> list[Finding]:
    """Run every check on two random photos, a bright and a dark one.

    Checks: eval mode, two photos at once, finite logits, the same answer twice, the same answer without the
    neighbor, logits rather than probabilities, two photos told apart, and a gradient that reaches the pixels.
    """
    calm = not any(module.training for module in model.modules())
    eval_mode = _finding("eval mode", calm, "parts of it are in training mode")
    preprocess = model.card.preprocess
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, preprocess.height, preprocess.width, generator=generator)
    pixels = (pixels * torch.tensor([1.0, 0.4]).view(2, 1, 1, 1)).to(model.mean.device).requires_grad_()
    try:
        # with gradients both times: without them some attention layers take another kernel, of other last digits
        logits, again, alone = model(pixels), model(pixels).detach(), model(pixels[:1]).detach()
    except (RuntimeError, ValueError, IndexError) as error:
        return [eval_mode, Finding("two photos", False, f"it fails on two photos at once: {_first_line(error)}")]
    if logits.shape != (2, model.card.classes):
        return [eval_mode, Finding("two photos", False, f"it gives {tuple(logits.shape)} for two photos")]
    finite = bool(torch.isfinite(logits).all())
    apart = not torch.equal(logits[0], logits[1])
    return [
        eval_mode,
        Finding("two photos", True),
        _finding("finite logits", finite, "it gives NaN or infinite logits; its weights or its precision are broken"),
        _finding("deterministic", not finite or torch.equal(logits, again), "it gives two answers to one photo"),
        _finding("alone", not finite or _close(logits[:1], alone), "its answer depends on the other photos at hand"),
        _finding(
            "logits", not _probabilities(logits), "it gives probabilities, not logits; take the softmax off its end"
        ),
        _finding("looks at the photo", not finite or apart, "it gives one answer to two different photos"),
        _finding(
            "gradient", _has_gradient(logits, pixels), "its gradient does not reach the pixels; it can judge, not guide"
        ),
    ]


def check_team(authorized: Classifier, surrogates: Sequence[Classifier]) -> None:
    """Refuse a run that cannot work, before the first photo.

    Raises:
        UserError: a model that fails a check of `examine`, a surrogate that is the authorized model or another one.
    """
    for role, model in (("authorized model", authorized), *(("surrogate", model) for model in surrogates)):
        failed = [finding.advice for finding in examine(model) if not finding.passed]
        if failed:
            raise UserError(f"{role} {model.card.uri} cannot be used: {'; '.join(failed)}")
    for surrogate in surrogates:
        if surrogate.card.same_weights(authorized.card):
            raise UserError(
                f"surrogate {surrogate.card.uri} is the authorized model itself (the same weights): "
                "it cannot be misled and kept right at once"
            )
    for first, second in combinations((model.card for model in surrogates), 2):
        if first.same_weights(second):
            raise UserError(f"surrogate {second.uri} is named twice: {first.uri} has the same weights")


def _finding(check: str, passed: bool, advice: str) -> Finding:
    return Finding(check, passed, "" if passed else advice)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _close(in_company: Tensor, alone: Tensor) -> bool:
    """Equal up to the arithmetic of another batch size (TF32 on GPUs: three digits)."""
    return bool((in_company - alone).abs().amax() <= 0.01 * in_company.abs().amax())


def _probabilities(logits: Tensor) -> bool:
    rows = logits.detach()
    return bool(
        ((rows >= 0) & (rows <= 1)).all() and torch.allclose(rows.sum(1), torch.ones_like(rows[:, 0]), atol=1e-3)
    )


def _has_gradient(logits: Tensor, pixels: Tensor) -> bool:
    if not logits.requires_grad:
        return False
    spread = logits.logsumexp(1).sum() + logits.amax(1).sum()
    (gradient,) = torch.autograd.grad(spread, pixels, allow_unused=True)
    return gradient is not None and bool(
        torch.isfinite(gradient).all() and (gradient.flatten(1).abs().amax(1) > 0).all()
    )
