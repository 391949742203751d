"""Similarity of reconstructions to the pictures of a batch, and to the originals of protected pictures."""

from typing import NamedTuple

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.picture_matching import match_one_to_one
from onlymymodel.evaluate.audits.pictures import display_picture
from onlymymodel.evaluate.audits.report import Picture, Value
from onlymymodel.protect.budget import lpips as perceptual
from onlymymodel.protect.budget.distortion import batch_mse, batch_psnr, batch_ssim

MEASURES, TO_ORIGINAL = ("mse", "psnr", "ssim", "lpips"), "_to_original"
MAX_PSNR = 100.0  # dB: larger values are rounding errors, and a mean must stay finite


class Comparison(NamedTuple):
    """Comparison of one picture with its reconstruction.

    Attributes:
        values: measures by name.
        pictures: pictures by caption.
    """

    values: dict[str, Value]
    pictures: dict[str, Picture]


def compare_batch(
    reconstructions: Tensor | None, pixels: Tensor, originals: Tensor | None, *, lpips: bool
) -> list[Comparison]:
    """Compare each picture of a batch with its reconstruction, matched within the batch by mean squared error.

    Args:
        reconstructions: (B,C,S,S) in any order; None if there are none, for which every measure is None.
        pixels: (B,C,S,S), the pictures.
        originals: (B,C,S,S), if `pixels` are protected versions of them.
        lpips: whether to measure LPIPS too, of the pictures as displayed.
    """
    references = {"": pixels} if originals is None else {"": pixels, TO_ORIGINAL: originals}
    captions = {"": "picture", TO_ORIGINAL: "original"}
    if reconstructions is not None and len(pixels) > 1:
        table = -torch.stack(
            [batch_mse(picture.expand_as(reconstructions), reconstructions) for picture in pixels]
        ).numpy()
        reconstructions = reconstructions[torch.from_numpy(match_one_to_one(table))]
    comparisons = [Comparison({}, {}) for _ in pixels]
    for suffix, reference in references.items():
        missing: list[list[Value]] = [[None] * len(pixels)] * (4 if lpips else 3)
        columns = missing if reconstructions is None else _similarities(reconstructions, reference, lpips)
        for row, (values, pictures) in enumerate(comparisons):
            values |= {name + suffix: column[row] for name, column in zip(MEASURES, columns, strict=False)}
            pictures[captions[suffix]] = display_picture(reference[row])
    if reconstructions is not None:
        for reconstruction, (_, pictures) in zip(reconstructions, comparisons, strict=True):
            pictures["reconstruction"] = display_picture(reconstruction)
    return comparisons


def _similarities(reconstructions: Tensor, reference: Tensor, lpips: bool) -> list[list[Value]]:
    """Return a column of B values for each of `MEASURES`, without LPIPS unless it is asked for."""
    columns = [
        batch_mse(reconstructions, reference),
        batch_psnr(reconstructions, reference).clamp(max=MAX_PSNR),
        batch_ssim(reconstructions, reference),
    ]
    values: list[list[Value]] = [column.tolist() for column in columns]
    if lpips:
        pairs = zip(reference, reconstructions, strict=True)
        values.append([perceptual.lpips(display_picture(a), display_picture(b)) for a, b in pairs])
    return values
