"""Labeled pictures of audits: rendered portraits and scikit-learn's digits, which need no download, and folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.attributes import AttributeLabels, encode
from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import MAX_PIXELS, PhotoError, decode
from onlymymodel.data.portrait_people import attributes_of, draw_identity
from onlymymodel.data.portraits import EMOTIONS, IDENTITIES, make_scene, paint
from onlymymodel.data.regular_file import max_photo_bytes, read_regular
from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.options import Task
from onlymymodel.evaluate.audits.report import Picture
from onlymymodel.surrogates.classifier import Preprocess

MIN_DISPLAY_SIDE = 96  # pixels


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size with their labels.

    Attributes:
        pixels: (N,C,S,S) float32 in [0,1].
        labels: (N,) long, class of the task; of attributes the code of those that are there, see `data.attributes`.
        groups: (N,) long, the person shown; `split_into_groups` never puts pictures of one group into two parts.
        names: names of the pictures, unique.
        classes: number of classes, or of attributes.
        attributes: names of the attributes; empty where labels are classes.
    """

    pixels: Tensor
    labels: Tensor
    groups: Tensor
    names: tuple[str, ...]
    classes: int
    attributes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int] | Tensor) -> "Pictures":
        """Return the pictures of these rows, in the given order."""
        index = torch.as_tensor(rows, dtype=torch.long)
        names = tuple(self.names[row] for row in index.tolist())
        columns = self.pixels[index], self.labels[index], self.groups[index]
        return Pictures(*columns, names, self.classes, self.attributes)

    def split(self, first: int, seed: int = 0) -> tuple["Pictures", "Pictures"]:
        """Return `first` random pictures, and the others."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[:first]), self.take(order[first:])

    def split_into_groups(self, shares: Sequence[float], seed: int = 0) -> tuple["Pictures", ...]:
        """Return the pictures of random groups by shares of the groups, at least one group each, and of all the others.

        Raises:
            UserError: too few groups for all parts.
        """
        groups = torch.unique(self.groups)
        if len(groups) <= len(shares):
            raise UserError(f"{len(groups)} people cannot be split into {len(shares) + 1} parts: show more people")
        order = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))]
        parts, start = list[Pictures](), 0
        for number, share in enumerate(shares):
            last = len(groups) - (len(shares) - number)  # every later part keeps a group
            end = min(start + max(1, round(share * len(groups))), last)
            parts.append(self.take(torch.isin(self.groups, order[start:end]).nonzero()[:, 0]))
            start = end
        return (*parts, self.take(torch.isin(self.groups, order[start:]).nonzero()[:, 0]))


def portrait_pictures(
    count: int, size: int = 32, *, task: Task = "emotion", seed: int = 0, people: int | None = None
) -> Pictures:
    """Return rendered portraits (count,3,size,size) that cycle through people and emotions; groups are people.

    Args:
        task: what the labels are.
        people: number of people, other ones for each seed; the identities of the bundled models by default.
    """
    shown = IDENTITIES if people is None else [draw_identity(seed * people + number) for number in range(people)]
    scenes = [(index % len(shown), (index // len(shown)) % len(EMOTIONS)) for index in range(count)]
    photos = [
        paint(shown[person], make_scene(person, emotion, seed * 1_000_003 + index), size)
        for index, (person, emotion) in enumerate(scenes)
    ]
    identities, emotions = (torch.tensor(column) for column in zip(*scenes, strict=True))
    groups = identities + (seed * people if people else 0)  # other people have other numbers
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    names = tuple(f"portrait {seed}-{index}" for index in range(count))
    if task == "identity":
        return Pictures(pixels, identities, groups, names, len(shown))
    if task == "emotion":
        return Pictures(pixels, emotions, groups, names, len(EMOTIONS))
    present = [attributes_of(shown[person], emotion) for person, emotion in scenes]
    codes = torch.tensor([encode(list(attributes.values())) for attributes in present])
    return Pictures(pixels, codes, groups, names, len(present[0]), tuple(present[0]))


def with_attributes(
    pictures: Pictures, labels: AttributeLabels, identities: Mapping[str, str] | None = None
) -> Pictures:
    """Return those pictures of a folder that a table has, labelled with its attributes.

    Args:
        labels: attributes of the pictures by their paths.
        identities: the person of each picture by its file name; by default the folder in which it lies.

    Raises:
        UserError: a picture has attributes and no identity.
    """
    chosen = pictures.take([row for row, name in enumerate(pictures.names) if name in labels.codes])
    paths = [PurePosixPath(name) for name in chosen.names]
    if identities is None:
        people = [str(path.parent) for path in paths]
    elif missing := [path for path in paths if path.name not in identities]:
        raise UserError(f"{len(missing)} pictures, such as {missing[0]}, have attributes but no identity")
    else:
        people = [identities[path.name] for path in paths]
    codes = torch.tensor([labels.codes[name] for name in chosen.names])
    return Pictures(chosen.pixels, codes, _encode_names(people), chosen.names, len(labels.names), labels.names)


def digit_pictures(size: int = 16) -> Pictures:
    """Return scikit-learn's 1797 digits (8x8 gray, from UCI's optical recognition test set) as (N,1,size,size).

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("the digits need scikit-learn: pip install 'onlymymodel[audit]'") from error
    digits = load_digits()
    pixels = torch.from_numpy(digits.images).float()[:, None] / 16
    pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(digits.target).long()
    return Pictures(pixels, labels, torch.arange(len(labels)), tuple(f"digit {i}" for i in range(len(labels))), 10)


