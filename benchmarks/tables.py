"""Write the figures of README.md and results/README.md from the JSON in results/, between their markers.

uv run python benchmarks/tables.py           # write
uv run python benchmarks/tables.py --check   # exit 1 where a page says something else
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import audit_tables
import face_tables
import frontier_tables
from assets import RESULTS, ROOT
from markup import share, short, table

from onlymymodel.evaluate.results import CLEAN, Results, Row, read_results, wilson

PAGES = (ROOT / "README.md", RESULTS / "README.md")
RECIPES = ("default", "robust", "ens", "fmd")  # first in a table; peers follow
TEAMS = ("resnet50", "vit_tiny", "mobilenet_v2")


def main() -> int:
    """Write or check; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    differing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        made = rewrite(text)
        if made != text:
            differing.append(page.name)
            if not arguments.check:
                page.write_text(made, encoding="utf-8")
    if arguments.check:
        print(
            f"differ: {', '.join(differing)}; run benchmarks/tables.py"
            if differing
            else "all pages are as results/ says"
        )
        return int(bool(differing))
    return 0


def rewrite(text: str) -> str:
    """The text with every marked part made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda found, make=make: found[1] + make() + found[2], text)  # type: ignore[misc]
    return text


class Cell:
    """One JSON of benchmarks/transfer.py: a team, a recipe and a budget."""

    def __init__(self, path: Path) -> None:
        self.results: Results = read_results(path)
        (self.run,) = self.results.runs
        self.team = path.stem.rsplit("-", 2)[0]

    @property
    def epsilon(self) -> float:
        """In 1/255."""
        return self.run.epsilon or 0.0

    def kept(self, channel: str = "png") -> str:
        """Of the photos that the authorized model read when clean, those it still reads."""
        score = self.results.authorized.score(self.run.name, channel)
        return share(score.still_right, score.readable)

    def heldout(self, version: str | None = None, channel: str = "png") -> str:
        """Mean of the independent held-out models."""
        mean = self.results.heldout_mean(version or self.run.name, channel)
        return "-" if mean is None else f"{100 * mean:.1f} %"

    def mean(self, rows: Sequence[Row]) -> str:
        """Mean share that some models read."""
        return f"{100 * fmean(row.score(self.run.name).share for row in rows):.1f} %" if rows else "-"


def cells(images: str) -> list[Cell]:
    """All cells of a set of images: by team, the largest budget first, then by recipe."""
    found = [Cell(path) for path in (RESULTS / "transfer" / images).glob("*.json")]
    order = [*RECIPES, *sorted({cell.run.recipe for cell in found} - set(RECIPES))]
    return sorted(found, key=lambda cell: (cell.team, -cell.epsilon, order.index(cell.run.recipe)))


def transfer() -> str:
    """For each authorized model and budget: what it keeps under `default`, and what held-out models read, by recipe."""
    found = [cell for cell in cells("nips2017") if cell.team in TEAMS]
    recipes = list(dict.fromkeys(cell.run.recipe for cell in found if cell.run.recipe != "robust"))
    recipes.sort(key=lambda name: RECIPES.index(name) if name in RECIPES else len(RECIPES))
    head = ["authorized", "epsilon", "kept by `default`", "held-out: clean", *(f"`{recipe}`" for recipe in recipes)]
    rows = []
    for team in TEAMS:
        for epsilon in sorted({cell.epsilon for cell in found if cell.team == team}, reverse=True):
            here = {cell.run.recipe: cell for cell in found if (cell.team, cell.epsilon) == (team, epsilon)}
            if "default" in here:
                main_cell = here["default"]
                shares = [here[recipe].heldout() if recipe in here else "-" for recipe in recipes]
                rows.append([team, f"{epsilon:g}", main_cell.kept(), main_cell.heldout(CLEAN), *shares])
    return table(head, rows)


def few() -> str:
    """What so few images leave open."""
    counts = sorted({len(cell.results.photos) for cell in cells("nips2017")})
    if not counts:
        return ""
    _, high = wilson(0, counts[0])
    many, one = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))), 100 / counts[0]
    return (
        f"These are {many} of 144 images; one photo is {one:.1f} % of a model's figure, and where none was read, up to "
        f"{100 * high:.1f} % may be (Wilson, 95 %, for one model).\n"
    )


def details(images: str) -> str:
    """Every cell with every model; `*` marks a held-out model that enters no mean."""
    lines = []
    for cell in cells(images):
        run = cell.run.name
        others = [f"{short(row)}{'*' if row.remark else ''} {counted(row, run)}" for row in cell.results.of("held-out")]
        seen = [f"{short(row)} {counted(row, run)}" for row in cell.results.of("surrogate")]
        protected = f"{cell.run.statuses.get('protected', 0)} of {len(cell.results.photos)}"
        psnr = fmean(distortion.psnr for distortion in cell.run.distortion if distortion.psnr is not None)
        ssim = fmean(distortion.ssim for distortion in cell.run.distortion)
        lines.append(
            [
                cell.team, f"{cell.epsilon:g}", f"`{cell.run.recipe}`", protected, cell.kept(),
                "; ".join(others), cell.heldout(), "; ".join(seen), f"{psnr:.1f}", f"{ssim:.3f}",
            ]
        )  # fmt: skip
    head = [
        "team", "epsilon", "recipe", "protected", "authorized kept", "held-out read", "their mean", "surrogates read",
        "PSNR", "SSIM",
    ]  # fmt: skip
    return table(head, lines)


def channels() -> str:
    """Authorized kept and held-out mean after each channel, for the cells that were asked."""
    found = [cell for cell in cells("nips2017") if len(cell.results.channels) > 1]
    if not found:
        return ""
    head = ["channel", "held-out, clean"]
    head += [f"`{cell.run.recipe}` at {cell.epsilon:g}: authorized kept, held-out" for cell in found]
    rows = [
        [
            channel,
            found[0].heldout(CLEAN, channel),
            *(f"{cell.kept(channel)}, {cell.heldout(None, channel)}" for cell in found),
        ]
        for channel in found[0].results.channels
    ]
    return table(head, rows)


def peers() -> str:
    """Every method with and without the authorized constraint."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS / "peers").glob("*.json")]
    methods: dict[str, dict[bool, dict[str, Any]]] = {}
    for content in found:
        methods.setdefault(content["method"], {})[content["constrained"]] = content
    both = {name: pair for name, pair in methods.items() if len(pair) == 2}
    count = " to ".join(sorted({str(content["photos"]) for pair in both.values() for content in pair.values()}))
    ordered = sorted(both.items(), key=lambda item: item[1][True]["unknown_log_probability"])
    rows = []
    for name, pair in ordered:
        cols = [f"`{name}`", str(pair[True]["passes"])]
        for constrained in (True, False):
            content = pair[constrained]
            authorized = content["right"][next(iter(content["right"]))]
            unknown = f"{content['unknown_right']} ({content['unknown_log_probability']:.2f})"
            cols += [f"{authorized}", unknown]
        rows.append([*cols, f"{pair[True]['cpu_seconds_per_photo']:.1f} s"])
    head = [
        "method", "passes", f"constrained: authorized reads, of {count}", "unknown model reads (mean log-probability)",
        "free: authorized reads", "unknown model reads (mean log-probability)", "CPU time a photo",
    ]  # fmt: skip
    return table(head, rows)


