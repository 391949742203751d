"""How near reconstructions come to the pictures of a batch, and to the originals of protected ones."""

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.audit import Picture, Value
from onlymymodel.evaluate.audits.picture_matching import hungarian
from onlymymodel.evaluate.audits.similarity import mse, psnr, ssim, to_picture
from onlymymodel.protect import perceptual

MEASURES, TO_ORIGINAL = ("mse", "psnr", "ssim", "lpips"), "_to_original"
MOST_PSNR = 100.0  # dB: beyond that is rounding, and a mean must stay finite
Compared = tuple[dict[str, Value], dict[str, Picture]]  # figures, and pictures by their captions


def compare(found: Tensor | None, pixels: Tensor, originals: Tensor | None, *, lpips: bool) -> list[Compared]:
    """Figures and pictures for each of a batch's pictures, (B,C,S,S), beside the one of `found` that is put to it;
    figures of None where nothing was found. LPIPS is of the pictures as shown."""
    against = {"": pixels} if originals is None else {"": pixels, TO_ORIGINAL: originals}
    captions = {"": "picture", TO_ORIGINAL: "original"}
    if found is not None and len(pixels) > 1:
        table = -torch.stack([mse(one.expand_as(found), found) for one in pixels]).numpy()
        found = found[torch.from_numpy(hungarian(table))]
    compared: list[Compared] = [({}, {}) for _ in pixels]
    for suffix, truth in against.items():
        nothing: list[list[Value]] = [[None] * len(pixels)] * (4 if lpips else 3)
        columns = nothing if found is None else _similarities(found, truth, lpips)
        for row, (figures, pictures) in enumerate(compared):
            figures |= {name + suffix: column[row] for name, column in zip(MEASURES, columns, strict=False)}
            pictures[captions[suffix]] = to_picture(truth[row]).numpy()
    if found is not None:
        for guess, (_, pictures) in zip(found, compared, strict=True):
            pictures["reconstruction"] = to_picture(guess).numpy()
    return compared


def _similarities(found: Tensor, truth: Tensor, lpips: bool) -> list[list[Value]]:
    columns = [mse(found, truth), psnr(found, truth).clamp(max=MOST_PSNR), ssim(found, truth)]
    values: list[list[Value]] = [column.tolist() for column in columns]
    if lpips:
        pairs = [(to_picture(a).numpy(), to_picture(b).numpy()) for a, b in zip(truth, found, strict=True)]
        values.append([perceptual.lpips(*pair) for pair in pairs])
    return values
