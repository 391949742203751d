"""Attack-free measures of a layer: how its outputs vary over pictures, and how they change with the picture.

After "Intermediate Outputs Are More Sensitive Than You Think", which names degrees of freedom, the rank of the Jacobian
and a coefficient of variation as attack-free signs of what a layer reveals. We found no published formula of any of the
three: the participation ratio, the coefficient of variation, thresholds, norms and averages below are our reading.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.jacobian import MAX_EXACT, Function, numerical_rank, singular_values, stable_rank
from onlymymodel.evaluate.audits.report import Value
from onlymymodel.evaluate.audits.spectral_density import spectral_density

ATTACK_FREE = ("degrees_of_freedom", "jacobian_rank", "stable_rank", "variation")
ROUNDING = 1e-12  # of the mean square; a smaller variance is a rounding error


def attack_free_measures(
    outputs: Tensor,
    function: Function,
    pictures: Tensor,
    *,
    tau: float,
    max_exact: int = MAX_EXACT,
    seed: int = 0,
) -> dict[str, Value]:
    """Return the number of features of a layer and its measures `ATTACK_FREE`.

    Args:
        outputs: (N,...) outputs of the layer.
        function: the layer as a function of one picture in float64.
        pictures: (M,C,S,S) pictures at which the Jacobian is taken.
        tau: see `jacobian_measures`.
        max_exact: see `jacobian_measures`.
        seed: seed of the probes.
    """
    values: dict[str, Value] = {
        "features": outputs[0].numel(),
        "degrees_of_freedom": degrees_of_freedom(outputs),
        "variation": variation(outputs),
    }
    points, generator = list(pictures.double().to(outputs.device)), torch.Generator().manual_seed(seed)
    return values | jacobian_measures(function, points, tau=tau, max_exact=max_exact, generator=generator)


def degrees_of_freedom(outputs: Tensor) -> float | None:
    """Return (tr C)^2 / tr C^2 = (sum lambda)^2 / sum lambda^2 of the covariance C of (N,...) outputs over pictures.

    The participation ratio: the number of directions if all vary equally. Numerator and denominator are each estimated
    without bias for Gaussian outputs from the sample covariance S with divisor N - 1 (moments of the Wishart
    distribution): tr C^2 by (N-1)^2 / ((N+1)(N-2)) (tr S^2 - (tr S)^2 / (N-1)), and (tr C)^2 by (tr S)^2 minus
    2 / (N-1) of it. The plug-in ratio of S is below N whatever C is. S enters by the Gram matrix of the centered
    outputs if that is smaller.

    None, no signal, with fewer than three pictures, if the outputs do not vary, or if so few pictures show no two that
    vary alike, so that the estimate of tr C^2 is not positive.
    """
    flat = outputs.flatten(1).double()
    count, centered = len(flat), flat - flat.mean(0)
    if count < 3 or centered.square().sum() <= ROUNDING * flat.square().sum():
        return None
    gram = centered @ centered.T if count <= centered.shape[1] else centered.T @ centered
    trace, squared = (gram.trace() / (count - 1)).item(), (gram.square().sum() / (count - 1) ** 2).item()
    of_square = (count - 1) ** 2 / ((count + 1) * (count - 2)) * (squared - trace**2 / (count - 1))
    if of_square <= ROUNDING * squared:
        return None
    return (trace**2 - 2 * of_square / (count - 1)) / of_square


def variation(outputs: Tensor) -> float | None:
    """Return the coefficient of variation of (N,...) outputs over pictures, sqrt(tr C) / ||mean output||.

    Our reading: the square root of the variance summed over all features, over the Euclidean norm of the mean output.
    It is one ratio of sums, not a mean of ratios, so that features with a mean near 0 do not dominate. None if the mean
    output is 0.
    """
    flat = outputs.flatten(1).double()
    mean = flat.mean(0)
    spread, norm = (flat - mean).square().sum(1).mean().sqrt(), mean.norm()
    return (spread / norm).item() if norm > ROUNDING * spread else None


def jacobian_measures(
    function: Function,
    pictures: Sequence[Tensor],
    *,
    tau: float,
    max_exact: int = MAX_EXACT,
    generator: torch.Generator,
) -> dict[str, Value]:
    """Return how a layer's outputs change with the picture: mean numerical rank and stable rank of its Jacobian.

    Args:
        function: one picture (C,S,S) -> outputs, in the type of the pictures; float64 for ranks at a small tau.
        pictures: pictures at which the Jacobian is taken.
        tau: a singular value counts if it is above tau times the largest.
        max_exact: largest min(inputs, outputs) for which the Jacobian is computed as a whole; larger ones are estimated
            by `spectral_density`.

    Returns:
        `jacobian_rank`, `stable_rank`, `jacobian_square`, the mean squared Frobenius norm, and `jacobian`: `exact`,
        `estimated`, or `no signal` if it is 0.
    """
    ranks, stable_ranks, squares, methods = [], [], [], set()
    for picture in pictures:
        with torch.no_grad():
            smaller = min(picture.numel(), function(picture).numel())
        if smaller <= max_exact:
            singular = singular_values(function, picture, max_exact=max_exact)
            ranks.append(float(numerical_rank(singular, tau)))
            stable_ranks.append(stable_rank(singular))
            squares.append(singular.square().sum().item())
        else:
            density = spectral_density(function, picture, generator=generator)
            ranks.append(density.rank(tau))
            stable_ranks.append(density.stable_rank())
            squares.append(density.frobenius_norm() ** 2)
        methods.add("exact" if smaller <= max_exact else "estimated")
    if not any(stable_ranks):
        return {"jacobian_rank": None, "stable_rank": None, "jacobian_square": None, "jacobian": "no signal"}
    rank, mean_stable_rank, square = (sum(column) / len(column) for column in (ranks, stable_ranks, squares))
    return {
        "jacobian_rank": rank,
        "stable_rank": mean_stable_rank,
        "jacobian_square": square,
        "jacobian": ", ".join(sorted(methods)),
    }
