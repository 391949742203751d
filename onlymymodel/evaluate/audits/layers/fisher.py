"""Bounds on any reconstruction from noisy outputs by the Fisher information, and the noise that a bound needs.

Outputs f(x) with Gaussian noise of standard deviation s have the Fisher information J^T J / s^2 about the picture x, J
the Jacobian of f. Its trace over the d numbers of the picture is dFIL (Maeng et al., "Bounding the Invertibility of
Privacy-Preserving Instance Encoding Using Fisher Information", NeurIPS 2023). By Cramer and Rao every unbiased estimate
of the picture has a mean squared error of at least 1 / dFIL a pixel (so of data in models Hannun, Guo and van der
Maaten, UAI 2021); by van Trees every estimate has at least 1 / (E dFIL + 1 / v) if the adversary's prior of every pixel
is Gaussian with variance v, the case of Maeng et al. that has a closed form. An adversary who knows more of pictures
than their mean and variance is not bound by the second.
"""

import math


def fisher_leakage(squared_norm: float, noise: float, inputs: int) -> float:
    """Return dFIL = ||J||_F^2 / (d s^2).

    Args:
        squared_norm: squared Frobenius norm of the Jacobian, ||J||_F^2.
        noise: standard deviation s of the noise on every output, above 0.
        inputs: number of numbers d of a picture.
    """
    return squared_norm / (inputs * noise**2)


def least_error(leakage: float, variance: float = math.inf) -> float:
    """Return the least mean squared error a pixel: 1 / (dFIL + 1 / variance).

    Args:
        leakage: dFIL, or its mean over pictures.
        variance: variance of a pixel in the adversary's prior; infinite for unbiased estimates, which use none.

    Raises:
        ValueError: no information and no prior, for which there is no least error.
    """
    information = leakage + 1 / variance
    if not information > 0:
        raise ValueError("without information and without a prior the error has no bound")
    return 1 / information


def noise_for_error(squared_norm: float, inputs: int, error: float, variance: float = math.inf) -> float:
    """Return the standard deviation of the noise at which `least_error` is `error`.

    Args:
        squared_norm: see `fisher_leakage`; its mean over pictures.
        inputs: number of numbers of a picture.
        error: wanted mean squared error a pixel, above 0 and below the variance.
        variance: see `least_error`.

    Raises:
        ValueError: an error that the prior alone exceeds or reaches.
    """
    leakage = 1 / error - 1 / variance
    if not leakage > 0:
        raise ValueError(f"an error of {error:g} is not below the prior's variance of {variance:g}")
    return math.sqrt(squared_norm / (inputs * leakage))
