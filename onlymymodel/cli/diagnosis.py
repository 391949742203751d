"""Checks of the installation for `omm doctor`. Each imports what it checks, so that a broken library is a finding."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Literal

from onlymymodel.errors import UserError, first_line, number_of
from onlymymodel.version import __version__

State = Literal["ok", "absent", "warning", "broken"]
GIB = 1 << 30
LITTLE_MEMORY, LITTLE_DISK = 4 * GIB, GIB
# package and module of each dependency that has to be there
LIBRARIES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "kornia": "kornia",
    "numpy": "numpy",
    "pillow": "PIL",
    "matplotlib": "matplotlib",
    "safetensors": "safetensors",
}
# modules of each extra
EXTRAS = {
    "onnx": ("onnx", "onnxruntime", "onnx2torch"),
    "clip": ("open_clip",),
    "lpips": ("lpips",),
    "audit": ("sklearn",),
    "app": ("starlette", "uvicorn"),
    "dp": ("opacus",),
    "heif": ("pillow_heif",),
    "parquet": ("pyarrow",),
    "rekognition": ("boto3",),
    "s3": ("s3fs",),
    "gcs": ("gcsfs",),
    "sign": ("cryptography",),
    "ray": ("ray",),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: of the thing.
        state: `absent` for an extra that is not installed.
        text: what was found, and what to do about it.
    """

    name: str
    state: State
    text: str


def diagnose(device: str = "auto") -> Iterator[Finding]:
    """Yield what is found, one thing after the other.

    Args:
        device: name of the device on which the photo is protected.
    """
    yield Finding("onlymymodel", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package, module in LIBRARIES.items():
        yield _checked(package, partial(_library, package, module))
    yield _checked("device", partial(_device, device))
    yield _memory()
    yield _checked("temporary folder", _temporary_folder)
    for name, folder in cache_folders().items():
        yield _checked(name, partial(_cache, name, folder))
    for extra, modules in EXTRAS.items():
        yield _extra(extra, modules)
    yield _checked("one photo", partial(_photo, device))


def cache_folders() -> dict[str, Path]:
    """Return the folders in which weights are kept, whether or not they exist."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    torch_home = Path(os.environ.get("TORCH_HOME", home / "torch")).expanduser()
    hub_home = Path(os.environ.get("HF_HOME", home / "huggingface")).expanduser()
    return {
        "weights of torchvision": torch_home / "hub",
        "weights of timm": Path(os.environ.get("HF_HUB_CACHE", hub_home / "hub")).expanduser(),
    }


def _checked(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever a broken library raises is what was asked for
        return Finding(name, "broken", f"{type(error).__name__}: {first_line(error)}")


def _library(package: str, module: str) -> Finding:
    try:
        import_module(module)
        return Finding(package, "ok", version(package))
    except (ModuleNotFoundError, PackageNotFoundError):
        return Finding(package, "broken", f"not installed: pip install {package}")


def _extra(extra: str, modules: tuple[str, ...]) -> Finding:
    name, found = f"extra {extra}", []
    for module in modules:
        try:
            found.append(f"{module} {getattr(import_module(module), '__version__', '')}".strip())
        except ModuleNotFoundError as error:
            if error.name != module:
                return Finding(name, "broken", f"{module} cannot be imported: {first_line(error)}")
            return Finding(name, "absent", f"pip install 'onlymymodel[{extra}]'")
        except Exception as error:  # noqa: BLE001 - as above
            return Finding(name, "broken", f"{module} cannot be imported: {first_line(error)}")
    return Finding(name, "ok", ", ".join(found))


def _device(name: str) -> Finding:
    import torch

    from onlymymodel.runtime import pick_device

    try:
        device = pick_device(name)
    except UserError as error:
        return Finding("device", "broken", f"{error}; --device cpu works everywhere")
    if device.type == "cuda":
        used = torch.cuda.get_device_properties(device)
        return Finding("device", "ok", f"{device}: {used.name}, {used.total_memory / GIB:.0f} GiB")
    cores = number_of(os.cpu_count() or 1, "core")
    return Finding("device", "ok", f"{device}, {cores}, {number_of(torch.get_num_threads(), 'thread')}")


def _memory() -> Finding:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), _available() or page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # Windows has no sysconf
        return Finding("memory", "ok", "not known on this system")
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB available"
    if free < LITTLE_MEMORY:
        return Finding("memory", "warning", f"{text}: large photos and models may not fit; --batch-size 1 needs least")
    return Finding("memory", "ok", text)


def _available() -> int:
    """Return the bytes that programs can still get, caches included; 0 where Linux does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return sizes[0] if sizes else 0


def _temporary_folder() -> Finding:
    place = tempfile.gettempdir()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(b"x")
    free = shutil.disk_usage(place).free
    text = f"{place} can be written, {free / GIB:.1f} GiB free"
    return Finding("temporary folder", "warning" if free < LITTLE_DISK else "ok", text)


def _cache(name: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(name, "warning", f"{folder} cannot be written: weights cannot be downloaded")
    if not folder.exists():
        return Finding(name, "ok", f"{folder}, empty")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return Finding(name, "ok", f"{folder}, {size / GIB:.2f} GiB")


def _photo(device: str) -> Finding:
    """Protect one rendered portrait with bundled models, and decode what was written."""
    import io

    import numpy as np
    from PIL import Image

    from onlymymodel.data.image_io import decode
    from onlymymodel.data.portraits import render
    from onlymymodel.protect.attack.recipe import make_recipe
    from onlymymodel.protect.budget.budget import Budget
    from onlymymodel.protect.photo import protect_bytes
    from onlymymodel.runtime import configure, pick_device
    from onlymymodel.settings import RunSettings

    configure()
    began, picture = monotonic(), io.BytesIO()
    pixels = render(0, 0, 1, 96)
    Image.fromarray(pixels).save(picture, "PNG")
    settings = RunSettings(
        "zoo:identity-residual", ("zoo:identity-plain",), (), Budget(16 / 255), make_recipe("exact", steps=10)
    )
    context, _ = settings.load(device=pick_device(device))
    data, record = protect_bytes(picture.getvalue(), label=None, context=context)
    if data is None or np.array_equal(decode(data).pixels, pixels):
        return Finding("one photo", "broken", f"{record.status}: {record.reason}")
    return Finding("one photo", "ok", f"{record.status} in {monotonic() - began:.1f} s on {context.device}")
