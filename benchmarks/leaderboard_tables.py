"""Leaderboard of methods at equal SSIM, from results/deployments/: a table and a figure.

Every method spends the same SSIM with the same shape, and stays within epsilon 16; FLIP, MS-SSIM and PSNR, which no
budget bounds, say what else it costs. `default` is listed with its own shape, beside texture, too.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from assets import FIGURES
from deployment_tables import METHODS, DeploymentCell, all_cells
from markup import short_name, table
from paired import difference_at_flip, paired_difference

from onlymymodel.data.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FIGURES / "leaderboard.svg"
TEAM = "mobilenet_v2"
BOUNDS = ("0.98", "0.95", "0.9")  # of SSIM, from the least visible
MARKERS = "ovD^"


def budgets(bound: str) -> tuple[str, str]:
    """Return the even budget of an SSIM bound, and that beside texture."""
    return f"ssim-{bound}-even", f"ssim-{bound}"


def leaderboard() -> str:
    """Return every method at each bound: visibility, cost, what is kept, and what judges read; "" without cells."""
    head = [
        "SSIM at least", "method", "photos", "SSIM", "FLIP", "MS-SSIM", "PSNR", "passes", "CPU s", "kept: least",
        "judges read: mean", "worst judge", "less `default`",
        "at equal FLIP",
    ]  # fmt: skip
    rows, by_bound = [], cells_by_bound()
    levels = {  # `default` at each bound
        bound: cell
        for bound, cells in by_bound.items()
        for cell in cells
        if (cell.method, cell.budget) == ("default", budgets(bound)[0])
    }
    for bound, cells in by_bound.items():
        rows += [_row(cell, bound, levels) for cell in cells]
    return table(head, rows) if rows else ""


def cells_by_bound() -> dict[str, list[DeploymentCell]]:
    """Return the cells of each bound, those after which judges read least first."""
    of_team = [cell for cell in all_cells() if cell.team == TEAM]
    found = {}
    for bound in BOUNDS:
        even, texture = budgets(bound)
        cells = [cell for cell in of_team if cell.budget == even]
        if cells:  # alone, the shape of `default` is compared with nothing
            cells += [cell for cell in of_team if (cell.method, cell.budget) == ("default", texture)]
        found[bound] = sorted(cells, key=lambda cell: (cell.heldout_mean() or 0.0, METHODS.index(cell.method)))
    return found


def _row(cell: DeploymentCell, bound: str, levels: Mapping[str, DeploymentCell]) -> list[str]:
    """Return the line of a cell under a bound, compared with `default` at the levels of all bounds."""
    reference, others = levels.get(bound), list(levels.values())
    at_flip = None if cell in others or not others else difference_at_flip(cell, others)
    _, texture = budgets(bound)
    worst = max(cell.results.independent(), key=lambda row: row.score(cell.run.name).right)
    distortion = cell.run.distortion
    name, least = cell.least_of(cell.measured)
    return [
        bound,
        f"`{cell.method}`, beside texture" if cell.budget == texture else f"`{cell.method}`",
        str(len(cell.results.photos)),
        f"{cell.ssim:.3f}",
        f"{fmean(entry.flip for entry in distortion if entry.flip is not None):.3f}",
        f"{fmean(entry.ms_ssim for entry in distortion if entry.ms_ssim is not None):.3f}",
        f"{cell.psnr:.1f}",
        str(cell.passes),
        cell.cpu_seconds,
        f"{100 * (least.share or 0.0):.0f} % ({name})",
        cell.heldout(),
        f"{short_name(worst)} {worst.score(cell.run.name).right}",
        "-" if reference is None or cell is reference else paired_difference(cell, reference).describe(),
        "-" if at_flip is None else at_flip.describe(),
    ]


def draw(target: Path = FIGURE) -> None:
    """Draw what judges read over SSIM and over FLIP, a line for each method; same bytes for the same results."""
    from matplotlib import pyplot, rc_context

    lines: dict[str, list[DeploymentCell]] = {}
    for cells in cells_by_bound().values():
        for cell in cells:
            beside = "" if cell.budget.endswith("-even") else ", beside texture"
            lines.setdefault(f"{cell.method}{beside}", []).append(cell)
    if not lines:
        return
    with rc_context({"svg.hashsalt": "leaderboard", "svg.fonttype": "path", "font.size": 9.5}):
        figure, panels = pyplot.subplots(1, 2, figsize=(9.2, 3.8), sharey=True)
        for number, (name, line) in enumerate(
            sorted(lines.items(), key=lambda item: METHODS.index(item[0].split(",")[0]))
        ):
            style = _style(name, number)
            _plot(panels[0], [cell.ssim for cell in line], line, name, style)
            flips = [fmean(entry.flip or 0.0 for entry in cell.run.distortion) for cell in line]
            _plot(panels[1], flips, line, name, style)
        panels[0].set_xlabel("mean SSIM (less visible to the right)")
        panels[1].set_xlabel("mean FLIP (less visible to the left)")
        panels[0].set_ylabel("judges read, %")
        panels[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_ylim(bottom=-1)
        figure.tight_layout()
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    write_atomic(target, out.getvalue())


def _style(name: str, number: int) -> dict[str, Any]:
    """Return how a method is drawn: `default` thick and green, the others each with a color and a marker of its own."""
    if name.startswith("default"):
        return {"color": "#1a6b45", "linewidth": 2.2, "marker": "s" if "texture" in name else "o", "markersize": 5}
    return {
        "color": f"C{number % 10}",
        "linewidth": 1.0,
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
    }


def _plot(axes: "Axes", xs: list[float], line: list[DeploymentCell], name: str, style: dict[str, Any]) -> None:
    axes.plot(xs, [100 * (cell.heldout_mean() or 0.0) for cell in line], label=name, **style)
