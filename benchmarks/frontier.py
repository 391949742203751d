"""Protection against visibility: held-out accuracy at equal bounds, by the distribution of the change.

    python benchmarks/frontier.py --limit 32               # resumable; a JSON for each cell in results/frontier/
    python benchmarks/frontier.py --images photos --limit 40
    python benchmarks/frontier.py --bounds epsilon=8 --ways flat smooth
    python benchmarks/frontier.py --bounds lpips=0.05 lpips=0.1 --lpips    # needs AlexNet's weights

The team is mobilenet_v2 of transfer.py, the images too (nips2017 without rows 128-143, on which the shape was chosen
with mobilenet_v2 as the unknown model; here it is the authorized one). A bound such as ssim=0.95 holds for every photo,
under the cap of epsilon 16 that omm takes by default; epsilon=8 is the plain ball. All files are evaluated as they
were written and after JPEG 75.
"""

import argparse
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import frontier_tables
import numpy as np
from assets import RESULTS, WORK, uri
from runs import evaluate, load_judges, protect, public_command, write_json
from transfer import SETS, TEAMS, fit_of, labels_of, photos

from onlymymodel import load_black_box
from onlymymodel.data.image_io import decode
from onlymymodel.evaluate.channels import get_channels
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.runtime import configure, pick_device

TEAM = TEAMS["mobilenet_v2"]  # two of its held-out models are independent
BOUNDS = ("ssim=0.98", "ssim=0.95", "ssim=0.9")
EVEN = ["--shape", "even"]
MODES = {
    "flat": EVEN,
    "texture": ["--shape", "texture"],
    "color": [*EVEN, "--luma", "4"],
    "smooth": [*EVEN, "--smooth", "1"],
}


@dataclass(frozen=True)
class Cell:
    """One bound on one set of images, in one of `MODES` of distributing the change."""

    images: str
    bound: str
    mode: str

    @property
    def name(self) -> str:
        """Path below results/frontier/ and the cache."""
        return f"{self.images}/{self.bound.replace('=', '-')}-{self.mode}"

    @property
    def flags(self) -> list[str]:
        """Flags of `omm protect`."""
        name, value = self.bound.split("=")
        return [f"--{name}", value, *MODES[self.mode]]


def main() -> None:
    """Run the requested cells, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", choices=SETS, default="nips2017")
    parser.add_argument("--limit", type=int, default=144, metavar="N", help="the first N images; all by default")
    parser.add_argument("--bounds", nargs="+", default=BOUNDS, metavar="NAME=VALUE")
    parser.add_argument(
        "--ways", nargs="+", choices=MODES, default=("flat", "texture"), help="of distributing the change"
    )
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--draw", action="store_true", help="only draw existing results")
    arguments = parser.parse_args()
    configure()
    if not arguments.draw:
        source = photos(arguments.images, arguments.limit, WORK / "frontier" / arguments.images / "originals")
        for bound in arguments.bounds:
            for mode in arguments.ways:
                run(Cell(arguments.images, bound, mode), source, arguments)
    frontier_tables.draw()


def run(cell: Cell, source: Path, arguments: argparse.Namespace) -> None:
    """Protect or resume, evaluate the written files and write one JSON."""
    out, fit = WORK / "frontier" / cell.name, fit_of(cell.name)
    surrogates = [uri(name, fit) for name in TEAM.surrogates]
    command = [
        "protect", str(source), "--authorized", uri(TEAM.authorized, fit), "--surrogate", *surrogates,
        "--labels", str(source / "labels.csv"), *cell.flags,
    ]  # fmt: skip
    protect(command, arguments.device, out)
    device = pick_device(arguments.device)
    results = evaluate(
        source,
        out,
        load_judges(TEAM, lambda name: load_black_box(uri(name, fit), device=device)),
        labels=labels_of(source),
        command=public_command(command, source),
        device=device,
        channels=get_channels(("png", "jpeg75")),
        lpips=arguments.lpips,
    )
    content: dict[str, Any] = {
        "cell": cell.name,
        "bound": cell.bound,
        "way": cell.mode,
        "flip": {"mean": flip(source, out), "library": f"flip-evaluator {version('flip-evaluator')}, LDR"},
        **results_to_json(results),
    }
    target = RESULTS / "frontier" / f"{cell.name}.json"
    write_json(target, content)
    point = frontier_tables.FrontierCell(target)
    print(f"{cell.name}: kept {point.kept:.3f}, held-out {point.heldout:.3f}, mean SSIM {point.ssim:.4f}")


def flip(source: Path, out: Path) -> float:
    """Return the mean FLIP (Andersson et al., HPG 2020) over the photos; 0 is equal.

    No budget bounds it, and it takes color into account. A photo that was not written counts as its original.
    """
    from flip_evaluator import evaluate as measure_flip

    values = []
    for name, record in PhotoManifest(out).by_source().items():
        written = source / name if record.output is None else out / record.output
        pixels = (decode(path.read_bytes()).pixels for path in (source / name, written))
        original, protected = (
            np.repeat(image, 3 // image.shape[2], axis=2).astype(np.float32) / 255 for image in pixels
        )
        values.append(float(measure_flip(original, protected, "LDR")[1]))
    return round(fmean(values), 5)


if __name__ == "__main__":
    main()
