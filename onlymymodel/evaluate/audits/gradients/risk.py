"""Attack-free predictors of how much a picture's gradient reveals: from J = d(grad_theta loss)/dx at the picture.

Published ideas in our reading (the papers' full texts were not available):
- "reconstruction vulnerability" ||grad_x grad_theta loss||_F, estimated by random projections: the paper's. The more
  the gradient changes with the picture, the more it reveals.
- s_max of J: its spectral norm, of which the above is an upper bound; ours as a second reading.
- s_min of the Jacobian of g/||g||, which is (I - g g^T/||g||^2) J / ||g||: the sensitivity of the cosine distance in
  the direction to which it is least sensitive; our reading.
- noise bound: with Gaussian noise of deviation sigma on each entry of g, the linear least-squares estimate of x has
  E||dx||^2 = sigma^2 sum_k 1/s_k^2. The formula is standard; sigma as in `Noise`, at a share of 1 %, is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onlymymodel.evaluate.audits.gradients.client_gradient import client_copy, flatten_gradient, loss_gradient
from onlymymodel.evaluate.audits.jacobian import Linearized, frobenius_norm, largest_singular_values
from onlymymodel.evaluate.audits.options import Mode
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.progress import track

MAX_EXACT = 1024  # largest number of entries of a picture for which all singular values are computed
PROBES = 64
NOISE = 0.01  # share of the gradient's norm at which the noise bound is stated


@dataclass(frozen=True)
class GradientRisk:
    """Predictors for one picture alone in its batch. All but `noise_bound` are said to grow with the risk.

    Attributes:
        frobenius: ||J||_F by random projections.
        largest: s_max of J.
        cosine_smallest: s_min of the Jacobian of g/||g||; None if a picture has more than `MAX_EXACT` entries.
        noise_bound: E||dx||^2 over the number of entries: the mean squared error, linearized, at noise of `NOISE`;
            None likewise. Singular values below float64's resolution count as that resolution, so the bound may be
            huge, but not infinite.
    """

    frobenius: float
    largest: float
    cosine_smallest: float | None
    noise_bound: float | None

    def values(self) -> dict[str, float | None]:
        """Return the predictors by the names that reports show."""
        return {
            "jacobian_norm": self.frobenius,
            "s_max": self.largest,
            "s_min_cosine": self.cosine_smallest,
            "noise_bound": self.noise_bound,
        }


PREDICTORS = tuple(GradientRisk(0, 0, 0, 0).values())


def gradient_risk(
    network: nn.Module, pixels: Tensor, label: int, *, mode: Mode = "eval", max_exact: int = MAX_EXACT, seed: int = 0
) -> GradientRisk | None:
    """Return the predictors for a picture (C,H,W) in [0,1], in float64; None if its gradient is zero or not finite.

    Args:
        max_exact: largest number of entries for which all singular values are computed.
        seed: seed of the random projections.

    Raises:
        UserError: SciPy is not installed, and the picture has more than `max_exact` entries.
    """
    network = client_copy(network, mode, torch.float64)
    device = next(network.parameters()).device
    x, labels = pixels.to(device, torch.float64), torch.tensor([label], device=device)

    def gradient_of(picture: Tensor) -> Tensor:
        return flatten_gradient(loss_gradient(network, picture[None], labels, differentiable=True))

    gradient = gradient_of(x).detach()
    if not gradient.norm().isfinite() or not gradient.any():
        return None
    generator = torch.Generator().manual_seed(seed)
    norm = frobenius_norm(gradient_of, x, probes=PROBES, generator=generator)
    if min(x.numel(), gradient.numel()) > max_exact:
        largest = largest_singular_values(gradient_of, x, generator=generator)[0].item()
        return GradientRisk(norm, largest, None, None)
    jacobian = _jacobian(gradient_of, x)
    singular, deviation = torch.linalg.svdvals(jacobian), NOISE * gradient.norm().item() / gradient.numel() ** 0.5
    bound = noise_bound(singular, deviation, x.numel())
    return GradientRisk(norm, singular[0].item(), cosine_smallest(jacobian, gradient), bound)


def cosine_smallest(jacobian: Tensor, gradient: Tensor) -> float:
    """Return s_min, over all directions of a picture, of (I - g g^T/||g||^2) J / ||g|| for J (outputs, inputs)."""
    if jacobian.shape[0] < jacobian.shape[1]:
        return 0.0
    unit = gradient / gradient.norm()
    projected = (jacobian - unit[:, None] * (unit @ jacobian)) / gradient.norm()
    smallest: float = torch.linalg.svdvals(projected)[-1].item()
    return smallest


def noise_bound(singular: Tensor, deviation: float, entries: int) -> float:
    """Return deviation^2 * sum 1/s_k^2 / entries, over all `entries` directions of a picture.

    Directions without a singular value (fewer outputs than entries), or with one below float64's resolution, count with
    that resolution.
    """
    top = max(singular.max().item(), torch.finfo(torch.float64).tiny ** 0.5)
    resolution = top * entries * torch.finfo(torch.float64).eps
    values = torch.cat([singular, singular.new_zeros(entries - len(singular))]).clamp(min=resolution)
    return (deviation / values).square().mean().item()


def gradient_risks(
    network: nn.Module,
    pictures: Pictures,
    *,
    mode: Mode = "eval",
    seed: int = 0,
    progress: bool = True,
) -> dict[str, GradientRisk | None]:
    """Return the predictors for each picture alone, by its name; see `gradient_risk`."""
    rows = list(zip(pictures.names, pictures.pixels, pictures.labels.tolist(), strict=True))
    task = track(rows, "predictors", unit="picture", progress=progress)
    return {name: gradient_risk(network, pixels, label, mode=mode, seed=seed) for name, pixels, label in task}


def _jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the whole Jacobian (outputs, inputs)."""
    linear = Linearized(function, x)
    matrix = linear.matrix()
    return matrix if linear.outputs < linear.inputs else matrix.T