def folder_pictures(folder: Path, size: int = 64) -> Pictures:
    """Return the photos of a folder, resized to cover size x size and cropped to it.

    The first folder level is the label; the second, CLASS/PERSON/photo, is the person (group), otherwise the first is.

    Raises:
        UserError: the folder has no photo, or one that cannot be read.
    """
    entries = [entry for entry in scan(folder) if entry.status == "photo"]
    if not entries:
        raise UserError(f"{folder} has no photo")
    pixels = []
    for entry in entries:
        try:
            data = read_regular(entry.path, max_photo_bytes(MAX_PIXELS))
            pixels.append(resize_and_crop(decode(data).pixels, size))
        except PhotoError as error:
            raise UserError(f"{entry.path} cannot be read: {error}") from error
        except OSError as error:
            raise UserError(f"{entry.path} cannot be read: {error.strerror}") from error
    names = tuple(str(entry.relative) for entry in entries)
    classes = [entry.relative.parts[0] if len(entry.relative.parts) > 1 else "" for entry in entries]
    people = [entry.relative.parts[1] if len(entry.relative.parts) > 2 else "" for entry in entries]
    labels = _encode_names(classes)
    groups = _encode_names(people) if all(people) else labels
    return Pictures(torch.stack(pixels), labels, groups, names, len(set(classes)))


def _encode_names(names: Sequence[str]) -> Tensor:
    """Return the (N,) index of each name in the sorted list of distinct names."""
    index = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([index[name] for name in names])


def resize_and_crop(photo: NDArray[np.uint8], size: int) -> Tensor:
    """Resize a (H,W,C) uint8 photo, C 1 or 3, to cover a square, crop its center; (3,size,size) in [0,1]."""
    preprocess = Preprocess(height=size, width=size, crop_pct=1.0)
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
    return preprocess.center(preprocess.canvas(pixels))[0]


def display_picture(pixels: Tensor, min_side: int = MIN_DISPLAY_SIDE) -> Picture:
    """Return (C,H,W) pixels in [0,1], C 1 or 3, as an (h,w,C) uint8 picture for the page and for LPIPS.

    Args:
        min_side: smaller pictures are enlarged towards this side by a whole factor.
    """
    factor = max(1, min_side // min(pixels.shape[-2:]))
    large = pixels.detach().clamp(0, 1).repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    picture: Picture = (large * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return picture
