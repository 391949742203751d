"""Absolute noise on gradients, and its epsilon beside the exact one of the Gaussian mechanism."""

import builtins
import math
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.gradients.decision import EPSILON, Cost, gradient_decision
from onlymymodel.evaluate.audits.gradients.defenses import parse_defense
from onlymymodel.evaluate.audits.gradients.privacy import epsilon
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow, Value


def exact(multiplier: float, delta: float) -> float:
    """Balle and Wang, ICML 2018, equation 6, solved for epsilon."""

    def excess(eps: float) -> float:
        first = norm.cdf(0.5 / multiplier - eps * multiplier)
        return float(first - math.exp(eps) * norm.cdf(-0.5 / multiplier - eps * multiplier)) - delta

    return float(brentq(excess, 0, 100))


@pytest.mark.slow
@pytest.mark.parametrize("multiplier", [0.8, 2.0, 8.0])
def test_the_accountant_is_an_upper_bound_near_the_exact_epsilon(multiplier: float) -> None:
    truth = exact(multiplier, 1e-5)
    assert truth <= epsilon(multiplier) <= 1.15 * truth
    four = exact(multiplier / 2, 1e-5)  # four releases with noise are one with half of it
    assert four <= epsilon(multiplier, releases=4) <= 1.15 * four


def test_noise_of_dp_does_not_depend_on_the_picture_and_needs_clipping() -> None:
    defense = parse_defense("clip:2+dp:3")
    assert (defense.name, defense.multiplier) == ("clip:2+dp:3", 3)
    sent = [
        defense.release((scale * torch.ones(4000),), torch.Generator().manual_seed(0))[0] for scale in (1.0, 1000.0)
    ]
    torch.testing.assert_close(sent[0], sent[1])  # both are clipped to the same gradient
    assert sent[0].std().item() == pytest.approx(6, rel=0.05)
    assert defense.noise_deviation(8.0, 4000) == pytest.approx(6 * 4)  # a quarter of the gradient is sent
    for text in ("dp:1", "noise:1+dp:1", "dp:1+clip:1"):
        with pytest.raises(UserError, match="needs a norm right before it"):
            parse_defense(text)


def decided(defense: str) -> Any:
    values: dict[str, Value] = {
        "signal": "yes",
        "ssim": 0.1,
        "psnr": 9.0,
        "ssim_mean_picture": 0.2,
        "psnr_mean_picture": 13.0,
    }
    rows = (AuditRow("a", values),)
    report = AuditReport("gradient", "DLG", rows, rows, ("known",), settings={"defense": defense, "batch": 1})
    return gradient_decision([report], Cost({}, "not measured")).lines[0].cells[EPSILON]


def test_the_table_has_an_epsilon_or_the_reason_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decided("noise:0.1").note.startswith("no differential privacy")
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("opacus"):
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'onlymymodel[dp]'" in decided("clip:1+dp:2").note
