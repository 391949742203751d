"""A generator of pictures for network inversion, conditioned on a class by a vector and by a matrix.

After network inversion (Suhail and Sethi: training-like data reconstruction, arXiv 2410.16884; privacy preserving
properties of vision classifiers, arXiv 2502.00760). Theirs: the class enters as a softmaxed random vector whose largest
entry is the class, beside the latent noise, and as the hot conditioning matrix, concatenated to the feature maps at the
resolution of that matrix. Our reading: bilinear upsampling with group norm instead of transposed convolutions with
batch norm and dropout, so that a picture depends only on its own code; sharply softmaxed vectors, since a network is
confident about what it was trained on; one fixed code for each picture to be reconstructed, since the stationarity loss
is about one set of pictures; an output without a squashing function, for the pixel range loss.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.errors import UserError

LATENT = 64
WIDTH = 32  # channels
SHARPNESS = 10.0  # of the softmax over normal numbers: the median of the largest of 10 entries is about 0.98
MAX_CLASSES = 64


@dataclass(frozen=True)
class Codes:
    """Inputs from which N pictures are generated.

    Attributes:
        latent: (N,LATENT) standard normal.
        soft: (N,classes) distributions whose largest entry is at the label.
        labels: (N,) long.
    """

    latent: Tensor
    soft: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Codes":
        """Return the codes on a device."""
        return Codes(self.latent.to(device), self.soft.to(device), self.labels.to(device))


def draw_codes(labels: Tensor, classes: int, generator: torch.Generator) -> Codes:
    """Draw a code for each of the (N,) labels."""
    latent = torch.randn(len(labels), LATENT, generator=generator)
    return Codes(latent, draw_soft_vectors(labels, classes, generator), labels)


def draw_soft_vectors(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Draw (N,classes) softmaxed random vectors, with the largest entry of each exchanged with that of its label."""
    soft = torch.softmax(SHARPNESS * torch.randn(len(labels), classes, generator=generator), 1)
    rows, largest = torch.arange(len(labels)), soft.argmax(1)
    exchanged = soft.clone()
    exchanged[rows, largest] = soft[rows, labels]
    exchanged[rows, labels] = soft[rows, largest]
    return exchanged


def hot_conditioning_matrix(labels: Tensor, classes: int) -> Tensor:
    """Return (N,classes,classes) matrices that are 1 in the row and the column of the label, and 0 elsewhere."""
    hot = F.one_hot(labels, classes).float()
    return torch.maximum(hot[:, :, None], hot[:, None, :])


def check_classes(classes: int) -> None:
    """Raise UserError if the generator cannot be conditioned: fewer than 2 classes or more than 64."""
    if not 2 <= classes <= MAX_CLASSES:
        raise UserError(
            f"an audit of weights needs a network of 2 to {MAX_CLASSES} classes, not {classes}, since a matrix with "
            "a row for each class conditions its generator"
        )


class ConditionedGenerator(nn.Module):
    """Generator from codes of N pictures to (N,channels,size,size), around [0,1] but not limited to it.

    The matrix is concatenated at its own resolution, enlarged by the whole factor that makes it half the picture.

    Raises:
        UserError: fewer than 2 classes or more than 64.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        check_classes(classes)
        self.classes, self.size = classes, size
        self.matrix_scale = math.ceil(size / 2 / classes)
        self.stem_side = max(2, size // 4)
        self.stem = nn.Linear(LATENT + classes, WIDTH * self.stem_side**2)
        self.middle, self.late = _block(WIDTH + 1), _block(WIDTH)
        self.pixels = nn.Conv2d(WIDTH, channels, 3, padding=1)

    def forward(self, codes: Codes) -> Tensor:
        """Return the (N,channels,size,size) pictures of the codes."""
        maps: Tensor = self.stem(torch.cat([codes.latent, codes.soft], 1))
        maps = maps.view(-1, WIDTH, self.stem_side, self.stem_side)
        matrix = hot_conditioning_matrix(codes.labels, self.classes)[:, None]
        matrix = matrix.repeat_interleave(self.matrix_scale, -1).repeat_interleave(self.matrix_scale, -2)
        maps = self.middle(torch.cat([_resize(maps, matrix.shape[-1]), matrix], 1))
        maps = self.late(_resize(maps, self.size))
        pixels: Tensor = self.pixels(maps)
        return 0.5 + pixels


def _block(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), nn.GroupNorm(8, WIDTH), nn.LeakyReLU(0.2))


def _resize(maps: Tensor, side: int) -> Tensor:
    return F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)
