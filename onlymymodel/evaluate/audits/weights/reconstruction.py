"""Reconstruction of training pictures from weights: free pictures whose margin gradients combine to the weights.

After Haim et al. (NeurIPS 2022), for several classes Buzaglo et al. (NeurIPS 2023). Theirs: the KKT condition as the
loss, more candidates than pictures, multipliers of at least a positive number, and a ReLU whose derivative is that of a
softer function, since the second derivative of a ReLU is 0 almost everywhere. Ours: 1 - cosine as the distance, see
`losses.stationarity`, and the score, in which what is known without the weights, the mean of each class, is projected
out of candidates and pictures.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.picture_matching import match_one_to_one
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.weights import losses
from onlymymodel.progress import track

BEST = 10  # candidates that count
ROUNDING = 1e-5  # of a picture's norm; what is left below it is a rounding error
MIN_MULTIPLIER = 0.05  # of a candidate, before the common factor that the cosine leaves free


@dataclass(frozen=True)
class ReconstructionSettings:
    """Settings of the reconstruction.

    Attributes:
        steps: number of steps of Adam.
        rate: its step size, in pixel values.
        candidates: candidates for each picture that is searched for.
        sharpness: of the sigmoid that replaces the derivative of a ReLU; None leaves the derivative as it is.
        outside: weight of the mean squared distance of pixels to [0,1].
        seed: seed of the first candidates.
    """

    steps: int = 1500
    rate: float = 0.02
    candidates: int = 2
    sharpness: float | None = 3.0
    outside: float = 1.0
    seed: int = 0


class _RelaxedReLU(torch.autograd.Function):
    """A ReLU whose derivative is a sigmoid, which itself has a derivative."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, sharpness: float) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.sharpness = sharpness
        return inputs.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (inputs,) = ctx.saved_tensors
        return gradients[0] * torch.sigmoid(ctx.sharpness * inputs), None


class RelaxedReLU(nn.Module):
    """A module of `_RelaxedReLU`: (...) -> (...), the values of a ReLU."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the ReLU of the inputs."""
        outputs: Tensor = _RelaxedReLU.apply(inputs, self.sharpness)
        return outputs


def relaxed_copy(network: nn.Module, sharpness: float | None) -> nn.Module:
    """Return a copy in which every ReLU module has a relaxed derivative; the outputs are the same."""
    relaxed = copy.deepcopy(network).eval().requires_grad_(True)
    if sharpness is not None:
        for parent in list(relaxed.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.ReLU):
                    setattr(parent, name, RelaxedReLU(sharpness))
    return relaxed


def reconstruct_pictures(
    network: nn.Module,
    labels: Tensor,
    shape: Sequence[int],
    settings: ReconstructionSettings | None = None,
    *,
    progress: bool = True,
) -> tuple[Tensor, Tensor]:
    """Search for pictures that explain the weights of a network, which does not change.

    Args:
        network: (B,C,S,S) in [0,1] -> (B,classes) logits.
        labels: (N,) long, the classes of the pictures that are searched for.
        shape: (C,S,S).

    Returns:
        (M,C,S,S) candidates, around [0,1] but not limited to it, M = `candidates` N; and their (M,) labels.

    Raises:
        UserError: the network's logits or gradients are not finite.
    """
    settings = settings or ReconstructionSettings()
    net = relaxed_copy(network, settings.sharpness)
    device, generator = next(net.parameters()).device, torch.Generator().manual_seed(settings.seed)
    of_candidates = labels.repeat(settings.candidates).to(device)
    start = 0.5 + 0.1 * torch.randn(len(of_candidates), *shape, generator=generator)
    pixels = start.to(device).requires_grad_()
    raw = torch.zeros(len(of_candidates), device=device, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [pixels], "lr": settings.rate}, {"params": [raw], "lr": settings.rate}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    parameters = list(net.parameters())
    for _ in track(range(settings.steps), "reconstructing", unit="step", progress=progress):
        with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no second derivative
            margin = losses.soft_margins(net(pixels), of_candidates)
            loss = losses.stationarity(margin, MIN_MULTIPLIER + F.softplus(raw), parameters)
        loss = loss + settings.outside * losses.pixel_range(pixels)
        pixels.grad, raw.grad = torch.autograd.grad(loss, [pixels, raw])
        optimizer.step()
        schedule.step()
    if not pixels.isfinite().all():
        raise UserError("the network's logits or gradients are not finite: its weights cannot be inverted")
    return pixels.detach().cpu(), of_candidates.cpu()


def correlations(candidates: Tensor, labels: Tensor, pictures: Pictures, means: Tensor) -> Tensor:
    """Return the (M,N) correlations of candidates with pictures of the same class; -1 for another class.

    A constant and the mean of the class are projected out of both, so that a candidate that is the class mean scores
    as chance does.

    Args:
        candidates: (M,C,S,S).
        labels: (M,) long.
        pictures: N pictures.
        means: (classes,C,S,S), the mean picture of each class.
    """
    table = torch.full((len(candidates), len(pictures)), -1.0, dtype=torch.float64)
    for label in torch.unique(pictures.labels):
        rows, columns = ((side == label).nonzero()[:, 0] for side in (labels, pictures.labels))
        mean = means[label].flatten().double()
        basis = torch.linalg.qr(torch.stack([torch.ones_like(mean), mean], 1))[0]
        sides = []
        for part in (candidates[rows], pictures.pixels[columns]):
            flat = part.flatten(1).double()
            rest = flat - flat @ basis @ basis.T
            varies = rest.norm(dim=1, keepdim=True) > ROUNDING * flat.norm(dim=1, keepdim=True)
            sides.append(F.normalize(rest * varies, dim=1))
        table[rows[:, None], columns] = sides[0] @ sides[1].T
    return table


def best_scores(table: Tensor) -> list[tuple[float, int, int]]:
    """Return (correlation, candidate, picture) of the ten best pairs, no candidate or picture twice, best first."""
    count = max(table.shape)
    square = torch.full((count, count), -2.0, dtype=torch.float64)
    square[: table.shape[0], : table.shape[1]] = table
    columns = match_one_to_one(square.numpy())
    pairs = [
        (table[row, int(column)].item(), row, int(column))
        for row, column in enumerate(columns[: table.shape[0]])
        if column < table.shape[1]
    ]
    return sorted(pairs, reverse=True)[:BEST]
