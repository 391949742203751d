"""What a visible change buys: at equal bounds, held-out accuracy by the ways in which a budget may be spent.

    uv run python benchmarks/frontier.py --limit 32                 # resumable; one JSON a cell in results/frontier/
    uv run python benchmarks/frontier.py --images photos --limit 40
    uv run python benchmarks/frontier.py --bounds epsilon=8 --ways flat smooth
    uv run python benchmarks/frontier.py --bounds lpips=0.05 lpips=0.1 --lpips    # where AlexNet's weights are at hand

The team is mobilenet_v2 of transfer.py, the images too (nips2017 without rows 128-143, on which the shape was chosen
with mobilenet_v2 as the unknown model; here it is the authorized one). A bound such as ssim=0.95 holds for every photo,
under the cap of epsilon 16 that omm takes by default; epsilon=8 is the plain ball. All files are read as they were
written and after JPEG 75.
"""

import argparse
import json
import shlex
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import frontier_tables
import numpy as np
from assets import RESULTS, WORK, uri
from transfer import SETS, SETTINGS, TEAMS, fit_of, names_of, photos

from onlymymodel import Judge, load_black_box
from onlymymodel.cli import main as omm
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.labels import read_labels
from onlymymodel.data.manifest import Manifest
from onlymymodel.evaluate.channels import get_channels
from onlymymodel.evaluate.judgment import Evaluation, judge_folders
from onlymymodel.protect.folder import MANIFEST
from onlymymodel.runtime import configure, pick_device

TEAM = TEAMS["mobilenet_v2"]  # two of its held-out models count
BOUNDS = ("ssim=0.98", "ssim=0.95", "ssim=0.9")
WAYS = {"flat": [], "texture": ["--shape", "texture"], "color": ["--luma", "4"], "smooth": ["--smooth", "1"]}


@dataclass(frozen=True)
class Cell:
    """One budget on one set of images, spent in one of `WAYS`."""

    images: str
    bound: str
    way: str

    @property
    def name(self) -> str:
        """A path below results/frontier/ and the cache."""
        return f"{self.images}/{self.bound.replace('=', '-')}-{self.way}"

    @property
    def flags(self) -> list[str]:
        """Those of `omm protect`."""
        name, value = self.bound.split("=")
        return [f"--{name}", value, *WAYS[self.way]]


def main() -> None:
    """Run the cells that are asked for, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", choices=SETS, default="nips2017")
    parser.add_argument("--limit", type=int, default=144, metavar="N", help="the first N images; all by default")
    parser.add_argument("--bounds", nargs="+", default=BOUNDS, metavar="NAME=VALUE")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=("flat", "texture"), help="of spending each bound")
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    arguments = parser.parse_args()
    configure()
    if not arguments.draw:
        source = photos(arguments.images, arguments.limit, WORK / "frontier" / arguments.images / "originals")
        for bound in arguments.bounds:
            for way in arguments.ways:
                run(Cell(arguments.images, bound, way), source, arguments)
    frontier_tables.draw()


def run(cell: Cell, source: Path, arguments: argparse.Namespace) -> None:
    """Protect, or go on protecting, judge the written files and write one JSON."""
    out, fit = WORK / "frontier" / cell.name, fit_of(cell.name)
    surrogates = [uri(name, fit) for name in TEAM.surrogates]
    command = [
        "protect", str(source), "--authorized", uri(TEAM.authorized, fit), "--surrogate", *surrogates,
        "--labels", str(source / "labels.csv"), *cell.flags, *SETTINGS,
    ]  # fmt: skip
    code = omm([*command, "--device", arguments.device, "--out", str(out)])
    if code not in (0, 1):
        raise SystemExit(code)
    shown = shlex.join(["omm", *(word.replace(str(source), "SRC") for word in command), "--out", "DST"])
    device = pick_device(arguments.device)
    parts = (("authorized", (TEAM.authorized,)), ("surrogate", TEAM.surrogates), ("held-out", TEAM.heldout))
    judges = [
        Judge(role, load_black_box(uri(name, fit), device=device))  # type: ignore[arg-type]
        for role, names in parts
        for name in names
    ]
    evaluation = Evaluation(
        source,
        (out,),
        tuple(judges),
        labels=read_labels(source / "labels.csv", known=names_of(source), classes=None, n_classes=1000),
        channels=tuple(get_channels(["png", "jpeg75"])),
        lpips=arguments.lpips,
    )
    results = judge_folders(evaluation, out.with_name(f"{out.name}-judged"), command=shown, device=device)
    content: dict[str, Any] = {
        "cell": cell.name,
        "bound": cell.bound,
        "way": cell.way,
        "flip": {"mean": flip(source, out), "library": f"flip-evaluator {version('flip-evaluator')}, LDR"},
        **results.to_json(),
    }
    target = RESULTS / "frontier" / f"{cell.name}.json"
    write_atomic(target, (json.dumps(content, indent=None, ensure_ascii=False) + "\n").encode())
    found = frontier_tables.Point(target)
    print(f"{cell.name}: kept {found.kept:.3f}, held-out {found.heldout:.3f}, mean SSIM {found.ssim:.4f}")


def flip(source: Path, out: Path) -> float:
    """Mean over the photos of FLIP (Andersson et al., HPG 2020), which no budget bounds and which knows color; 0 is
    equal. Where nothing was written the original is what is left.
    """
    from flip_evaluator import evaluate

    found = []
    for name, record in Manifest(out / MANIFEST).by_source().items():
        written = source / name if record["output"] is None else out / record["output"]
        pixels = (decode(path.read_bytes()).pixels for path in (source / name, written))
        original, protected = (np.repeat(one, 3 // one.shape[2], axis=2).astype(np.float32) / 255 for one in pixels)
        found.append(float(evaluate(original, protected, "LDR")[1]))
    return round(fmean(found), 5)


if __name__ == "__main__":
    main()
