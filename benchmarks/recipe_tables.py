"""Table of results/recipes/: variants of `default` on validation images, each compared with it on the same photos."""

import json
from collections.abc import Callable
from statistics import fmean
from typing import Any

import numpy as np
from assets import RESULTS
from markup import share, table
from paired import describe_interval, mean_with_interval
from recipes import BUDGETS, READ_THROUGH, TEAMS, VARIANTS

Measured = dict[str, Any]  # one JSON of benchmarks/recipes.py


def settings() -> str:
    """Return every variant by budget and authorized model: what the unknown model reads, and what is kept."""
    head = [
        "budget", "authorized", "variant", "photos", "log-probability: as written", "less `default`",
        "processed", "less `default`", "read", "kept", "SSIM", "FLIP", "CPU s",
    ]  # fmt: skip
    rows = []
    for budget in BUDGETS:
        for team in TEAMS:
            measured = {name: read(team, name, budget) for name in VARIANTS}
            default = measured["default"]
            rows += [_row(content, default) for content in measured.values() if content and default]
    return table(head, rows)


def read(team: str, variant: str, budget: str) -> Measured | None:
    """Return what was measured of a variant, if it was."""
    path = RESULTS / "recipes" / f"{team}-{variant}-{budget}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _row(measured: Measured, default: Measured) -> list[str]:
    """Return the line of a variant."""
    photos = measured["photos"]
    answers = [answer for photo in photos for answer in photo["unknown"].values()]
    kept = [after > 0 for photo in photos for before, after in photo["margins"].values() if before > 0]
    columns = []
    for log_probability in (as_written, processed):
        columns.append(f"{fmean(map(log_probability, photos)):.2f}")
        columns.append("-" if measured is default else _difference(measured, default, log_probability))
    return [
        measured["budget"],
        measured["team"],
        flags(measured["variant"]),
        str(len(photos)),
        *columns,
        f"{sum(answer['read'] for answer in answers)} of {len(answers)}",
        share(sum(kept), len(kept)),
        f"{fmean(photo['ssim'] for photo in photos):.3f}",
        f"{fmean(photo['flip'] for photo in photos):.3f}",
        f"{measured['cpu_seconds_per_photo']:.1f}",
    ]


def flags(variant: str) -> str:
    """Return a variant as flags of `omm protect`."""
    changes = VARIANTS[variant]
    if not changes:  # a recipe by its name
        return f"`{variant}`"
    words = []
    for name, value in changes.items():
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else (str(value),))]
    return f"`{' '.join(words)}`"


def as_written(photo: Measured) -> float:
    """Return the unknown model's log-probability of the label of a photo as written."""
    return float(photo["unknown"][READ_THROUGH[0]]["log_probability"])


def processed(photo: Measured) -> float:
    """Return the mean log-probability over the deployments that process the file first."""
    return fmean(photo["unknown"][name]["log_probability"] for name in READ_THROUGH[1:])


def _difference(measured: Measured, default: Measured, log_probability: Callable[[Measured], float]) -> str:
    """Return the mean difference from `default` over the photos of both, with its interval."""
    of_default = {photo["photo"]: log_probability(photo) for photo in default["photos"]}
    common = [photo for photo in measured["photos"] if photo["photo"] in of_default]
    differences = np.array([log_probability(photo) - of_default[photo["photo"]] for photo in common])
    return describe_interval(*mean_with_interval(differences), digits=2)