def counted(row: Row, run: str) -> str:
    """How many photos a model reads."""
    return str(row.score(run).right)


def overhead() -> str:
    """The overhead of a step, as a sentence."""
    content = json.loads((RESULTS / "overhead.json").read_text(encoding="utf-8"))
    ratio = content["ratio_of_medians"]
    return f"A whole step takes {ratio:.2f} times the bare forward and backward passes of its models.\n"


TABLES: dict[str, Callable[[], str]] = {
    "transfer": transfer,
    "few": few,
    "transfer-details": lambda: details("nips2017"),
    "channels": channels,
    "peers": peers,
    "overhead": overhead,
    "frontier-nips2017": lambda: frontier_tables.frontier("nips2017"),
    "frontier-photos": lambda: frontier_tables.frontier("photos"),
    "audit-gradients": audit_tables.gradients,
    "audit-protected": audit_tables.protected_gradients,
    "audit-layers": audit_tables.layers,
    "audit-epochs": audit_tables.epochs,
    "audit-weights": audit_tables.weights,
    "audit-representations": audit_tables.representations,
    "faces-identity": lambda: table(*face_tables.identity()),
    "faces-emotion": lambda: table(*face_tables.emotion()),
    "faces-emotion-not-identity": lambda: table(*face_tables.emotion_not_identity()),
    "faces-identity-not-emotion": lambda: table(*face_tables.identity_not_emotion()),
    "faces-details": lambda: table(*face_tables.details()),
}

if __name__ == "__main__":
    raise SystemExit(main())
