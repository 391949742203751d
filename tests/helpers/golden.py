"""Runs of `omm protect` with pinned bytes. `python tests/helpers/golden.py` writes `golden.json` again.

A change of structure must not change one byte that is written. The hashes hold on one kind of machine and one set of
libraries only, which `golden.json` names: sums in floating point depend on both.
"""

import csv
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from paths import ASSETS, ROOT
from PIL import Image

from onlymymodel.data.portraits import render

GOLDEN = ROOT / "tests" / "golden.json"
LIBRARIES = ("torch", "torchvision", "kornia", "numpy", "pillow", "onnx2torch", "facenet-pytorch")

ZOO = [
    "--authorized", "zoo:identity-residual", "--surrogate", "zoo:identity-plain", "zoo:identity-vit",
]  # fmt: skip
IMAGENET = "?task=imagenet&crop_pct=0.875&interpolation=bilinear"
REAL = [
    "--authorized", f"onnx:{ASSETS}/imagenet/models/mobilenet_v2.onnx{IMAGENET}",
    "--surrogate",
    f"checkpoint:{ASSETS}/imagenet/models/resnet18.safetensors?arch=torchvision:resnet18",
    f"checkpoint:{ASSETS}/imagenet/models/squeezenet1_1.safetensors?arch=torchvision:squeezenet1_1",
]  # fmt: skip
FACES = [
    "--authorized",
    f"onnx:{ASSETS}/faces/identity/edgeface_xs.onnx?task=identity&fit=align&gallery=gallery&threshold=0.3",
    "--surrogate",
    f"onnx:{ASSETS}/faces/identity/mobilefacenet_casia.onnx?task=identity&fit=align&gallery=gallery&threshold=0.3",
]
EVEN = ["--epsilon", "8", "--shape", "even"]
# how each folder of photos is protected; the flags after the photos and the models
CASES: dict[str, tuple[str, list[str], list[str]]] = {
    "portraits-default": ("portraits", ZOO, ["--recipe", "default", *EVEN, "--steps", "8", "--kappa", "0.2"]),
    "portraits-exact": ("portraits", ZOO, ["--recipe", "exact", *EVEN, "--steps", "8", "--kappa", "0.2"]),
    "portraits-robust": ("portraits", ZOO, ["--recipe", "robust", *EVEN, "--steps", "8", "--kappa", "0.2"]),
    "portraits-face": ("portraits", ZOO, ["--recipe", "face", *EVEN, "--steps", "8"]),
    "portraits-fmd": ("portraits", ZOO, ["--recipe", "fmd", "--steps", "12", "--kappa", "0.2"]),
    "portraits-texture": (
        "portraits",
        ZOO,
        ["--recipe", "exact", "--ssim", "0.97", "--shape", "texture", "--steps", "5"],
    ),
    "portraits-luma": (
        "portraits",
        ZOO,
        ["--recipe", "exact", "--luma", "3", "--epsilon", "12", "--shape", "even", "--steps", "5", "--format", "webp"],
    ),
    "portraits-small": (
        "portraits",
        ZOO,
        ["--recipe", "exact", "--working-size", "64", "--psnr", "34", "--shape", "even", "--steps", "5"],
    ),
    "portraits-toward": (
        "portraits",
        ZOO,
        ["--recipe", "exact", *EVEN, "--toward", "1", "--steps", "5", "--smooth", "1"],
    ),
    "portraits-svre": ("portraits", ZOO, ["--recipe", "svre", "--steps", "2"]),
    "portraits-tap": ("portraits", ZOO, ["--recipe", "tap", "--steps", "3"]),
    "photos-default": ("photos", REAL, ["--recipe", "default", *EVEN, "--steps", "6"]),
    "photos-exact": ("photos", REAL, ["--recipe", "exact", *EVEN, "--steps", "6"]),
    "photos-robust": ("photos", REAL, ["--recipe", "robust", *EVEN, "--steps", "4"]),
    "photos-fmd": ("photos", REAL, ["--recipe", "fmd", "--steps", "4"]),
    "faces-face": ("faces", FACES, ["--recipe", "face", *EVEN, "--steps", "4", "--region", "face"]),
}


