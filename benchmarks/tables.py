"""Write the figures of the pages from the JSON in results/, between their markers, and results/datapackage.json.

python benchmarks/tables.py           # write
python benchmarks/tables.py --check   # exit 1 where a page differs
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adaptive_tables
import audit_claims
import audit_tables
import data_package
import deployment_tables
import face_tables
import leaderboard_tables
import party_tables
import recipe_tables
import worker_tables
from assets import RESULTS, ROOT
from markup import marked_name, share, short_name, table
from measured import MeasuredRun, current_name

from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN
from onlymymodel.evaluate.score import wilson

PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "measured.md",
    ROOT / "docs" / "parties.md",
    ROOT / "docs" / "guide" / "audits.md",
    ROOT / "docs" / "guide" / "protect.md",
    ROOT / "docs" / "tutorials" / "cluster.md",
    RESULTS / "README.md",
)
RECIPES = ("default", "exact", "robust", "ens", "fmd")  # first in a table; peers follow
TEAMS = ("resnet50", "vit_tiny", "mobilenet_v2")


def main() -> int:
    """Write or check; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if RESULTS != ROOT / "results":
        raise SystemExit("the pages of the repository are made from its own results/: unset OMM_ASSETS")
    made = {page: rewrite(page.read_text(encoding="utf-8")) for page in PAGES}
    made[data_package.PACKAGE] = data_package.data_package()
    differing = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if not arguments.check:
        for path in differing:
            path.write_text(made[path], encoding="utf-8")
    if arguments.check:
        print(
            f"differ: {', '.join(path.name for path in differing)}; run benchmarks/tables.py"
            if differing
            else "all pages agree with results/"
        )
        return int(bool(differing))
    return 0


def rewrite(text: str) -> str:
    """Return the text with every marked part regenerated."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, make=make: match[1] + make() + match[2], text)  # type: ignore[misc]
    return text


class TransferCell(MeasuredRun):
    """One JSON of benchmarks/transfer.py: a team, a recipe and a budget."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.team = path.stem.rsplit("-", 2)[0]

    def kept(self, channel: str = AS_WRITTEN) -> str:
        """Return the share of the photos read by the authorized model when clean, after the channel, that it keeps."""
        score = self.authorized_score(channel)
        return share(score.still_right, score.readable)

    def heldout(self, version: str | None = None, channel: str = AS_WRITTEN) -> str:
        """Return the mean share that the independent judges read."""
        mean = self.heldout_mean(version, channel)
        return "-" if mean is None else f"{100 * mean:.1f} %"


def cells(images: str) -> list[TransferCell]:
    """Return all cells of a set of images: by team, then from the largest budget, then by recipe."""
    measured = [TransferCell(path) for path in (RESULTS / "transfer" / images).glob("*.json")]
    order = [*RECIPES, *sorted({cell.recipe for cell in measured} - set(RECIPES))]
    return sorted(measured, key=lambda cell: (cell.team, -cell.epsilon, order.index(cell.recipe)))


def transfer() -> str:
    """Return, for each authorized model and budget, the share kept by `exact` and the held-out means by recipe."""
    main_cells = [cell for cell in cells("nips2017") if cell.team in TEAMS]
    recipes = list(dict.fromkeys(cell.recipe for cell in main_cells if cell.recipe != "robust"))
    recipes.sort(key=lambda name: RECIPES.index(name) if name in RECIPES else len(RECIPES))
    head = ["authorized", "epsilon", "kept by `exact`", "judges: clean", *(f"`{recipe}`" for recipe in recipes)]
    rows = []
    for team in TEAMS:
        for epsilon in sorted({cell.epsilon for cell in main_cells if cell.team == team}, reverse=True):
            by_recipe = {cell.recipe: cell for cell in main_cells if (cell.team, cell.epsilon) == (team, epsilon)}
            if "exact" in by_recipe:
                exact = by_recipe["exact"]
                shares = [by_recipe[recipe].heldout() if recipe in by_recipe else "-" for recipe in recipes]
                rows.append([team, f"{epsilon:g}", exact.kept(), exact.heldout(CLEAN), *shares])
    return table(head, rows)


def few() -> str:
    """Return the uncertainty of so few images, as a sentence."""
    counts = sorted({len(cell.results.photos) for cell in cells("nips2017")})
    if not counts:
        return ""
    _, high = wilson(0, counts[0])
    count = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return (
        f"These figures are from {count} of 144 images: one photo is {100 / counts[0]:.1f} % of a model's share, and a "
        f"share of 0 % is compatible with up to {100 * high:.1f} % (Wilson, 95 %, for one model).\n"
    )


