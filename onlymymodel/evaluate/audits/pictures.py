"""Labelled pictures for audits that need no download: rendered portraits, scikit-learn's digits, a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.portraits import EMOTIONS, IDENTITIES, render
from onlymymodel.errors import UserError
from onlymymodel.surrogates.classifier import Preprocess


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size with what they show.

    Attributes:
        pixels: (N,C,S,S) float32 in [0,1].
        labels: (N,) long, the class of the task.
        groups: (N,) long, whom they show; pictures of one group never lie on both sides of `by_group`.
        names: of the pictures, unique.
        classes: number of classes.
    """

    pixels: Tensor
    labels: Tensor
    groups: Tensor
    names: tuple[str, ...]
    classes: int

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int] | Tensor) -> "Pictures":
        """Some of them, in the order given."""
        index = torch.as_tensor(rows, dtype=torch.long)
        names = tuple(self.names[row] for row in index.tolist())
        return Pictures(self.pixels[index], self.labels[index], self.groups[index], names, self.classes)

    def split(self, first: int, seed: int = 0) -> tuple["Pictures", "Pictures"]:
        """`first` random ones, and the others."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[:first]), self.take(order[first:])

    def by_group(self, first: float, seed: int = 0) -> tuple["Pictures", "Pictures"]:
        """About a share `first` of the groups, and the others: nobody is in both."""
        groups = torch.unique(self.groups)
        order = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))]
        chosen = torch.isin(self.groups, order[: max(1, round(first * len(groups)))])
        return self.take(chosen.nonzero()[:, 0]), self.take((~chosen).nonzero()[:, 0])


def portrait_pictures(count: int, size: int = 32, *, task: str = "emotion", seed: int = 0) -> Pictures:
    """Rendered portraits (N,3,size,size), every identity and emotion in turn; groups are the identities.

    Args:
        task: `emotion` or `identity`, which gives the labels.
    """
    who = [(index % len(IDENTITIES), (index // len(IDENTITIES)) % len(EMOTIONS)) for index in range(count)]
    drawn = [render(identity, emotion, seed * 1_000_003 + index, size) for index, (identity, emotion) in enumerate(who)]
    people, feelings = (torch.tensor(column) for column in zip(*who, strict=True))
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
    names = tuple(f"portrait {seed}-{index}" for index in range(count))
    if task == "identity":
        return Pictures(pixels, people, people, names, len(IDENTITIES))
    return Pictures(pixels, feelings, people, names, len(EMOTIONS))


def digit_pictures(size: int = 16) -> Pictures:
    """scikit-learn's 1797 digits (8x8 gray, from UCI's optical recognition test set), (N,1,size,size).

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("the digits need scikit-learn: pip install 'onlymymodel[audit]'") from error
    found = load_digits()
    pixels = torch.from_numpy(found.images).float()[:, None] / 16
    pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(found.target).long()
    return Pictures(pixels, labels, torch.arange(len(labels)), tuple(f"digit {i}" for i in range(len(labels))), 10)


def folder_pictures(folder: Path, size: int = 64) -> Pictures:
    """Photos of a folder, resized to cover size x size and cut to it.

    The first folder below it is the label; the second, CLASS/PERSON/photo, is whom it shows, else the first is.

    Raises:
        UserError: no photo, or one that cannot be read.
    """
    entries = [entry for entry in scan(folder) if entry.status == "photo"]
    if not entries:
        raise UserError(f"{folder} has no photo")
    pixels = []
    for entry in entries:
        try:
            pixels.append(small(decode(entry.path.read_bytes()).pixels, size))
        except PhotoError as error:
            raise UserError(f"{entry.path} cannot be read: {error}") from error
    names = tuple(str(entry.relative) for entry in entries)
    classes = [entry.relative.parts[0] if len(entry.relative.parts) > 1 else "" for entry in entries]
    people = [entry.relative.parts[1] if len(entry.relative.parts) > 2 else "" for entry in entries]
    labels = _numbered(classes)
    groups = _numbered(people) if all(people) else labels
    return Pictures(torch.stack(pixels), labels, groups, names, len(set(classes)))


def _numbered(names: Sequence[str]) -> Tensor:
    """(N,) places of the names in their order."""
    index = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([index[name] for name in names])


def small(photo: NDArray[np.uint8], size: int) -> Tensor:
    """(H,W,C) uint8, C 1 or 3, as (3,size,size) in [0,1]: resized to cover the square, and cut to it."""
    preprocess = Preprocess(height=size, width=size, crop_pct=1.0)
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
    return preprocess.center(preprocess.canvas(pixels))[0]
