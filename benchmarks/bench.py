"""Run the benchmarks that results/ holds, with public models and images or with those that results/ was made with.

    python benchmarks/bench.py                               # every benchmark: what it needs, how long it takes
    python benchmarks/bench.py prepare ASSETS --nips2017 DOWNLOADED
    python benchmarks/bench.py deployments --assets ASSETS   # resumable; results in ASSETS/results/
    python benchmarks/bench.py compare --assets ASSETS       # beside those of the repository

A benchmark can be stopped and continued. Without --assets it uses ../shared/assets, and writes to results/.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

from assets import ASSETS, ROOT
from measured import MeasuredRun, current_name
from public_assets import INSTRUCTIONS, prepare

WIDTH = 88
ON_DEVICE = ("deployments", "adaptive", "faces", "parties")  # the others run on the CPU


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, as results/ has it.

    Attributes:
        measures: what is measured, for the list.
        runs: the arguments of each call of its script that its results are of.
        needs: keys of `public_assets.INSTRUCTIONS`; empty where everything is made by the repository.
        folder: below results/, of its cells; "" where they are no protected folders.
    """

    measures: str
    runs: tuple[str, ...]
    needs: tuple[str, ...] = ("images", "models")
    folder: str = ""


BENCHMARKS = {
    "deployments": Benchmark(
        "what the authorized model keeps through 27 deployments",
        (
            "--limit 48 --recipes default exact bsr ens fmd",
            "--limit 48 --recipes default --budgets 4 ssim-0.95",
            "--limit 48 --teams convolutions --recipes default",
            "--limit 144 --teams mobilenet_v2 --recipes default --budgets ssim-0.95-even",
            "--limit 48 --teams mobilenet_v2 --recipes bsr si --budgets ssim-0.95-even",
            "--limit 48 --teams mobilenet_v2 --recipes mef --budgets ssim-0.98-even ssim-0.95-even ssim-0.9-even",
            "--limit 48 --teams mobilenet_v2 --recipes default --budgets ssim-0.98-even ssim-0.9-even",
            "--limit 16 --teams mobilenet_v2 --recipes exact bsr --budgets ssim-0.98-even ssim-0.9-even",
            "--limit 16 --teams mobilenet_v2 --recipes exact bsr_gradient --budgets ssim-0.95-even",
            "--limit 16 --teams mobilenet_v2 --recipes ens di svre ops decowa nrdm fmd fmd_published "
            "--budgets ssim-0.98-even ssim-0.95-even ssim-0.9-even",
        ),
        folder="deployments/nips2017",
    ),
    "adaptive": Benchmark("parties that clean the files or learn from them", ("--limit 16",), folder="adaptive"),
    "peers": Benchmark("published methods in our loop", ("--limit 8",)),
    "recipes": Benchmark(
        "settings of the recipe default, on validation images",
        (
            "--limit 12 --variants default exact looks-2 looks-4 kappa-0.3 kappa-2 three-views",
            "--limit 12 --variants default sign --budgets ssim-0.95-even",
        ),
    ),
    "overhead": Benchmark("the cost of a step", ("", "--folding", "--compile", "--recipes")),
    "memory": Benchmark("the memory that photos of 1 to 100 megapixels take", ("",), needs=()),
    "faces": Benchmark("people and expressions on whole photos", ("",), needs=("faces",), folder="faces"),
    "parties": Benchmark(
        "parties of several kinds on whole photos", ("--limit 40",), needs=("faces",), folder="parties"
    ),
    "audits": Benchmark("what gradients, layers, weights and representations give away", ("",), needs=()),
    "train_zoo": Benchmark("training of the bundled models, which it replaces", ("",), needs=()),
    "train_purifier": Benchmark("training of the bundled purifier, which it replaces", ("",), needs=()),
}


