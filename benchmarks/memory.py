"""Measure the memory that a photo takes, from its file to the checked file, by its size.

    python benchmarks/memory.py
    python benchmarks/memory.py --megapixels 24

Each photo is protected in a process of its own, by the default settings and the bundled models, with one thread. Its
peak is the process's as a whole (ru_maxrss), libraries and models included; `estimated_bytes` is what `--memory` and
`--dry-run` expect. The photo is a rendered portrait on a plain background, enlarged, with noise as a camera has it, as
JPEG. Sizes that are measured replace those in results/memory.json; the others stay.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from assets import RESULTS, ROOT
from PIL import Image

from onlymymodel import Protector, configure
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import probe
from onlymymodel.data.portraits import render
from onlymymodel.runtime import environment

MEGAPIXELS = (1, 12, 24, 50, 100)
FILE = RESULTS / "memory.json"
MODELS: dict[str, Any] = {
    "authorized": "zoo:identity-residual",
    "surrogates": ("zoo:identity-plain", "zoo:identity-vit"),
}
IDENTITY, EMOTION, SEED = 3, 1, 9_000_003
NOISE = 6  # 8-bit levels
ROWS = 256  # worked on at once


def main() -> None:
    """Measure each size, and write results/memory.json after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, nargs="+", default=MEGAPIXELS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--protect", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make is not None:
        make_photo(arguments.make, *arguments.megapixels)
    elif arguments.protect is not None:
        print(json.dumps(protect(arguments.protect)))
    else:
        for megapixels in arguments.megapixels:
            with tempfile.TemporaryDirectory() as folder:
                photo = Path(folder) / "photo.jpg"
                # in a process of its own: the peak of a process begins with what its parent takes
                run("--make", photo, "--megapixels", str(megapixels))
                store(megapixels, json.loads(run("--protect", photo)))


def run(*words: str | Path) -> str:
    """Run this program in another process; return what it prints."""
    command = [sys.executable, __file__, *words]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def make_photo(path: Path, megapixels: int) -> None:
    """Write a JPEG of at most so many million pixels, three to two."""
    width = int((megapixels * 1_500_000) ** 0.5)
    height = megapixels * 1_000_000 // width
    portrait = Image.fromarray(render(IDENTITY, EMOTION, SEED, 512))
    picture = Image.new("RGB", (width, height), portrait.getpixel((2, 2)))
    picture.paste(portrait.resize((height, height), Image.Resampling.BICUBIC), ((width - height) // 2, 0))
    pixels, random = np.array(picture), np.random.default_rng(0)
    for top in range(0, height, ROWS):
        rows = pixels[top : top + ROWS]
        noise = random.integers(-NOISE, NOISE + 1, rows.shape, dtype=np.int16)
        rows[:] = (rows + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def protect(photo: Path) -> dict[str, Any]:
    """Protect a photo in this process, and return what it took."""
    configure()
    protector = Protector(**MODELS, memory="100%", device="cpu")
    header, started = probe(photo), time.perf_counter()
    result = protector.protect(photo)
    return {
        "width": header.width,
        "height": header.height,
        "status": result.record.status,
        "reason": result.record.reason,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "before_bytes": protector.limits.resident,
        "estimated_bytes": protector.limits.need(header, protector.context),
        "seconds": round(time.perf_counter() - started),
        "models": {
            model.card.uri: model.card.sha256 for model in (protector.context.authorized, *protector.context.surrogates)
        },
        "environment": environment(protector.context.device),
    }


def store(megapixels: int, measured: dict[str, Any]) -> None:
    """Put a size into results/memory.json."""
    shared = {name: measured.pop(name) for name in ("models", "environment")}
    content = json.loads(FILE.read_bytes()) if FILE.exists() else {"photos": {}}
    photos = {**content["photos"], str(megapixels): measured}
    ordered = {size: photos[size] for size in sorted(photos, key=int)}
    made = {"schema": 1, "made_by": "benchmarks/memory.py", "seed": SEED, **shared, "photos": ordered}
    write_atomic(FILE, (json.dumps(made, indent=1) + "\n").encode())
    print(f"{megapixels} megapixels: {measured['peak_bytes'] / 2**30:.2f} GiB, {measured['status']}", flush=True)


if __name__ == "__main__":
    main()
