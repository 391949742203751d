"""LPIPS (Zhang et al., CVPR 2018) by the `lpips` package: a distance of photos by a network fitted to human judgment.

Lower is more similar; 0 is equal.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError

DEFINITION = "version 0.1, AlexNet, at the photo's own size"
ALEXNET = "alexnet-owt-7be5be79.pth"  # the file of torchvision's weights
MIN_SIDE = 32  # pixels a side; the last layers of AlexNet have no pixel of a smaller photo
NEEDS_EXTRA = "LPIPS needs an extra: pip install 'onlymymodel[lpips]'"


def lpips(original: NDArray[np.uint8], protected: NDArray[np.uint8]) -> float:
    """Return the LPIPS of two (H,W,C) uint8 photos of one size, see `DEFINITION`.

    Raises:
        UserError: the extra is not installed, or AlexNet's weights are missing and cannot be downloaded.
    """
    first, second = (to_tensor(photo).float() / 255 for photo in (original, protected))
    return distance_from(first)(second)


def distance_from(original: Tensor) -> Callable[[Tensor], float]:
    """Return a function that measures the LPIPS of a photo to `original`.

    Args:
        original: (C,H,W) in [0,1]; C is 3 (RGB) or 1 (gray). The other photo has the same shape.

    Raises:
        UserError: as `lpips`.
    """
    network = _network(original.device)

    def distance(other: Tensor) -> float:
        with torch.inference_mode():
            return float(network(*(photo.expand(3, -1, -1)[None] * 2 - 1 for photo in (original, other))))

    return distance


def lpips_available() -> bool:
    """Return whether LPIPS is installed and AlexNet's weights are in torch's cache, so that nothing is downloaded."""
    return find_spec("lpips") is not None and _alexnet().is_file()


@cache
def _network(device: torch.device) -> torch.nn.Module:
    try:
        from lpips import LPIPS
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision warns about how the package names its weights
            network: torch.nn.Module = LPIPS(net="alex", version="0.1", verbose=False)
    except (URLError, OSError) as error:
        raise UserError(
            "LPIPS needs torchvision's AlexNet weights, which could not be downloaded; "
            f"put {ALEXNET} into {_alexnet().parent}, or leave LPIPS out"
        ) from error
    return network.eval().requires_grad_(False).to(device)


def _alexnet() -> Path:
    return Path(torch.hub.get_dir(), "checkpoints", ALEXNET)
