"""Attack-free predictors of how much a picture's gradient reveals: from J = d(grad_theta loss)/dx at the picture.

- ||J||_F, estimated by random projections: the "reconstruction vulnerability" of arXiv 2411.03053, in our reading.
- s_max of J: its spectral norm, of which the above is an upper bound; ours as a second reading.
- s_min of the Jacobian of g/||g||, which is (I - g g^T/||g||^2) J / ||g||: the sensitivity of the cosine distance in
  the direction to which it is least sensitive; our reading.
- noise bound: if a picture's entries vary with variance t2 around a known mean, and the gradient is sent with Gaussian
  noise of variance s2 on each entry, the best estimate of the linearized problem has the mean squared error
  mean_k s2 t2 / (t2 s_k^2 + s2) over the picture's directions k: linear Gaussian estimation, a standard formula. It is
  never above t2, that of guessing the mean.

Whether a predictor grows with the danger is a matter of measurement, not of its name: reports state the sign of its
rank correlation with the reconstructions, its p-value and n.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.gradients.client_gradient import client_copy, flatten_gradient, loss_gradient
from onlymymodel.evaluate.audits.gradients.defenses import Chain
from onlymymodel.evaluate.audits.jacobian import (
    Linearized,
    frobenius_norm,
    largest_singular_values,
    smallest_singular_values,
)
from onlymymodel.evaluate.audits.options import Mode
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.spectral_density import spectral_density
from onlymymodel.progress import track

MAX_EXACT = 1024  # largest number of entries of a picture for which all singular values are computed
PROBES = 64


@dataclass(frozen=True)
class GradientRisk:
    """Predictors for one picture alone in its batch.

    Attributes:
        frobenius: ||J||_F by random projections.
        largest: s_max of J.
        cosine_smallest: s_min of the Jacobian of g/||g||; an upper bound of it above `MAX_EXACT` entries.
        spectrum: points and weights, which sum to 1, of the distribution of J's singular values over the directions of
            a picture; an estimate above `MAX_EXACT` entries.
        norm: ||g||.
        parameters: number of entries of g.
        variance: variance of a picture's entries around the known mean, in squared pixel values.
    """

    frobenius: float
    largest: float
    cosine_smallest: float
    spectrum: tuple[Tensor, Tensor]
    norm: float
    parameters: int
    variance: float

    def values(self, defense: Chain) -> dict[str, float | None]:
        """Return the predictors by the names that reports show, the bound for the noise of this defense."""
        deviation = defense.noise_deviation(self.norm, self.parameters)
        singular, weights = self.spectrum
        bound = noise_bound(singular, deviation, self.variance, weights) if deviation else None
        return {
            "jacobian_norm": self.frobenius,
            "s_max": self.largest,
            "s_min_cosine": self.cosine_smallest,
            "noise_bound": bound,
        }


PREDICTORS = ("jacobian_norm", "s_max", "s_min_cosine", "noise_bound")


def gradient_risk(
    network: nn.Module,
    pixels: Tensor,
    label: int,
    *,
    variance: float,
    mode: Mode = "eval",
    max_exact: int = MAX_EXACT,
    seed: int = 0,
) -> GradientRisk | None:
    """Return the predictors for a picture (C,H,W) in [0,1], in float64; None if its gradient is zero or not finite.

    Args:
        variance: see `GradientRisk`.
        max_exact: largest number of entries for which all singular values are computed.
        seed: seed of the random projections and starting vectors.

    Raises:
        UserError: SciPy is not installed, and the picture has more than `max_exact` entries.
    """
    network = client_copy(network, mode, torch.float64)
    device = next(network.parameters()).device
    x, labels = pixels.to(device, torch.float64), torch.tensor([label], device=device)

    def gradient_of(picture: Tensor) -> Tensor:
        return flatten_gradient(loss_gradient(network, picture[None], labels, differentiable=True))

    def direction_of(picture: Tensor) -> Tensor:
        gradient = gradient_of(picture)
        unit: Tensor = gradient / gradient.norm()
        return unit

    gradient = gradient_of(x).detach()
    if not gradient.norm().isfinite() or not gradient.any():
        return None
    generator = torch.Generator().manual_seed(seed)
    norm = frobenius_norm(gradient_of, x, probes=PROBES, generator=generator)
    entries, parameters = x.numel(), gradient.numel()
    if min(entries, parameters) > max_exact:
        largest = largest_singular_values(gradient_of, x, generator=generator)[0].item()
        density = spectral_density(gradient_of, x, generator=generator)
        smallest = 0.0
        if parameters >= entries:
            smallest = smallest_singular_values(direction_of, x, generator=generator)[0].item()
        weights = density.weights.flatten() / len(density.weights)
        spectrum = _over_directions(density.singular.flatten(), weights, density.count / entries)
    else:
        jacobian = _jacobian(gradient_of, x)
        singular = torch.linalg.svdvals(jacobian).cpu()
        largest, smallest = singular[0].item(), cosine_smallest(jacobian, gradient)
        spectrum = _over_directions(singular, torch.full_like(singular, 1 / len(singular)), len(singular) / entries)
    return GradientRisk(norm, largest, smallest, spectrum, gradient.norm().item(), parameters, variance)


def _over_directions(singular: Tensor, weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the spectrum over all directions of a picture: those beyond a share have a singular value of 0."""
    return torch.cat([singular, singular.new_zeros(1)]), torch.cat([weights * share, weights.new_tensor([1 - share])])


def cosine_smallest(jacobian: Tensor, gradient: Tensor) -> float:
    """Return s_min, over all directions of a picture, of (I - g g^T/||g||^2) J / ||g|| for J (outputs, inputs)."""
    if jacobian.shape[0] < jacobian.shape[1]:
        return 0.0
    unit = gradient / gradient.norm()
    projected = (jacobian - unit[:, None] * (unit @ jacobian)) / gradient.norm()
    smallest: float = torch.linalg.svdvals(projected)[-1].item()
    return smallest


def noise_bound(singular: Tensor, deviation: float, variance: float, weights: Tensor) -> float:
    """Return the weighted mean of s2 t2 / (t2 s_k^2 + s2), the mean squared error of the best linear estimate.

    Args:
        singular: (K,) singular values of the Jacobian; 0 for directions that the gradient does not react to.
        deviation: standard deviation of the noise on each entry of the gradient, above 0.
        variance: variance t2 of a picture's entries.
        weights: (K,) share of the directions that each value stands for.
    """
    noise = deviation**2
    return (weights * noise * variance / (variance * singular.square() + noise)).sum().item()


def gradient_risks(
    network: nn.Module,
    pictures: Pictures,
    *,
    mode: Mode = "eval",
    seed: int = 0,
    progress: bool = True,
) -> dict[str, GradientRisk | None]:
    """Return the predictors for each picture alone, by its name; see `gradient_risk`.

    The variance of a picture's entries is that of the pictures around their mean.
    """
    variance = pictures.pixels.double().var(0).mean().item()
    rows = list(zip(pictures.names, pictures.pixels, pictures.labels.tolist(), strict=True))
    task = track(rows, "predictors", unit="picture", progress=progress)
    return {
        name: gradient_risk(network, pixels, label, variance=variance, mode=mode, seed=seed)
        for name, pixels, label in task
    }


def _jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the whole Jacobian (outputs, inputs)."""
    linear = Linearized(function, x)
    matrix = linear.matrix()
    return matrix if linear.outputs < linear.inputs else matrix.T
