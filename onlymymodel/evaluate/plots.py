"""Plots of an evaluation as SVG text: the same bytes for the same input, letters as outlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from onlymymodel.evaluate.drawing import (
    AUTHORIZED,
    HELDOUT,
    LINE,
    QUIET,
    legend_name,
    plot_settings,
    stacked_panels,
    to_svg,
    use_percent_axis,
)
from onlymymodel.evaluate.results import CLEAN, Results, Row, Run
from onlymymodel.evaluate.score import Score
from onlymymodel.evaluate.tables import summary_shares
from onlymymodel.evaluate.text import percent_or_none

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS = 48  # of the names of all channels, side by side
DODGE = 0.012  # of the width, between neighbors whose intervals would cover each other


@dataclass(frozen=True)
class LineStyle:
    """Style of a model's line; roles differ in line and marker, not in color alone."""

    color: str
    line: str
    marker: str
    filled: bool
    width: float


def accuracy_by_epsilon(results: Results) -> str | None:
    """Return SVG: the share that each model reads right by the budget, clean at 0, with Wilson 95 % intervals.

    One panel for each recipe, one below the other. None where the runs have fewer than two known budgets.
    """
    recipes = _recipes(results)
    if len({run.epsilon for runs in recipes.values() for run in runs}) < 2:
        return None
    with plot_settings():
        figure, panels = _percent_panels(results, len(recipes))
        ticks = sorted({0.0, *(run.epsilon or 0.0 for runs in recipes.values() for run in runs)})
        panels[-1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        for axes, (recipe, runs) in zip(panels, recipes.items(), strict=True):
            budgets = [0.0, *(run.epsilon or 0.0 for run in runs)]
            if len(recipes) > 1:
                axes.set_title(legend_name(recipe or "recipe not known"), loc="left", color=QUIET, fontsize=9.5)
            versions = [CLEAN, *(run.name for run in runs)]
            scores = [[row.score(version) for version in versions] for row in results.photo_rows]
            _draw_models(axes, results, budgets, scores, ticks[-1])
        panels[-1].set_xlabel("largest allowed change, in 1/255 (0: clean)", color=QUIET)
        return to_svg(figure, panels[-1])


def accuracy_by_channel(results: Results, run: str) -> str | None:
    """Return SVG: the share that each model reads right of a run through each channel, with Wilson 95 % intervals.

    None where there is only one channel.
    """
    if len(results.channels) < 2:
        return None
    with plot_settings():
        slanted = len(results.channels) * max(map(len, results.channels)) > LETTERS
        figure, (axes,) = _percent_panels(results, 1, below=0.85 if slanted else 0.25)
        positions = [float(index) for index in range(len(results.channels))]
        axes.set_xticks(positions, [legend_name(name, 12) for name in results.channels])
        if slanted:
            axes.tick_params(axis="x", labelrotation=45)
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_xlim(-0.5, positions[-1] + 0.5)
        for position in positions[::2]:
            axes.axvspan(position - 0.5, position + 0.5, color=LINE, alpha=0.35, linewidth=0)
        scores = [[row.score(run, channel) for channel in results.channels] for row in results.photo_rows]
        # spread within the width of a channel, whatever the number of channels
        _draw_models(axes, results, positions, scores, 0.75 / DODGE / max(6, len(results.photo_rows)), joined=False)
        return to_svg(figure, axes)


def describe_accuracy_by_epsilon(results: Results) -> str:
    """Return the content of `accuracy_by_epsilon` in words, as its alternative text."""
    parts = []
    for recipe, runs in _recipes(results).items():
        versions = [CLEAN, *(run.name for run in runs)]
        budgets = ["0", *(f"{run.epsilon:g}" for run in runs)]
        sentence = _describe(results, versions, "png", [f"at {budget}/255" for budget in budgets])
        parts.append(f"{recipe}: {sentence}" if recipe and len(_recipes(results)) > 1 else sentence)
    return "Share read right by the largest allowed change. " + " ".join(parts)


def describe_accuracy_by_channel(results: Results, run: str) -> str:
    """Return the content of `accuracy_by_channel` in words, as its alternative text."""
    by_channel = [_describe(results, [run], channel, [f"through {channel}"]) for channel in results.channels]
    return f"Share read right of {run} by channel. " + " ".join(by_channel)


def _describe(results: Results, versions: Sequence[str], channel: str, conditions: Sequence[str]) -> str:
    parts = []
    for name, shares in summary_shares(results, versions, channel):
        values = [f"{percent_or_none(share)} {condition}" for share, condition in zip(shares, conditions, strict=True)]
        parts.append(f"{name}: {', '.join(values)}")
    return "; ".join(parts).capitalize() + "."


def _recipes(results: Results) -> dict[str, list[Run]]:
    """Return the runs with a recorded budget by recipe, in the order of the budget."""
    ordered = sorted((run for run in results.runs if run.epsilon is not None), key=lambda run: run.epsilon or 0.0)
    names = dict.fromkeys(run.recipe for run in results.runs if run.epsilon is not None)
    return {name: [run for run in ordered if run.recipe == name] for name in names}


def _line_styles(rows: Sequence[Row]) -> list[LineStyle]:
    colors, markers, open_markers = cycle(HELDOUT), cycle("^DvPX<>*"), cycle("sdph8")
    styles = []
    for row in rows:
        if row.role == "authorized":
            styles.append(LineStyle(AUTHORIZED, "-", "o", True, 2.2))
        elif row.role == "surrogate":
            styles.append(LineStyle(QUIET, "--", next(open_markers), False, 1.0))
        else:
            line = ":" if row.exclusion else "-"
            styles.append(LineStyle(next(colors), line, next(markers), not row.exclusion, 1.3))
    return styles


def _draw_models(
    axes: "Axes",
    results: Results,
    positions: Sequence[float],
    scores: Sequence[Sequence[Score]],
    span: float,
    *,
    joined: bool = True,
) -> None:
    """Draw one line for each model, shifted a little so that the intervals do not overlap."""
    for index, (row, style, by_position) in enumerate(
        zip(results.photo_rows, _line_styles(results.photo_rows), scores, strict=True)
    ):
        shift = (index - (len(results.photo_rows) - 1) / 2) * DODGE * span
        shifted, shares = [position + shift for position in positions], [score.share for score in by_position]
        lows, highs = zip(*(score.interval for score in by_position), strict=True)
        axes.vlines(shifted, lows, highs, color=style.color, linewidth=style.width, alpha=0.4)
        axes.plot(
            shifted,
            shares,
            color=style.color,
            linestyle=style.line if joined else "none",
            linewidth=style.width,
            marker=style.marker,
            markersize=5.5,
            markerfacecolor=style.color if style.filled else "none",
            label=f"{legend_name(row.model)} ({row.role}{', not counted' if row.exclusion else ''})",
            zorder=3 if row.role == "authorized" else 2,
        )


def _percent_panels(results: Results, count: int, below: float = 0.4) -> tuple["Figure", list["Axes"]]:
    figure, panels = stacked_panels(count, len(results.photo_rows), below=below)
    for panel in panels:
        use_percent_axis(panel)
    return figure, panels