def details(images: str) -> str:
    """Return a table of every cell with every model; `*` marks a held-out model that is excluded from the mean."""
    lines = []
    for cell in cells(images):
        heldout = [f"{marked_name(row)} {cell.right(row)}" for row in cell.results.rows_of("held-out")]
        surrogates = [f"{short_name(row)} {cell.right(row)}" for row in cell.results.rows_of("surrogate")]
        lines.append(
            [
                cell.team, f"{cell.epsilon:g}", f"`{cell.recipe}`", cell.protected, cell.kept(),
                "; ".join(heldout), cell.heldout(), "; ".join(surrogates), f"{cell.psnr:.1f}", f"{cell.ssim:.3f}",
            ]
        )  # fmt: skip
    head = [
        "team", "epsilon", "recipe", "protected", "authorized kept", "judges read", "their mean", "stand-ins read",
        "PSNR", "SSIM",
    ]  # fmt: skip
    return table(head, lines)


def channels() -> str:
    """Return the authorized share kept and the held-out mean after each channel, for cells with several channels."""
    several = [cell for cell in cells("nips2017") if len(cell.results.channels) > 1]
    if not several:
        return ""
    head = ["channel", "judges, clean"]
    head += [f"`{cell.recipe}` at {cell.epsilon:g}: authorized kept, judges" for cell in several]
    rows = [
        [
            channel,
            several[0].heldout(CLEAN, channel),
            *(f"{cell.kept(channel)}, {cell.heldout(None, channel)}" for cell in several),
        ]
        for channel in several[0].results.channels
    ]
    return table(head, rows)


def peers() -> str:
    """Return a table of every method with and without the authorized constraint."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS / "peers").glob("*.json")]
    methods: dict[str, dict[bool, dict[str, Any]]] = {}
    for content in contents:
        methods.setdefault(current_name(content["recipe"]), {})[content["constrained"]] = content
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


def overhead() -> str:
    """Return the cost of a step and of a photo, as two sentences."""
    content = json.loads((RESULTS / "overhead.json").read_text(encoding="utf-8"))
    cells = json.loads((RESULTS / "recipe_cost.json").read_text(encoding="utf-8"))["cells"]
    ratios = [
        f"{cell['ratio_of_sums']:.2f} ({Path(cell['authorized'].partition(':')[2].partition('?')[0]).stem} authorized)"
        for cell in cells
    ]
    return (
        f"A whole step takes {content['ratio_of_medians']:.2f} times the bare forward and backward passes of its "
        "models, the guard's looks included. "
        f"A photo takes `default` {' and '.join(ratios)} times the CPU time of `exact`.\n"
    )


def installation() -> str:
    """Return the size of an installation on each platform, as a sentence."""
    sizes = json.loads((RESULTS / "front_door.json").read_text(encoding="utf-8"))["installed_bytes"]
    linux, *others = (f"{size / 1e9:.1f} GB on {platform}" for platform, size in sizes.items())
    return f"It takes {linux}, where PyTorch comes with CUDA, and {' and '.join(others)}, where it does not.\n"


def memory() -> str:
    """Return the peak memory of photos by their size."""
    photos = json.loads((RESULTS / "memory.json").read_text(encoding="utf-8"))["photos"]
    rows = [
        [
            f"{megapixels} megapixels",
            *(f"{photo[name] / (1 << 30):.2f} GiB" for name in ("before_bytes", "peak_bytes", "estimated_bytes")),
        ]
        for megapixels, photo in photos.items()
    ]
    return table(["photo", "before the photo", "peak", "expected"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "installation": installation,
    "memory": memory,
    "transfer": transfer,
    "few": few,
    "headline": deployment_tables.headline,
    "deployments": deployment_tables.deployments,
    "paired": deployment_tables.paired,
    "leaderboard": leaderboard_tables.leaderboard,
    "transfer-details": lambda: details("nips2017"),
    "channels": channels,
    "peers": peers,
    "overhead": overhead,
    "audit-gradients": audit_tables.gradients,
    "audit-predictors": audit_tables.predictors,
    "audit-claims": audit_claims.claims,
    "audit-protected": audit_tables.protected_gradients,
    "audit-layers": audit_tables.layers,
    "audit-networks": audit_tables.networks,
    "audit-epochs": audit_tables.epochs,
    "audit-weights": audit_tables.weights,
    "audit-whole-weights": audit_tables.whole_weights,
    "audit-representations": audit_tables.representations,
    "faces-identity": lambda: table(*face_tables.identity()),
    "faces-emotion": lambda: table(*face_tables.emotion()),
    "faces-emotion-not-identity": lambda: table(*face_tables.emotion_not_identity()),
    "faces-identity-not-emotion": lambda: table(*face_tables.identity_not_emotion()),
    "faces-deployed": lambda: table(*face_tables.deployed()),
    "adaptive": adaptive_tables.adaptive,
    "parties": party_tables.parties,
    "recipe-settings": recipe_tables.settings,
    "workers-names": worker_tables.names,
    "workers-throughput": worker_tables.throughput,
    "workers-cost": worker_tables.cost,
    "sources": data_package.sources,
    "commands": data_package.commands,
    "faces-details": lambda: table(*face_tables.details()),
}

if __name__ == "__main__":
    raise SystemExit(main())
