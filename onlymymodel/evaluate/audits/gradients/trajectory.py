"""Similarity of gradients and of pictures along the trajectories of gradient matching."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from onlymymodel.evaluate.audits.gradients.client_gradient import flatten_gradient
from onlymymodel.evaluate.audits.gradients.comparison import compare_batch
from onlymymodel.evaluate.audits.gradients.matching import Match
from onlymymodel.evaluate.audits.gradients.release import GradientRelease
from onlymymodel.evaluate.audits.pictures import Pictures


def gradient_similarity(
    release: GradientRelease, batch: Pictures, pixels: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Return cosine and relative L2 distance of a reconstruction's gradient to that of the batch, before any defense.

    Args:
        pixels: (B,C,S,S) in [0,1].
        labels: (B,) long.
    """
    true = flatten_gradient(release.clean_gradient(batch.pixels, batch.labels)).double()
    own = flatten_gradient(release.clean_gradient(pixels, labels)).double()
    return F.cosine_similarity(true, own, dim=0).item(), ((own - true).norm() / true.norm()).item()


def similarity_series(release: GradientRelease, matches: Sequence[Match | None]) -> dict[str, list[float]]:
    """Return steps and the means over the batches of gradient cosine and SSIM there; empty without a match.

    A trajectory that ended early keeps its last value.
    """
    found = [(batch, match) for batch, match in zip(release.batches, matches, strict=True) if match]
    steps = sorted({step for _, match in found for step in match.snapshots})
    curves: dict[str, list[list[float]]] = {"gradient_cosine": [], "ssim": []}
    for batch, match in found:
        by_step = {step: _similarities(release, batch, pixels, match) for step, pixels in match.snapshots.items()}
        last = [max(known for known in by_step if known <= step) for step in steps]
        for index, name in enumerate(curves):
            curves[name].append([by_step[step][index] for step in last])
    means = {name: [sum(column) / len(column) for column in zip(*rows, strict=True)] for name, rows in curves.items()}
    return {"step": [float(step) for step in steps], **means} if found else {}


def _similarities(release: GradientRelease, batch: Pictures, pixels: Tensor, match: Match) -> tuple[float, float]:
    """Return gradient cosine and mean SSIM of some pixels, matched within the batch."""
    cosine, _ = gradient_similarity(release, batch, pixels, match.labels)
    ssims = [float(values["ssim"] or 0) for values, _ in compare_batch(pixels, batch.pixels, None, lpips=False)]
    return cosine, sum(ssims) / len(ssims)
