"""How much a picture's gradient may give away, said without an attack: from J = d(grad_theta loss)/dx at the picture.

Published ideas, read by us (the papers' full texts were not at hand):
- "reconstruction vulnerability" ||grad_x grad_theta loss||_F, estimated by random projections: the paper's. The more
  the gradient moves with the picture, the more it tells.
- s_max of J: its spectral norm, of which the above is the upper bound; ours as a second reading.
- s_min of the Jacobian of g/||g||, which is (I - g g^T/||g||^2) J / ||g||: what a distance by cosine sees of the
  direction in which it sees least; our reading.
- noise bound: with Gaussian noise of deviation sigma on each entry of g, the linear least-squares estimate of x has
  E||dx||^2 = sigma^2 sum_k 1/s_k^2. The formula is standard; sigma as in `Noise`, at a share of 1 %, is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from onlymymodel.evaluate.audits.client_gradient import Mode, client, flat, loss_gradient
from onlymymodel.evaluate.audits.jacobian import Linearized, frobenius, largest
from onlymymodel.evaluate.audits.pictures import Pictures

MOST = 1024  # entries of a picture up to which all singular values are computed
PROBES = 64
NOISE = 0.01  # share of the gradient's norm at which the noise bound is stated


@dataclass(frozen=True)
class GradientRisk:
    """Predictors for one picture alone in its batch. All but `noise_bound` are said to grow with the danger.

    Attributes:
        frobenius: ||J||_F by random projections.
        largest: s_max of J.
        cosine_smallest: s_min of the Jacobian of g/||g||; None where a picture has more than `MOST` entries.
        noise_bound: E||dx||^2 over the number of entries: the mean squared error, linearised, at noise of `NOISE`;
            singular values below float64's resolution count as that, so it may be huge, not infinite; None likewise.
    """

    frobenius: float
    largest: float
    cosine_smallest: float | None
    noise_bound: float | None

    def values(self) -> dict[str, float | None]:
        """By the names that reports show."""
        return {
            "jacobian_norm": self.frobenius,
            "s_max": self.largest,
            "s_min_cosine": self.cosine_smallest,
            "noise_bound": self.noise_bound,
        }


PREDICTORS = tuple(GradientRisk(0, 0, 0, 0).values())


def gradient_risk(
    network: nn.Module, pixels: Tensor, label: int, *, mode: Mode = "eval", most: int = MOST, seed: int = 0
) -> GradientRisk | None:
    """The predictors for a picture (C,H,W) in [0,1], in float64; None where its gradient is zero or not finite.

    Raises:
        UserError: SciPy is not installed, and the picture has more than `most` entries.
    """
    twin = client(network, mode, torch.float64)
    device = next(twin.parameters()).device
    x, truth = pixels.to(device, torch.float64), torch.tensor([label], device=device)

    def gradient(picture: Tensor) -> Tensor:
        return flat(loss_gradient(twin, picture[None], truth, differentiable=True))

    here = gradient(x).detach()
    if not here.norm().isfinite() or not here.any():
        return None
    generator = torch.Generator().manual_seed(seed)
    whole = frobenius(gradient, x, probes=PROBES, generator=generator)
    if min(x.numel(), here.numel()) > most:
        return GradientRisk(whole, largest(gradient, x, generator=generator)[0].item(), None, None)
    jacobian = _jacobian(gradient, x)
    singular, deviation = torch.linalg.svdvals(jacobian), NOISE * here.norm().item() / here.numel() ** 0.5
    bound = noise_bound(singular, deviation, x.numel())
    return GradientRisk(whole, singular[0].item(), cosine_smallest(jacobian, here), bound)


def cosine_smallest(jacobian: Tensor, gradient: Tensor) -> float:
    """s_min over all directions of a picture, of (I - g g^T/||g||^2) J / ||g||, for J (outputs, inputs)."""
    if jacobian.shape[0] < jacobian.shape[1]:
        return 0.0
    unit = gradient / gradient.norm()
    turned = (jacobian - unit[:, None] * (unit @ jacobian)) / gradient.norm()
    smallest: float = torch.linalg.svdvals(turned)[-1].item()
    return smallest


def noise_bound(singular: Tensor, deviation: float, entries: int) -> float:
    """deviation^2 * sum 1/s_k^2 / entries, over all `entries` directions of a picture.

    Directions without a singular value (fewer outputs than entries), or with one below float64's resolution, count with
    that resolution.
    """
    top = max(singular.max().item(), torch.finfo(torch.float64).tiny ** 0.5)
    least = top * entries * torch.finfo(torch.float64).eps
    values = torch.cat([singular, singular.new_zeros(entries - len(singular))]).clamp(min=least)
    return (deviation / values).square().mean().item()


def gradient_risks(
    network: nn.Module,
    pictures: Pictures,
    *,
    mode: Mode = "eval",
    most: int = MOST,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, GradientRisk | None]:
    """The predictors for each picture alone, by its name."""
    rows = list(zip(pictures.names, pictures.pixels, pictures.labels.tolist(), strict=True))
    shown = tqdm(rows, desc="predictors", unit="picture", disable=None if progress else True)
    return {
        name: gradient_risk(network, pixels, label, mode=mode, most=most, seed=seed) for name, pixels, label in shown
    }


def _jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(outputs, inputs), whole."""
    linear = Linearized(function, x)
    matrix = linear.matrix()
    return matrix if linear.outputs < linear.inputs else matrix.T
