"""Tables of results/workers.json, and an example of the cost model."""

import json
import statistics
from typing import Any

from assets import RESULTS
from markup import table

EXAMPLE = 100_000  # photos


def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / "workers.json").read_text(encoding="utf-8"))
    return content


def names() -> str:
    """Return what a run costs beside its photos, by the number of names."""
    part = _content()["names"]
    counts = sorted({cell["photos"] for cell in part["cells"]} - {1})
    cells = {(cell["step"], cell["photos"]): cell["runs"] for cell in part["cells"]}
    rows = []
    for step, exponent in part["exponents"].items():
        row = [step]
        for count in counts:
            runs = cells[step, count]
            row.append(f"{_range(runs, 'cpu_seconds')} s, {statistics.median(run['mib'] for run in runs):.0f} MiB")
        rows.append([*row, "-" if exponent is None else f"{exponent:.2f}"])
    return table(["step", *(f"{count:,} photos" for count in counts), "exponent"], rows)


def throughput() -> str:
    """Return photos a minute of one process and of several."""
    part = _content().get("throughput")
    if part is None:
        return "Not measured for this version.\n"
    rates = part["photos_per_second"]
    rows = [
        [count, f"{60 * statistics.median(found):.2f} ({60 * min(found):.2f} to {60 * max(found):.2f})"]
        for count, found in rates.items()
    ]
    ratios = part["ratios"]
    gain = f"{statistics.median(ratios):.2f} times as many ({min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)})"
    return (
        table(["workers", "photos a minute: median (least to most)"], rows) + f"\n{list(rates)[-1]} workers: {gain}.\n"
    )


def cost() -> str:
    """Return the cost model with the figures of one measured pair of recipe and models."""
    recorded = json.loads((RESULTS / "recipe_cost.json").read_text(encoding="utf-8"))
    rows = []
    for cell in recorded["cells"]:
        authorized = cell["authorized"].partition(":")[2].partition(".")[0]
        for recipe, seconds in cell["seconds"].items():
            mean = statistics.fmean(seconds)
            hours = mean * EXAMPLE / 3600
            models = f"{authorized}, {len(cell['surrogates'])} stand-ins"
            rows.append([f"`{recipe}`", models, f"{mean:.1f} (n = {len(seconds)})", f"{hours:,.0f}", f"{hours:,.0f} P"])
    head = ["recipe", "models", "core-seconds a photo", f"core-hours for {EXAMPLE:,} photos", "cost"]
    return table(head, rows)


def _range(runs: list[dict[str, float]], key: str) -> str:
    values = [run[key] for run in runs]
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"
