"""LPIPS (Zhang et al., CVPR 2018) by the `lpips` package: how different two photos look to a network that was fitted to
people's judgment. Lower is more alike; 0 is equal."""

import os
import warnings
from functools import cache
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray

from onlymymodel.errors import UserError

NEEDS_EXTRA = "LPIPS needs an extra: pip install 'onlymymodel[lpips]'"


def lpips(original: NDArray[np.uint8], protected: NDArray[np.uint8]) -> float:
    """LPIPS of two HWC uint8 photos of one size: version 0.1, AlexNet, at the photos' own size.

    Raises:
        UserError: the extra is not installed, or AlexNet's weights are neither here nor to be had.
    """
    network = _network()
    with torch.inference_mode():
        first, second = (_normalized(photo) for photo in (original, protected))
        return float(network(first, second))


@cache
def _network() -> torch.nn.Module:
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
    return network.eval().requires_grad_(False)


def _normalized(photo: NDArray[np.uint8]) -> torch.Tensor:
    """(1,3,H,W) in [-1,1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return pixels.expand(-1, 3, -1, -1)
