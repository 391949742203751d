"""The spectrum of a Jacobian that is too large to be computed as a whole, as a few weighted points."""

from dataclasses import dataclass

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.jacobian import Function, Linearized


@dataclass(frozen=True)
class SpectralDensity:
    """An estimate of the distribution of the min(inputs, outputs) singular values of a Jacobian.

    Attributes:
        singular: (probes,steps) float64 points.
        weights: (probes,steps) share of the singular values at each point; every row sums to 1.
        count: min(inputs, outputs).
    """

    singular: Tensor
    weights: Tensor
    count: int

    def rank(self, tau: float) -> float:
        """Return the estimated number of singular values above tau times the largest; 0 if all are 0."""
        above = self.singular > tau * self.singular.max()
        return self.count * (self.weights * above).sum(1).mean().item()

    def frobenius_norm(self) -> float:
        """Return the estimated ||J||_F: Hutchinson's estimate, since Lanczos integrates a square exactly."""
        return (self.count * (self.weights * self.singular.square()).sum(1).mean()).sqrt().item()

    def stable_rank(self) -> float:
        """Return the estimated ||J||_F^2 / ||J||_2^2; 0 if all singular values are 0."""
        top = self.singular.max().item()
        return (self.frobenius_norm() / top) ** 2 if top > 0 else 0.0


def spectral_density(
    function: Function, x: Tensor, *, probes: int = 4, steps: int = 32, generator: torch.Generator
) -> SpectralDensity:
    """Estimate a spectrum by stochastic Lanczos quadrature of J^T J or J J^T, the smaller (Ubaru, Chen & Saad 2017).

    Each probe is a random sign vector; `steps` products with it give a Gauss quadrature of the spectral measure. The
    largest singular value is approached from below and usually exact; counts near a threshold are uncertain by the
    weight of the points there.

    Args:
        probes: number of random vectors, which are processed together.
        steps: number of Lanczos steps, with full reorthogonalization; at most min(inputs, outputs) are made.
    """
    linear = Linearized(function, x)
    steps = min(steps, linear.smaller)
    signs = torch.randint(0, 2, (probes, linear.smaller), generator=generator, dtype=torch.float64) * 2 - 1
    basis = [signs.to(x.device) / linear.smaller**0.5]
    tridiagonal = torch.zeros(probes, steps, steps, dtype=torch.float64, device=x.device)
    scale: Tensor | None = None
    for step in range(steps):
        image = linear.gram(basis[-1])
        scale = image.norm(dim=1).max() if scale is None else scale
        tridiagonal[:, step, step] = (image * basis[-1]).sum(1)
        stacked = torch.stack(basis, 1)
        for _ in range(2):  # one orthogonalization does not suffice in floating point
            image = image - torch.einsum("ps,psn->pn", torch.einsum("psn,pn->ps", stacked, image), stacked)
        length = image.norm(dim=1)
        # an invariant subspace is exhausted: its quadrature is exact, and further points get no weight
        length = torch.where(length > 1e-12 * scale, length, torch.zeros_like(length))
        if step + 1 < steps:
            tridiagonal[:, step, step + 1] = tridiagonal[:, step + 1, step] = length
            basis.append(image / length.clamp_min(1e-300)[:, None] * (length > 0)[:, None])
    values, vectors = torch.linalg.eigh(tridiagonal)
    return SpectralDensity(values.clamp_min(0).sqrt().cpu(), vectors[:, 0].square().cpu(), linear.smaller)
