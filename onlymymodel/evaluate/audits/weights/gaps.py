"""Similarity of generated pictures to training pictures, and its gap to that of held-out ones."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from onlymymodel.evaluate.audits.picture_matching import SimilarityGap, gap_interval, measure_gap
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import Value


def gaps_by_class(pixels: Tensor, training: Pictures, held_out: Pictures) -> dict[int, SimilarityGap]:
    """Return the gaps of pictures generated for the labels of the training pictures, which held-out pictures share."""
    masks = {label: training.labels == label for label in sorted(set(training.labels.tolist()))}
    return {
        label: measure_gap(pixels[mask], training.pixels[mask], held_out.pixels[mask], seed=label)
        for label, mask in masks.items()
    }


def gap_values(gaps: Sequence[SimilarityGap]) -> dict[str, Value]:
    """Return mean matched SSIM to training and to held-out pictures, their gap and its 95 % interval."""
    training, held_out = (np.concatenate([getattr(gap, side) for gap in gaps]) for side in ("training", "held_out"))
    gap, low, high = gap_interval(gaps)
    return {
        "pictures": len(training),
        "ssim_training": float(training.mean()),
        "ssim_held_out": float(held_out.mean()),
        "gap": gap,
        "gap_low": low,
        "gap_high": high,
    }
