"""Turn an embedder into a classifier of the people in a gallery: the nearest mean embedding, or a stranger."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import MAX_PIXELS, PhotoError, decode
from onlymymodel.data.manifest import sha256
from onlymymodel.data.regular_file import is_folder, max_photo_bytes, read_regular
from onlymymodel.errors import UserError, number_of
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.black_box import to_pixels
from onlymymodel.surrogates.model_card import Preprocess

STRANGER = "stranger"
SCALE = 32.0  # logits for a cosine of 1; face networks are trained with 30 to 64
FALSE_ACCEPT_RATE = 1e-3  # of photos and other people in the gallery, at the default threshold
LISTED_PHOTOS = 5  # in an error


class GalleryHead(nn.Module):
    """Logits of a gallery: scaled cosines to each person's mean embedding, and the scaled threshold.

    Maps (B,3,height,width) network input to (B, people + 1) logits.

    Args:
        embedder: gives (B,D) embeddings of any length.
        means: (people, D) mean embeddings, each normalized to length 1.
        threshold: cosine below which a face is a stranger; the logit of the last class.
    """

    means: Tensor

    def __init__(self, embedder: nn.Module, means: Tensor, threshold: float) -> None:
        super().__init__()
        self.embedder = embedder
        self.threshold = threshold
        self.register_buffer("means", means)

    def forward(self, network_input: Tensor) -> Tensor:
        cosines = F.normalize(self.embedder(network_input).flatten(1), dim=1) @ self.means.T
        stranger = torch.full_like(cosines[:, :1], self.threshold)
        return SCALE * torch.cat([cosines, stranger], dim=1)


def cosines_of(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Recover the cosines and the threshold from the logits of a `GalleryHead`; exact, since `SCALE` is a power of 2.

    Args:
        logits: (people + 1,).

    Returns:
        (people,) cosines, and the threshold.
    """
    cosines: NDArray[np.float32] = logits / np.float32(SCALE)
    return cosines[:-1], float(cosines[-1])


@dataclass(frozen=True)
class Enrolled:
    """An embedder with a gallery.

    Attributes:
        head: network that gives the logits.
        names: of its classes: the people in order, and `stranger`.
        sha256: over the gallery's photos and the threshold.
    """

    head: GalleryHead
    names: tuple[str, ...]
    sha256: str


def enroll(name: str, embedder: nn.Module, preprocess: Preprocess, gallery: Path, threshold: float | None) -> Enrolled:
    """Embed a gallery: a folder with one folder of photos for each person.

    Args:
        name: of the model, for errors.
        embedder: frozen, in eval mode, on the CPU.
        preprocess: preprocessing of the embedder's input.
        gallery: the folder.
        threshold: cosine below which a face is a stranger; if None the cosine that 1 in 1000 pairs of a photo and
            another person's mean embedding exceed.

    Raises:
        UserError: no such folder, photos outside the people's folders, photos that cannot be read or show no face, or
            a threshold that cannot be estimated from a single person.
    """
    if not is_folder(gallery):
        raise UserError(f"model {name}: there is no gallery folder {gallery}")
    embeddings: dict[str, list[Tensor]] = {}
    digest, faceless = hashlib.sha256(), []
    for entry in scan(gallery):
        if entry.status != "photo":
            continue
        if len(entry.relative.parts) < 2:
            raise UserError(
                f"model {name}: {entry.path} is not in a person's folder; the gallery needs one folder for each person"
            )
        try:
            data = read_regular(entry.path, max_photo_bytes(MAX_PIXELS))
        except OSError as error:
            raise UserError(f"model {name}: {entry.path} cannot be read: {error.strerror}") from error
        digest.update(f"{entry.relative} {sha256(data)}\n".encode("utf-8", "surrogateescape"))
        pixels = _read_pixels(name, entry.path, data)
        if preprocess.fit == "align" and bool(main_faces(pixels).isnan().any()):
            faceless.append(str(entry.relative))
            continue
        embeddings.setdefault(entry.relative.parts[0], []).append(_embed(embedder, preprocess, pixels))
    if faceless:
        more = ", ..." if len(faceless) > LISTED_PHOTOS else ""
        raise UserError(
            f"model {name}: no face was found in {number_of(len(faceless), 'photo')} of the gallery: "
            f"{', '.join(faceless[:LISTED_PHOTOS])}{more}"
        )
    by_person = [torch.cat(photos) for photos in embeddings.values()]
    means = F.normalize(torch.stack([photos.mean(0) for photos in by_person]), dim=1)
    if threshold is None:
        threshold = _estimate_threshold(name, by_person, means)
    digest.update(f"threshold {threshold!r}".encode())
    return Enrolled(GalleryHead(embedder, means, threshold), (*embeddings, STRANGER), digest.hexdigest())


def _read_pixels(name: str, path: Path, data: bytes) -> Tensor:
    """Decode a photo to (1,C,H,W) in [0,1]."""
    try:
        return to_pixels(decode(data).pixels)
    except PhotoError as error:
        raise UserError(f"model {name}: {path} of the gallery cannot be read: {error}") from error


def _embed(embedder: nn.Module, preprocess: Preprocess, pixels: Tensor) -> Tensor:
    """Return the (1,D) embedding of a photo, normalized to length 1."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    with torch.inference_mode():
        embedding = embedder((preprocess.center(preprocess.canvas(pixels)) - mean) / std)
    if embedding.ndim < 2:
        raise UserError(f"the embedder gives {tuple(embedding.shape)} for one photo, where (1, numbers) is needed")
    return F.normalize(embedding.flatten(1), dim=1).clone()


def _estimate_threshold(name: str, by_person: list[Tensor], means: Tensor) -> float:
    """Return the cosine that `FALSE_ACCEPT_RATE` of the pairs of a photo and another person's mean exceed.

    Args:
        name: of the model, for errors.
        by_person: (photos, D) embeddings of each person.
        means: (people, D) mean embeddings.
    """
    if len(by_person) < 2:
        raise UserError(f"model {name}: with only one person in the gallery, add threshold=COSINE")
    impostors = [
        (photos @ torch.cat([means[:index], means[index + 1 :]]).T).flatten() for index, photos in enumerate(by_person)
    ]
    return float(torch.quantile(torch.cat(impostors), 1 - FALSE_ACCEPT_RATE))
