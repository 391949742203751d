"""Measure how runs grow: with the number of photos, and with the number of workers.

    python benchmarks/workers.py names
    python benchmarks/workers.py names --counts 1000 10000 --repeats 1
    python benchmarks/workers.py throughput
    python benchmarks/workers.py throughput --photos 12 --rounds 1 --bundled

`names`: what a run costs beside its photos. Folders of many names of one tiny portrait and their finished runs; each
step (scan, manifest, checksum, resume, status) runs in a process of its own with one thread. The exponent is the slope
of the logarithm of the CPU seconds beyond those of one photo, on the logarithm of the number of photos, by least
squares.

`throughput`: the same photos are protected by one process with one thread and by several such workers, in turn. The
rate is that between the first and the last batches, so that neither start nor end counts: the times are those at which
the files were written. Both need a machine that does nothing else.

Writes results/workers.json; each part replaces its own.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assets import RESULTS, ROOT, uri
from PIL import Image

from onlymymodel import Protector, configure
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.folder import scan
from onlymymodel.data.manifest import json_bytes
from onlymymodel.data.portraits import render
from onlymymodel.data.stores.store import LocalStore
from onlymymodel.protect.earlier_records import EarlierRecords
from onlymymodel.protect.folder_status import read_status
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.runtime import environment

FILE = RESULTS / "workers.json"
COUNTS, REPEATS = (1_000, 10_000, 100_000), 3
IN_A_FOLDER, TINY = 1_000, 32  # names, pixels
BUNDLED = ("zoo:identity-residual", "zoo:identity-plain", "zoo:identity-vit")
REAL = ("resnet50", "resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2")
IDENTITY, EMOTION, SEED = 3, 1, 9_000_003
SIDE, BATCH = 224, 2
MIB = 1 << 20


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    names = parts.add_parser("names")
    names.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    names.add_argument("--repeats", type=int, default=REPEATS)
    workers = parts.add_parser("throughput")
    workers.add_argument("--photos", type=int, default=12)
    workers.add_argument("--workers", type=int, default=2)
    workers.add_argument("--rounds", type=int, default=3)
    workers.add_argument("--steps", type=int, default=20, help="of the optimizer")
    workers.add_argument("--bundled", action="store_true", help="bundled models instead of ImageNet models")
    child = parts.add_parser("child")
    child.add_argument("step", choices=STEPS)
    child.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.part == "child":
        print(json.dumps(measure(arguments.step, arguments.folder)))
    elif arguments.part == "names":
        save("names", measure_names(arguments.counts, arguments.repeats))
    else:
        models = BUNDLED if arguments.bundled else tuple(map(uri, REAL))
        save("throughput", measure_throughput(models, arguments))


def save(part: str, content: dict[str, Any]) -> None:
    """Write a part of results/workers.json."""
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"schema": 1}
    found[part] = {
        "made_by": f"benchmarks/workers.py {' '.join(sys.argv[1:])}",
        **content,
        "environment": environment(),
    }
    write_atomic(FILE, json_bytes(found, indent=1))


# ---- names


def measure_names(counts: Sequence[int], repeats: int) -> dict[str, Any]:
    """Return what each step costs for each number of photos, and its exponent."""
    cells = []
    for count in (1, *counts):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            make_finished_run(folder, count)
            for step in STEPS:
                runs = [run_child(step, folder) for _ in range(repeats)]
                cells.append({"step": step, "photos": count, "runs": runs})
                print(step, count, runs, file=sys.stderr)
    return {"seed": SEED, "cells": cells, "exponents": {step: exponent(cells, step) for step in STEPS}}


def make_finished_run(folder: Path, count: int) -> None:
    """Make `photos` and its finished run `out`: one portrait under many names, whose results are therefore equal."""
    photos, out = folder / "photos", folder / "out"
    photos.mkdir()
    Image.fromarray(render(IDENTITY, EMOTION, SEED, TINY)).save(photos / "first.png")
    protector().protect_folder(photos, out)
    (record,) = PhotoManifest(out).load()
    if record.output is None:
        raise SystemExit(f"the portrait was not protected: {record.reason}")
    original, result = (photos / "first.png").read_bytes(), (out / record.output).read_bytes()
    (photos / "first.png").unlink()
    (out / record.output).unlink()
    with (out / MANIFEST).open("wb") as manifest:
        for index in range(count):
            name = f"{index // IN_A_FOLDER:04}/{index:07}.png"
            for root, data in ((photos, original), (out, result)):
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).write_bytes(data)
            manifest.write(json_bytes({**record.to_json(), "source": name, "output": name}))


def run_child(step: str, folder: Path) -> dict[str, float]:
    """Return what a step costs in a process of its own."""
    command = [sys.executable, __file__, "child", step, str(folder)]
    finished = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(finished.stdout)
    return found


def measure(step: str, folder: Path) -> dict[str, float]:
    """Return seconds, CPU seconds and the growth of the peak of memory, in MiB, of a step in this process."""
    configure()
    act = STEPS[step](folder)
    forget_peak()
    before, began, cpu = peak(), time.monotonic(), time.process_time()
    act()
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "mib": round((peak() - before) / MIB, 1),
    }


def peak() -> int:
    """Return the largest number of bytes that this process has had in memory since `forget_peak`.

    Not that of getrusage, which begins with what the parent had.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def forget_peak() -> None:
    """Begin to count anew (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def protector() -> Protector:
    """Return one with two bundled models."""
    authorized, surrogate, _ = BUNDLED
    return Protector(authorized=authorized, surrogates=[surrogate], device="cpu")


def _scan(folder: Path) -> Callable[[], object]:
    return lambda: scan(folder / "photos")


def _manifest(folder: Path) -> Callable[[], object]:
    """Read every line, as a run does when it starts, and look for superseded ones, as it does when it ends."""

    def read() -> None:
        EarlierRecords(LocalStore(folder / "out"))
        PhotoManifest(folder / "out").drop_superseded()

    return read


def _checksum(folder: Path) -> Callable[[], object]:
    """Read and hash all files again, which leaves the stamps of a run for the next step."""
    return _resume(folder, checksum=True)


def _resume(folder: Path, *, checksum: bool = False) -> Callable[[], object]:
    ready = protector()  # loaded before the time counts

    def resume() -> None:
        summary = ready.protect_folder(folder / "photos", folder / "out", checksum=checksum)
        if not summary.written:
            raise SystemExit("the run was not resumed")

    return resume


def _status(folder: Path) -> Callable[[], object]:
    return lambda: read_status(folder / "out", 3)


STEPS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "scan": _scan,
    "manifest": _manifest,
    "checksum": _checksum,
    "resume": _resume,
    "status": _status,
}


def exponent(cells: Sequence[dict[str, Any]], step: str) -> float | None:
    """Return the slope of log(CPU seconds beyond those of one photo) on log(photos); None for fewer than two counts."""
    medians = {
        cell["photos"]: statistics.median(run["cpu_seconds"] for run in cell["runs"])
        for cell in cells
        if cell["step"] == step
    }
    base = medians.pop(1)
    points = [(math.log(count), math.log(max(seconds - base, 1e-3))) for count, seconds in medians.items()]
    if len(points) < 2:
        return None
    return round(statistics.linear_regression(*zip(*points, strict=True)).slope, 3)


# ---- throughput


def measure_throughput(models: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of one process and of several, in turn.

    Args:
        models: URIs, the authorized one first.
        arguments: `photos`, `workers`, `rounds` and `steps`.
    """
    photos, workers, together = arguments.photos, arguments.workers, arguments.workers * BATCH
    if photos < 3 * together or photos % together:  # all workers end at the same time
        raise SystemExit(f"--photos must be a multiple of {together}, and {3 * together} at least")
    rates: dict[str, list[float]] = {"1": [], str(workers): []}
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "photos"
        source.mkdir()
        for index in range(photos):
            Image.fromarray(render(IDENTITY, EMOTION, SEED + index, SIDE)).save(source / f"{index:04}.png")
        for _ in range(arguments.rounds):
            for count, found in rates.items():
                out = Path(temporary) / "out"
                found.append(round(rate_of(source, out, models, int(count), arguments.steps), 5))
                shutil.rmtree(out)
                print(count, found[-1], "photos a second", file=sys.stderr)
    ratios = [many / one for one, many in zip(*rates.values(), strict=True)]
    return {
        "seed": SEED,
        "photos": photos,
        "side": SIDE,
        "batch_size": BATCH,
        "steps": arguments.steps,
        "models": [model.rpartition("/")[2] for model in models],
        "photos_per_second": rates,
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def rate_of(source: Path, out: Path, models: Sequence[str], workers: int, steps: int) -> float:
    """Return photos a second of `omm protect` between its first and its last batches."""
    authorized, *surrogates = models
    command = [
        sys.executable, "-m", "onlymymodel", "protect", str(source), "--out", str(out), "--authorized", authorized,
        "--surrogate", *surrogates, "--batch-size", str(BATCH), "--workers", str(workers), "--device", "cpu", "--quiet",
        "--steps", str(steps),
    ]  # fmt: skip
    finished = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, check=False
    )
    if finished.returncode not in (0, 1):  # 1: a photo is not protected, which takes as long
        raise SystemExit(f"omm protect failed: {finished.returncode}")
    times = sorted(path.stat().st_mtime for path in out.rglob("*.png"))
    # the first batch of each worker has started with the others; what is written after them was computed meanwhile
    first = workers * BATCH
    if len(times) <= first or times[-1] - times[first - 1] < 1:
        raise SystemExit("this was too quick to be timed, or too few files were written: give more --steps or --photos")
    return (len(times) - first) / (times[-1] - times[first - 1])


if __name__ == "__main__":
    main()