def main() -> int:
    """List, prepare, run or compare; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="list", choices=["list", "prepare", "compare", *BENCHMARKS])
    parser.add_argument("folder", nargs="?", type=Path, metavar="ASSETS", help="with prepare: the folder to write")
    parser.add_argument("--nips2017", type=Path, metavar="DOWNLOADED", help="with prepare: see the list")
    parser.add_argument("--assets", type=Path, default=None, metavar="ASSETS", help="a folder that prepare wrote")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    if arguments.name == "list":
        print(listing())
    elif arguments.name == "prepare":
        if arguments.folder is None or arguments.nips2017 is None:
            parser.error("prepare takes the folder to write, and --nips2017 DOWNLOADED")
        print(prepare(arguments.folder, arguments.nips2017))
    elif arguments.name == "compare":
        print(comparison((arguments.assets or ASSETS) / "results"))
    else:
        return run(arguments.name, arguments.assets, arguments.device)
    return 0


def listing() -> str:
    """Return every benchmark with what it needs and how long it takes, and how to get what it needs."""
    lines = []
    for name, benchmark in BENCHMARKS.items():
        time = hours(name)
        needs = f"needs {' and '.join(benchmark.needs)}" if benchmark.needs else "needs no files"
        about = f"about {time:.1f} h" if time else "its time is not recorded"
        lines += [f"{name:15} {benchmark.measures}", f"{'':15} {needs}; {about}"]
    hint = (
        "Hours are of one CPU core, for as many photos as results/ has, as recorded there (results/recipe_cost.json, "
        "results/peers/ and the seconds of each cell, audit and training); judging the files comes on top."
    )
    how = [f"{name}: {text}" for name, text in INSTRUCTIONS.items()]
    return "\n".join([*lines, *(f"\n{fill(text, WIDTH)}" for text in (hint, *how))])


def hours(name: str) -> float:
    """Return about how many hours one CPU core takes for what results/ has of a benchmark; 0 where it has no record."""
    results = ROOT / "results"
    if name in ("peers", "recipes"):
        cells = _read(results.glob(f"{name}/*.json"))
        return sum(float(cell["cpu_seconds_per_photo"]) * _number_of_photos(cell) for cell in cells) / 3600
    if name.startswith("train_") or name == "audits":
        recorded = results.glob("audits/*.json" if name == "audits" else f"{name.removeprefix('train_')}.json")
        return sum(map(_seconds_within, _read(recorded))) / 3600
    return sum(map(_seconds_of_a_cell, _read(results.glob(f"{BENCHMARKS[name].folder or '-'}/*.json")))) / 3600


def _number_of_photos(cell: dict[str, Any]) -> int:
    """Return how many photos a cell is of; it has their number or a list of them."""
    photos = cell["photos"]
    return len(photos) if isinstance(photos, list) else int(photos)


def _seconds_of_a_cell(cell: dict[str, Any]) -> float:
    """Return the CPU seconds that a cell recorded for its photos; an estimate by its recipe where it has none."""
    cost, photos = cell.get("cost", {}), len(cell["photos"])
    if cost.get("photos"):
        return float(photos * cost["cpu_seconds"] / cost["photos"])
    ((_, settings),) = cell["settings"].items()
    return photos * seconds_of_a_photo(current_name(settings["recipe"]))


def seconds_of_a_photo(recipe: str) -> float:
    """Return the CPU seconds that were measured for a photo; those of `default` where none were."""
    (cost,) = _read([ROOT / "results" / "recipe_cost.json"])
    if recipe in cost["cells"][0]["seconds"]:
        return fmean(value for cell in cost["cells"] for value in cell["seconds"][recipe])
    measured = ROOT / "results" / "peers" / f"{recipe}-constrained.json"
    return (
        float(next(_read([measured]))["cpu_seconds_per_photo"]) if measured.exists() else seconds_of_a_photo("default")
    )


def _seconds_within(content: Any) -> float:
    """Return the sum of all `seconds` in a record."""
    if isinstance(content, dict):
        return float(content.get("seconds", 0)) + sum(map(_seconds_within, content.values()))
    return sum(map(_seconds_within, content)) if isinstance(content, list) else 0.0


def _read(paths: Iterable[Path]) -> Iterator[Any]:
    return (json.loads(path.read_text(encoding="utf-8")) for path in paths)


def run(name: str, assets: Path | None, device: str) -> int:
    """Run all calls of a benchmark's script; returns the first exit code that is not 0."""
    environment = dict(os.environ) if assets is None else {**os.environ, "OMM_ASSETS": str(assets)}
    chosen = ASSETS if assets is None else assets
    benchmark = BENCHMARKS[name]
    if benchmark.needs and not (chosen / "models.json").is_file():
        missing = f"{name} needs {' and '.join(benchmark.needs)}, and there is no {chosen / 'models.json'}"
        needed = [f"{need}: {INSTRUCTIONS[need]}" for need in benchmark.needs]
        print("\n\n".join(fill(text, WIDTH) for text in (missing, *needed)), file=sys.stderr)
        return 2
    on_device = ("--device", device) if name in ON_DEVICE else ()
    for flags in benchmark.runs:
        words = [*flags.split(), *on_device]
        print("python", f"benchmarks/{name}.py", *words, flush=True)
        command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words]
        if code := subprocess.run(command, env=environment, check=False).returncode:
            return code
    return 0


def comparison(other: Path) -> str:
    """Return the cells that a folder of results and the repository's both have, side by side."""
    lines = [f"{'cell':44} {'kept':>15} {'held-out read':>15} {'SSIM':>13}   here, then results/"]
    for path in sorted(other.glob("*/nips2017/*.json")):
        recorded = ROOT / "results" / path.relative_to(other)
        if not recorded.exists() or "authorized" in path.parts:
            continue
        pairs = [MeasuredRun(each) for each in (path, recorded)]
        kept = " ".join(f"{_share(cell.authorized_score().kept):>7}" for cell in pairs)
        read = " ".join(f"{_share(cell.heldout_mean()):>7}" for cell in pairs)
        ssim = " ".join(f"{cell.ssim:6.3f}" for cell in pairs)
        lines.append(f"{path.relative_to(other).with_suffix('').as_posix():44} {kept} {read} {ssim}")
    return "\n".join(lines) if len(lines) > 1 else f"{other} has no cell that results/ has"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
