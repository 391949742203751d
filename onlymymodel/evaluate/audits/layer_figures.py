"""Figures of a layer that need no attack: how its outputs vary, and how they move with the picture.

After "Intermediate Outputs Are More Sensitive Than You Think", which names degrees of freedom, the rank of the
Jacobian and a coefficient of variation as attack-free signs of what a layer gives away. The formula for the degrees of
freedom is the published one; which thresholds, norms and averages stand below is our reading.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.audit import Value
from onlymymodel.evaluate.audits.jacobian import MOST, Function, numerical_rank, spectrum, stable_rank
from onlymymodel.evaluate.audits.spectral_density import spectral_density

ROUNDING = 1e-12  # of the mean square; a variance below it is a rounding error


def degrees_of_freedom(outputs: Tensor) -> float | None:
    """(tr C)^2 / tr C^2 = (sum lambda)^2 / sum lambda^2 of the covariance C of (N,...) outputs over pictures.

    Between 1 and min(N - 1, features), where it equals the number of directions if all vary alike. From the Gram matrix
    of the centered outputs where that is smaller than C. None, no signal, where the outputs do not vary.
    """
    flat = outputs.flatten(1).double()
    centered = flat - flat.mean(0)
    if centered.square().sum() <= ROUNDING * flat.square().sum():
        return None
    gram = centered @ centered.T if len(centered) <= centered.shape[1] else centered.T @ centered
    return (gram.trace().square() / gram.square().sum()).item()


def variation(outputs: Tensor) -> float | None:
    """Coefficient of variation of (N,...) outputs over pictures: sqrt(tr C) / ||mean output||; None where that is 0.

    Our reading: the root of the variance summed over all features, by the Euclidean norm of the mean output. One
    quotient of sums, not a mean of quotients, so that features with a mean near 0 do not rule it.
    """
    flat = outputs.flatten(1).double()
    mean = flat.mean(0)
    spread, norm = (flat - mean).square().sum(1).mean().sqrt(), mean.norm()
    return (spread / norm).item() if norm > ROUNDING * spread else None


def sensitivity(
    function: Function, pictures: Sequence[Tensor], *, tau: float, most: int = MOST, generator: torch.Generator
) -> dict[str, Value]:
    """How a layer's outputs move with the picture: mean numerical rank and stable rank of its Jacobian.

    Args:
        function: one picture (C,S,S) -> outputs, in the type of the pictures; float64 for ranks at a small tau.
        pictures: at which the Jacobian is taken.
        tau: a singular value counts if it is above tau times the largest.
        most: rows up to which the Jacobian is computed whole; else by `spectral_density`.

    Returns:
        `jacobian_rank`, `stable_rank` and `jacobian`: `exact`, `estimated`, or `no signal` where it is 0.
    """
    ranks, stable, ways = [], [], set()
    for picture in pictures:
        with torch.no_grad():
            smaller = min(picture.numel(), function(picture).numel())
        if smaller <= most:
            singular = spectrum(function, picture, most=most)
            ranks.append(float(numerical_rank(singular, tau)))
            stable.append(stable_rank(singular))
        else:
            density = spectral_density(function, picture, generator=generator)
            ranks.append(density.rank(tau))
            stable.append(density.stable_rank())
        ways.add("exact" if smaller <= most else "estimated")
    if not any(stable):
        return {"jacobian_rank": None, "stable_rank": None, "jacobian": "no signal"}
    rank, stable_mean = sum(ranks) / len(ranks), sum(stable) / len(stable)
    return {"jacobian_rank": rank, "stable_rank": stable_mean, "jacobian": ", ".join(sorted(ways))}
