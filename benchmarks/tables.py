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
from markup import table
from measured import current_name

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
    "headline": deployment_tables.headline,
    "deployments": deployment_tables.deployments,
    "paired": deployment_tables.paired,
    "leaderboard": leaderboard_tables.leaderboard,
    "convolutions": deployment_tables.convolutions,
    "deployments-details": deployment_tables.details,
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
