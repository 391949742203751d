"""The spectrum of a Jacobian too large to be computed whole, as a few weighted points."""

from dataclasses import dataclass

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.jacobian import Function, Linearized


@dataclass(frozen=True)
class SpectralDensity:
    """An estimate of how the min(inputs, outputs) singular values of a Jacobian are spread.

    Attributes:
        singular: (probes,steps) float64 points.
        weights: (probes,steps) share of the singular values at each point; every row sums to 1.
        count: min(inputs, outputs).
    """

    singular: Tensor
    weights: Tensor
    count: int

    def rank(self, tau: float) -> float:
        """Estimated number of singular values above tau times the largest; 0 where all are 0."""
        above = self.singular > tau * self.singular.max()
        return self.count * (self.weights * above).sum(1).mean().item()

    def frobenius(self) -> float:
        """Estimated ||J||_F: Hutchinson's, since Lanczos integrates a square without an error."""
        return (self.count * (self.weights * self.singular.square()).sum(1).mean()).sqrt().item()

    def stable_rank(self) -> float:
        """Estimated ||J||_F^2 / ||J||_2^2; 0 where all singular values are 0."""
        top = self.singular.max().item()
        return (self.frobenius() / top) ** 2 if top > 0 else 0.0


def spectral_density(
    function: Function, x: Tensor, *, probes: int = 4, steps: int = 32, generator: torch.Generator
) -> SpectralDensity:
    """Stochastic Lanczos quadrature of the smaller of J^T J and J J^T (Ubaru, Chen & Saad 2017).

    Each probe is a random sign vector; `steps` products with it give a Gauss quadrature of the spectral measure. The
    largest singular value is met from below and usually exactly; counts near a threshold are uncertain by the spread
    of the points there.

    Args:
        probes: random vectors, worked on together.
        steps: of Lanczos, with full reorthogonalization; at most min(inputs, outputs) are made.
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
        known = torch.stack(basis, 1)
        for _ in range(2):  # once is not enough in floating point
            image = image - torch.einsum("ps,psn->pn", torch.einsum("psn,pn->ps", known, image), known)
        length = image.norm(dim=1)
        # an invariant subspace is exhausted: its quadrature is exact, what follows gets no weight
        length = torch.where(length > 1e-12 * scale, length, torch.zeros_like(length))
        if step + 1 < steps:
            tridiagonal[:, step, step + 1] = tridiagonal[:, step + 1, step] = length
            basis.append(image / length.clamp_min(1e-300)[:, None] * (length > 0)[:, None])
    values, vectors = torch.linalg.eigh(tridiagonal)
    return SpectralDensity(values.clamp_min(0).sqrt().cpu(), vectors[:, 0].square().cpu(), linear.smaller)