def environment() -> dict[str, str]:
    """Return what the bytes depend on besides the code."""
    return {
        "processor": _processor(),
        "arithmetic": _arithmetic(),
        **{library: version(library) for library in LIBRARIES},
    }


def _processor() -> str:
    """Return a hash of the processor's kind: whole networks differ between kinds whose arithmetic below is the same."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else [platform.processor()]
    kinds = ("vendor_id", "cpu family", "model", "stepping", "cache size", "flags")
    return _sha256("\n".join(sorted({line for line in lines if line.startswith(kinds)})).encode())[:16]


def _arithmetic() -> str:
    """Return a hash of what this machine computes: processors of one instruction set may round differently."""
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand(2, 3, 96, 96, generator=generator, requires_grad=True)
    crop = F.interpolate(photo, size=(64, 64), mode="bicubic", antialias=True)
    features = F.conv2d(crop, torch.rand(32, 3, 3, 3, generator=generator), stride=2).relu()
    scores = features.flatten(1) @ torch.rand(features[0].numel(), 10, generator=generator)
    (gradient,) = torch.autograd.grad(scores.log_softmax(1)[:, 0].sum(), photo)
    return _sha256(scores.detach().numpy().tobytes() + gradient.numpy().tobytes())[:16]


def is_real(case: str) -> bool:
    """Return whether a case needs the pretrained models and photos of the assets."""
    return not case.startswith("portraits")


def run(case: str, folder: Path) -> dict[str, str]:
    """Protect the photos of a case in a new folder; returns the SHA-256 of each file and of the manifest's lines."""
    photos, models, flags = CASES[case]
    MAKERS[photos](folder)
    command = [sys.executable, "-m", "onlymymodel", "protect", "photos", "--out", "out", *models, *flags]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    finished = subprocess.run(
        [*command, "--quiet", "--device", "cpu"], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert finished.returncode in (0, 1), finished.stderr
    out = folder / "out"
    hashes = {
        path.name: _sha256(path.read_bytes()) for path in sorted(out.iterdir()) if path.suffix in (".png", ".webp")
    }
    hashes["manifest"] = _sha256(_manifest(out / "manifest.jsonl").encode())
    hashes["settings"] = json.loads((out / "run.json").read_bytes())["settings_sha256"]
    return hashes


def _manifest(path: Path) -> str:
    """The lines, without the seconds that each photo took."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return json.dumps(
        [{key: value for key, value in line.items() if key != "seconds"} for line in lines], sort_keys=True
    )


def _portraits(folder: Path) -> None:
    (folder / "photos").mkdir()
    for index in (0, 3):
        image = Image.fromarray(render(index, index, 9_000_000 + index, 96))
        image.save(folder / "photos" / f"{index}.png")


def _nips(folder: Path) -> None:
    (folder / "photos").mkdir()
    with (ASSETS / "imagenet" / "nips2017" / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in list(csv.DictReader(file))[:2]:
            shutil.copy(ASSETS / "imagenet" / "nips2017" / row["file"], folder / "photos")


def _faces(folder: Path) -> None:
    (folder / "photos").mkdir()
    people = sorted(path for path in (ASSETS / "faces" / "lfw_identity").iterdir() if path.is_dir())[:3]
    for person in people:
        (folder / "gallery" / person.name).mkdir(parents=True)
        first, *others = sorted(person.iterdir())
        shutil.copy(others[0], folder / "gallery" / person.name)
        if person == people[0]:
            shutil.copy(first, folder / "photos")
    two = [Image.open(sorted(person.iterdir())[0]) for person in people[1:]]
    both = Image.new("RGB", (500, 250))
    for place, photo in enumerate(two):
        both.paste(photo, (250 * place, 0))
    both.save(folder / "photos" / "two.png")


MAKERS: dict[str, Callable[[Path], None]] = {"portraits": _portraits, "photos": _nips, "faces": _faces}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    """Write `golden.json`."""
    hashes = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            hashes[case] = run(case, Path(folder))
        print(case, hashes[case], flush=True)
    GOLDEN.write_text(json.dumps({"environment": environment(), "hashes": hashes}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
