"""Random looks at the authorized model: its photo as another deployment of the model may read it.

A margin that holds only for the exact input pipeline is lost by a crop that is shifted by a pixel. So the guard also
sees each photo after what may happen to a file (nothing, JPEG, a resize, a blur), cut out at another place and scale.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from onlymymodel.protect.attack.batch import Rows
from onlymymodel.protect.attack.differentiable_channels import BLURS, SIZES, Transform, between, compress, resize
from onlymymodel.protect.attack.precision import full_float32
from onlymymodel.protect.budget.filters import gaussian
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.device_copy import to_device
from onlymymodel.surrogates.kept_objects import Objects, crop_margins
from onlymymodel.surrogates.object_matches import mirror_boxes

ZOOM = (0.8, 1.2)
SHIFT = 0.07  # of the input's sides
MIRROR_PROBABILITY = 0.25
JPEG_QUALITY = (55.0, 95.0)
LANDMARK_SHIFT = 0.04  # standard deviation, as a fraction of the distance between the eyes


class GuardLooks:
    """The margins of the authorized model under random looks, and their gradient.

    Args:
        authorized: the model that must keep its prediction.
        labels: (photos,) long, one for each photo of the whole batch.
        kappa: margins below it are raised.
        count: looks at each step.
        objects: those that it must keep in each photo, for a detector, whose looks are mirrored at most.
    """

    def __init__(
        self, authorized: Classifier, labels: Tensor, kappa: float, count: int, objects: Objects = None
    ) -> None:
        self.authorized, self.labels, self.objects = authorized, labels, objects
        self.kappa, self.count = kappa, count

    def margins(
        self, photos: Tensor, rows: Rows, generators: Sequence[Generator], landmarks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take looks at some photos.

        Args:
            photos: (B,C,H,W) in [0,1].
            rows: which photos of the whole batch they are.
            generators: one for each of them.
            landmarks: (B,5,2) on the CPU, for a model that aligns faces.

        Returns:
            (B,) the smallest margin of the looks in logits, and (B,C,H,W) the sum of the gradients of all margins that
            are below kappa.
        """
        least = torch.full((len(photos),), math.inf, device=photos.device)
        total = torch.zeros_like(photos)
        for _ in range(self.count):
            pixels = photos.detach().requires_grad_()
            margins = self._margins(pixels, rows, generators, landmarks)
            low = margins < self.kappa
            if low.any():
                total += torch.autograd.grad(torch.where(low, margins, 0).sum(), pixels)[0]
            least = torch.minimum(least, margins.detach())
        return least, total

    def _margins(self, pixels: Tensor, rows: Rows, generators: Sequence[Generator], landmarks: Tensor | None) -> Tensor:
        with full_float32(pixels.device):
            crops, mirrored = self._crops(pixels, generators, landmarks)
        objects = None
        if self.objects is not None:
            photos = zip([self.objects[row] for row in rows.numbers], mirrored, strict=True)
            objects = [mirror_boxes(found) if is_mirrored else found for found, is_mirrored in photos]
        return crop_margins(self.authorized, torch.cat(crops), self.labels[rows.index], objects)

    def _crops(
        self, pixels: Tensor, generators: Sequence[Generator], landmarks: Tensor | None
    ) -> tuple[list[Tensor], list[bool]]:
        """Return the (1,3,height,width) input of each photo, and whether it is mirrored."""
        received = [draw_change(generator)(photo[None]) for photo, generator in zip(pixels, generators, strict=True)]
        preprocess = self.authorized.card.preprocess
        crops, mirrored = [], []
        for index, (photo, generator) in enumerate(zip(received, generators, strict=True)):
            draws = torch.rand(4, generator=generator).tolist()
            points = None
            if landmarks is not None:
                # the photo may have another size now
                scale = torch.tensor([photo.shape[-1] / pixels.shape[-1], photo.shape[-2] / pixels.shape[-2]])
                eyes = (landmarks[index, 1] - landmarks[index, 0]).norm()
                noise = LANDMARK_SHIFT * eyes * torch.randn(5, 2, generator=generator)
                points = ((landmarks[index] + noise) * scale)[None]
            canvas = preprocess.canvas(photo, points)
            still = points is not None or self.objects is not None
            crops.append(_crop(canvas, preprocess.height, preprocess.width, draws, still=still))
            mirrored.append(draws[-1] < MIRROR_PROBABILITY)
        return crops, mirrored


def draw_change(generator: Generator) -> Transform:
    """Draw what happens to one (1,C,H,W) photo in [0,1] on its way: nothing, JPEG, a resize or a blur."""
    kind, amount = torch.rand(2, generator=generator).tolist()
    if kind < 0.25:
        return lambda photo: photo
    if kind < 0.5:
        return partial(compress, quality=between(JPEG_QUALITY, amount))
    if kind < 0.75:
        return partial(resize, scale=between(SIZES, amount))
    return partial(gaussian, sigma=between(BLURS, amount))


def _crop(canvas: Tensor, height: int, width: int, draws: Sequence[float], *, still: bool) -> Tensor:
    """Read a (1,3,height,width) input out of a (1,3,h,w) canvas, scaled, shifted and maybe mirrored.

    One that is to stand still is mirrored at most: the landmarks of an aligned face have moved already, and objects are
    not to leave the input.
    """
    zoom, right, down, flip = draws
    scale = 1.0 if still else between(ZOOM, zoom)
    shift = (0.0, 0.0) if still else ((right * 2 - 1) * SHIFT, (down * 2 - 1) * SHIFT)
    mirror = -1.0 if flip < MIRROR_PROBABILITY else 1.0
    h, w = canvas.shape[-2:]
    # from the input's [-1,1] to the canvas's: the center crop is (height / h, width / w) of it
    across, down_scale = width / w / scale, height / h / scale
    theta = torch.tensor(
        [[[mirror * across, 0.0, 2 * shift[0] * width / w], [0.0, down_scale, 2 * shift[1] * height / h]]]
    )
    grid = F.affine_grid(to_device(theta.to(canvas.dtype), canvas.device), [1, 3, height, width], align_corners=False)
    return F.grid_sample(canvas, grid, padding_mode="zeros", align_corners=False)
