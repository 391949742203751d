"""Compare the distances of generated pictures to training and to held-out pictures by one-to-one matching.

The interval of the gap inverts a permutation test. To an adversary who knows nothing of the training pictures, the
training and the held-out pictures of a class are exchangeable: if all of them are dealt at random to two sets and
matched again, the gaps have the distribution of the observed gap. This is exact for every number of pictures, however
similar the generated ones are to each other. A bootstrap is not: resampling the matched pairs covered a gap of 0 in
64 % to 92 % of trials where 95 % were nominal (digits, 3 classes of 10 pictures), resampling the two sets separately
in 84 % to 100 % (3 or 10 pictures).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.protect.budget.distortion import batch_ssim

Floats = NDArray[np.float64]
PERMUTATIONS = 499


@dataclass(frozen=True)
class SimilarityGap:
    """Similarity of n generated pictures of one class to n training pictures and to n held-out pictures.

    Attributes:
        training: (n,) SSIM to the matched training picture.
        held_out: (n,) SSIM to the matched held-out picture.
        training_match: (n,) row of the matched training picture.
        held_out_match: (n,) row of the matched held-out picture.
        null: (PERMUTATIONS,) sums of n gaps under random assignment of the 2n pictures to the two sets.
    """

    training: Floats
    held_out: Floats
    training_match: NDArray[np.intp]
    held_out_match: NDArray[np.intp]
    null: Floats


def balance_classes(training: Pictures, held_out: Pictures) -> tuple[Pictures, Pictures]:
    """Return the first pictures of each class of both sets, as many as the smaller has, ordered by class.

    Both results have the same labels.

    Raises:
        UserError: no class is in both sets, or the sizes of the pictures differ.
    """
    if training.pixels.shape[1:] != held_out.pixels.shape[1:] or training.classes != held_out.classes:
        raise UserError("training and held-out pictures must be of one size and of the same classes")
    rows: tuple[list[int], list[int]] = ([], [])
    for label in range(training.classes):
        of_class = [(side.labels == label).nonzero()[:, 0].tolist() for side in (training, held_out)]
        count = min(map(len, of_class))
        for chosen, candidates in zip(rows, of_class, strict=True):
            chosen += candidates[:count]
    if not rows[0]:
        raise UserError("no class has both training and held-out pictures: give held-out pictures of the same classes")
    return training.take(rows[0]), held_out.take(rows[1])


def measure_gap(generated: Tensor, training: Tensor, held_out: Tensor, seed: int = 0) -> SimilarityGap:
    """Match n generated pictures of a class to n training and to n held-out pictures, all (n,C,S,S) in [0,1].

    Args:
        seed: seed of the random assignments of the permutation test.
    """
    table = pairwise_ssim(generated, torch.cat([training, held_out]))
    count, rng = len(training), np.random.default_rng(seed)
    training_match, held_out_match = match_one_to_one(table[:, :count]), match_one_to_one(table[:, count:])
    rows, null = np.arange(count), np.empty(PERMUTATIONS)
    for index in range(PERMUTATIONS):
        permuted = table[:, rng.permutation(2 * count)]
        sides = (permuted[:, :count], permuted[:, count:])
        first, second = (side[rows, match_one_to_one(side)].sum() for side in sides)
        null[index] = first - second
    return SimilarityGap(
        training=table[rows, training_match],
        held_out=table[rows, count + held_out_match],
        training_match=training_match,
        held_out_match=held_out_match,
        null=null,
    )


def match_one_to_one(table: Floats) -> NDArray[np.intp]:
    """Return for each row of a square table a distinct column, so that the sum of the chosen entries is largest.

    Raises:
        UserError: SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise UserError("matching pictures needs SciPy: pip install 'onlymymodel[audit]'") from error
    columns: NDArray[np.intp] = linear_sum_assignment(table, maximize=True)[1]
    return columns


def gap_interval(gaps: Sequence[SimilarityGap]) -> tuple[float, float, float]:
    """Return the mean gap per picture over some classes, and the lower and upper end of its 95 % interval.

    The interval contains every gap that, subtracted, leaves one that chance would produce; for a single picture it
    always contains 0.
    """
    total = sum(len(gap.training) for gap in gaps)
    mean = sum(float((gap.training - gap.held_out).sum()) for gap in gaps) / total
    null = np.append(np.sum([gap.null for gap in gaps], axis=0) / total, mean)
    low, high = np.quantile(null, [0.025, 0.975])
    return mean, mean - float(high), mean - float(low)


def pairwise_ssim(first: Tensor, second: Tensor) -> Floats:
    """Return the (n,m) SSIM of each of (n,C,S,S) with each of (m,C,S,S)."""
    table: Floats = torch.stack([batch_ssim(picture.expand_as(second), second) for picture in first]).double().numpy()
    return table
