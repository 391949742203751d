"""An embedder and a gallery of people are a classifier: the person whose mean embedding is nearest, or a stranger."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from onlymymodel.data.folder import scan
from onlymymodel.data.image_io import PhotoError, decode
from onlymymodel.data.manifest import sha256
from onlymymodel.errors import UserError
from onlymymodel.surrogates.alignment import main_faces
from onlymymodel.surrogates.classifier import Preprocess

STRANGER = "stranger"
SCALE = 32.0  # logits for a cosine of 1; face networks are trained with 30 to 64
FALSE_ACCEPT = 1e-3  # share of wrong people above a threshold that is found in the gallery
NAMED = 5  # photos that an error names


class GalleryHead(nn.Module):
    """(B,3,height,width) network input -> (B, people + 1) logits: scaled cosines to each person, and the threshold.

    Args:
        embedder: gives (B,D) embeddings of any length.
        means: (people, D), each of length 1.
        threshold: the cosine under which nobody is recognized; it is the logit of the last class, the stranger.
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
    """(people + 1,) logits of a `GalleryHead` -> (people,) cosines and the threshold; exact, as `SCALE` is 2 ** 5."""
    cosines: NDArray[np.float32] = logits / np.float32(SCALE)
    return cosines[:-1], float(cosines[-1])


@dataclass(frozen=True)
class Enrolled:
    """A gallery as an embedder sees it.

    Attributes:
        head: the classifier's network.
        names: of the people in order, and `stranger`.
        sha256: over the gallery's files and the threshold.
    """

    head: GalleryHead
    names: tuple[str, ...]
    sha256: str


def enroll(name: str, embedder: nn.Module, preprocess: Preprocess, gallery: Path, threshold: float | None) -> Enrolled:
    """Embed a folder with one folder of photos for each person.

    Args:
        name: of the model, for errors.
        embedder: frozen, in eval mode, on the CPU.
        threshold: cosine; if None the one above which 1 in 1000 photos comes to the mean of another person.

    Raises:
        UserError: no such folder, photos beside the folders, photos that cannot be read or without a face, a threshold
            that cannot be found.
    """
    if not gallery.is_dir():
        raise UserError(f"model {name}: there is no gallery folder {gallery}")
    people: dict[str, list[Tensor]] = {}
    digest, faceless = hashlib.sha256(), []
    for entry in scan(gallery):
        if entry.status != "photo":
            continue
        if len(entry.relative.parts) < 2:
            raise UserError(f"model {name}: {entry.path} lies in no person's folder of the gallery")
        data = entry.path.read_bytes()
        digest.update(f"{entry.relative} {sha256(data)}\n".encode())
        pixels = _pixels(name, entry.path, data)
        if preprocess.fit == "align" and bool(main_faces(pixels).isnan().any()):
            faceless.append(str(entry.relative))
            continue
        people.setdefault(entry.relative.parts[0], []).append(_embedding(embedder, preprocess, pixels))
    if faceless:
        more = ", ..." if len(faceless) > NAMED else ""
        raise UserError(
            f"model {name}: {len(faceless)} photos of the gallery show no face that can be found: "
            f"{', '.join(faceless[:NAMED])}{more}"
        )
    means = F.normalize(torch.stack([torch.cat(found).mean(0) for found in people.values()]), dim=1)
    limit = _limit(name, list(people.values()), means) if threshold is None else threshold
    digest.update(f"threshold {limit!r}".encode())
    return Enrolled(GalleryHead(embedder, means, limit), (*people, STRANGER), digest.hexdigest())


def _pixels(name: str, path: Path, data: bytes) -> Tensor:
    """(1,C,H,W) in [0,1]."""
    try:
        image = decode(data).pixels
    except PhotoError as error:
        raise UserError(f"model {name}: {path} of the gallery cannot be read: {error}") from error
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def _embedding(embedder: nn.Module, preprocess: Preprocess, pixels: Tensor) -> Tensor:
    """(1,D) of length 1."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    with torch.inference_mode():
        embedding = embedder((preprocess.center(preprocess.canvas(pixels)) - mean) / std)
    if embedding.ndim < 2:
        raise UserError(f"the embedder gives {tuple(embedding.shape)} for one photo, where (1, numbers) is needed")
    return F.normalize(embedding.flatten(1), dim=1).clone()


def _limit(name: str, people: list[list[Tensor]], means: Tensor) -> float:
    """The cosine above which `FALSE_ACCEPT` of the photos come to the mean of a person whom they do not show."""
    if len(people) < 2:
        raise UserError(f"model {name}: with one person alone in the gallery give a threshold=COSINE")
    wrong = [
        (torch.cat(found) @ torch.cat([means[:index], means[index + 1 :]]).T).flatten()
        for index, found in enumerate(people)
    ]
    return float(torch.quantile(torch.cat(wrong), 1 - FALSE_ACCEPT))
