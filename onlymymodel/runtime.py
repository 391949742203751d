"""Process-wide switches, the choice of the device, and the record of the environment."""

import logging
import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from onlymymodel.errors import UserError
from onlymymodel.version import __version__

log = logging.getLogger(__name__)


def configure() -> None:
    """Set the process-wide switches. Called by the command line and by every public entry that optimizes.

    Denormals are flushed to zero: late in an optimization gradients shrink below 1e-38, and CPUs handle such
    numbers in microcode (forward + backward of ViT, MobileNet and SqueezeNet ran 3 to 10 times slower).
    Gradients that small never change a sign step. cuDNN is asked for deterministic kernels, so that a resumed
    run writes the same bytes, and products of matrices in float32 are not rounded to TF32, see `networks_in`.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def pick_device(name: str = "auto") -> torch.device:
    """Return the named device; for `auto` the first accelerator that is found, else the CPU.

    Raises:
        UserError: not the name of a device, or a device that is not available.
    """
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        log.info("device: %s%s", kind, ", as no accelerator is available" if kind == "cpu" else "")
        return torch.device(kind)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"device {name!r} cannot be used here: {reason}") from error
    return device


def native_bfloat16(device: torch.device) -> str:
    """Return what in a device computes in bfloat16, such as `avx512_bf16`; "" where it is emulated or not known."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"compute capability {major}.{minor}" if major >= 8 else ""
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "avx512_bf16"
    return "amx" if device.type == "cpu" and torch.cpu._is_amx_tile_supported() else ""


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """Return what a result depends on besides its inputs: versions, kind of machine, threads, device."""
    libraries = ("torchvision", "timm", "kornia", "numpy", "pillow", "matplotlib")
    return {
        "onlymymodel": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # with the build, +cpu or +cu128, which the index may not know
        # asked of the package index, not of the modules: importing them all would take seconds
        **{library: version(library) for library in libraries},
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": _describe(device or torch.device("cpu")),
    }


def _describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
