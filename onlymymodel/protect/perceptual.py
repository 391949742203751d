"""LPIPS (Zhang et al., CVPR 2018) by the `lpips` package: how different two photos look to a network that was fitted to
people's judgment. Lower is more alike; 0 is equal."""

import os
import warnings
from collections.abc import Callable
from functools import cache
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onlymymodel.errors import UserError

DEFINITION = "version 0.1, AlexNet, at the photo's own size"
SMALLEST = 32  # pixels a side; nothing is left of a smaller photo in AlexNet's last layers
NEEDS_EXTRA = "LPIPS needs an extra: pip install 'onlymymodel[lpips]'"


def lpips(original: NDArray[np.uint8], protected: NDArray[np.uint8]) -> float:
    """LPIPS of two HWC uint8 photos of one size, see `DEFINITION`.

    Raises:
        UserError: the extra is not installed, or AlexNet's weights are neither here nor to be had.
    """
    first, second = (
        torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255 for photo in (original, protected)
    )
    return distance_from(first)(second)


def distance_from(original: Tensor) -> Callable[[Tensor], float]:
    """LPIPS to a (C,H,W) photo in [0,1], as a function of another; C 3 (RGB) or 1 (gray).

    Raises:
        UserError: as `lpips`.
    """
    network = _network(original.device)

    def distance(other: Tensor) -> float:
        with torch.inference_mode():
            return float(network(*(photo.expand(3, -1, -1)[None] * 2 - 1 for photo in (original, other))))

    return distance


@cache
def _network(device: torch.device) -> torch.nn.Module:
    try:
        from lpips import LPIPS
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's, about how the package names its weights
            network: torch.nn.Module = LPIPS(net="alex", version="0.1", verbose=False)
    except (URLError, OSError) as error:
        cache_folder = os.path.join(torch.hub.get_dir(), "checkpoints")  # noqa: PTH118 - only shown
        raise UserError(
            "LPIPS needs torchvision's AlexNet weights, which could not be downloaded; "
            f"put alexnet-owt-7be5be79.pth into {cache_folder}, or leave LPIPS out"
        ) from error
    return network.eval().requires_grad_(False).to(device)
