"""An evaluation as plots: SVG text, the same bytes for the same input, letters as outlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from onlymymodel.evaluate.drawing import (
    AUTHORIZED,
    HELDOUT,
    INK,
    LEGEND_LINE,
    LINE,
    PANEL,
    QUIET,
    WIDTH,
    calm,
    drawable,
    in_shares,
    settings,
    short,
    svg,
)
from onlymymodel.evaluate.results import CLEAN, Results, Row, Run, Score
from onlymymodel.evaluate.tables import percent, summaries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS = 48  # of the names of all channels, side by side
DODGE = 0.012  # of the width, between neighbors whose intervals would cover each other
# the same plot for a dark page: `on_dark` puts these in the place of those above
DARK = {
    INK: "#ebe7e0",
    QUIET: "#a8a197",
    LINE: "#38352f",
    AUTHORIZED: "#7fce9f",
    **dict(zip(HELDOUT, ("#7fb2e5", "#c9a0e0", "#e8a27f", "#6fcaca", "#d6bb72", "#ec93b6"), strict=True)),
}


@dataclass(frozen=True)
class Style:
    """How a model's line looks; roles differ in line and marker, not in color alone."""

    color: str
    line: str
    marker: str
    filled: bool
    width: float


def accuracy_by_epsilon(results: Results) -> str | None:
    """SVG: the share that each model reads right by the budget, clean at 0, with Wilson 95 % intervals.

    One panel for each recipe, one below the other. None where the runs have fewer than two known budgets.
    """
    recipes = _recipes(results)
    if len({run.epsilon for runs in recipes.values() for run in runs}) < 2:
        return None
    with settings():
        figure, panels = _figure(results, len(recipes))
        ticks = sorted({0.0, *(run.epsilon or 0.0 for runs in recipes.values() for run in runs)})
        panels[-1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        for axes, (recipe, runs) in zip(panels, recipes.items(), strict=True):
            budgets = [0.0, *(run.epsilon or 0.0 for run in runs)]
            if len(recipes) > 1:
                axes.set_title(drawable(short(recipe or "recipe not known")), loc="left", color=QUIET, fontsize=9.5)
            names = [CLEAN, *(run.name for run in runs)]
            _lines(axes, results, budgets, [[row.score(name) for name in names] for row in results.rows], ticks[-1])
        panels[-1].set_xlabel("largest allowed change, in 1/255 (0: clean)", color=QUIET)
        return svg(figure, panels[-1])


def accuracy_by_channel(results: Results, run: str) -> str | None:
    """SVG: the share that each model reads right of a run through each channel, with Wilson 95 % intervals.

    None where there is only one channel.
    """
    if len(results.channels) < 2:
        return None
    with settings():
        slanted = len(results.channels) * max(map(len, results.channels)) > LETTERS
        figure, (axes,) = _figure(results, 1, below=0.85 if slanted else 0.25)
        places = [float(place) for place in range(len(results.channels))]
        axes.set_xticks(places, [drawable(short(name, 12)) for name in results.channels])
        if slanted:
            axes.tick_params(axis="x", labelrotation=45)
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_xlim(-0.5, places[-1] + 0.5)
        for place in places[::2]:
            axes.axvspan(place - 0.5, place + 0.5, color=LINE, alpha=0.35, linewidth=0)
        scores = [[row.score(run, channel) for channel in results.channels] for row in results.rows]
        # spread within the place of its channel, whatever the number of channels
        _lines(axes, results, places, scores, 0.75 / DODGE / max(6, len(results.rows)), joined=False)
        return svg(figure, axes)


def on_dark(svg: str) -> str:
    """The plot in colors for a dark page."""
    for light, dark in DARK.items():
        svg = svg.replace(light, dark)
    return svg


def told_by_epsilon(results: Results) -> str:
    """What `accuracy_by_epsilon` shows, for those who do not see it."""
    parts = []
    for recipe, runs in _recipes(results).items():
        names = [CLEAN, *(run.name for run in runs)]
        budgets = ["0", *(f"{run.epsilon:g}" for run in runs)]
        told = _told(results, names, "png", [f"at {budget}/255" for budget in budgets])
        parts.append(f"{recipe}: {told}" if recipe and len(_recipes(results)) > 1 else told)
    return "Share read right by the largest allowed change. " + " ".join(parts)


def told_by_channel(results: Results, run: str) -> str:
    """What `accuracy_by_channel` shows, for those who do not see it."""
    by_channel = [_told(results, [run], channel, [f"through {channel}"]) for channel in results.channels]
    return f"Share read right of {run} by channel. " + " ".join(by_channel)


def _told(results: Results, names: Sequence[str], channel: str, where: Sequence[str]) -> str:
    told = []
    for name, shares in summaries(results, names, channel):
        values = ("none" if share is None else percent(share) for share in shares)
        told.append(f"{name}: " + ", ".join(f"{value} {place}" for value, place in zip(values, where, strict=True)))
    return "; ".join(told).capitalize() + "."


def _recipes(results: Results) -> dict[str, list[Run]]:
    """The runs of known budget by recipe, each in the order of the budget."""
    known = sorted((run for run in results.runs if run.epsilon is not None), key=lambda run: run.epsilon or 0.0)
    names = dict.fromkeys(run.recipe for run in results.runs if run.epsilon is not None)
    return {name: [run for run in known if run.recipe == name] for name in names}


def _styles(rows: Sequence[Row]) -> list[Style]:
    colors, markers, open_markers = cycle(HELDOUT), cycle("^DvPX<>*"), cycle("sdph8")
    styles = []
    for row in rows:
        if row.role == "authorized":
            styles.append(Style(AUTHORIZED, "-", "o", True, 2.2))
        elif row.role == "surrogate":
            styles.append(Style(QUIET, "--", next(open_markers), False, 1.0))
        else:
            line = ":" if row.remark else "-"
            styles.append(Style(next(colors), line, next(markers), not row.remark, 1.3))
    return styles


def _lines(
    axes: "Axes",
    results: Results,
    places: Sequence[float],
    scores: Sequence[Sequence[Score]],
    span: float,
    *,
    joined: bool = True,
) -> None:
    """One line a model, moved aside a little so that the intervals stay apart."""
    for index, (row, style, said) in enumerate(zip(results.rows, _styles(results.rows), scores, strict=True)):
        aside = (index - (len(results.rows) - 1) / 2) * DODGE * span
        where, shares = [place + aside for place in places], [score.share for score in said]
        lows, highs = zip(*(score.interval for score in said), strict=True)
        axes.vlines(where, lows, highs, color=style.color, linewidth=style.width, alpha=0.4)
        axes.plot(
            where,
            shares,
            color=style.color,
            linestyle=style.line if joined else "none",
            linewidth=style.width,
            marker=style.marker,
            markersize=5.5,
            markerfacecolor=style.color if style.filled else "none",
            label=drawable(f"{short(row.model)} ({row.role}{', not counted' if row.remark else ''})"),
            zorder=3 if row.role == "authorized" else 2,
        )


def _figure(results: Results, panels: int, below: float = 0.4) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    legend = LEGEND_LINE * (len(results.rows) + 1)
    height = PANEL * panels + legend
    figure = Figure(figsize=(WIDTH, height), layout=None)
    axes = list(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0])
    figure.subplots_adjust(0.1, (legend + below) / height, 0.99, 1 - 0.3 / height, hspace=0.25)
    for panel in axes:
        in_shares(panel)
        calm(panel)
    figure.patch.set_visible(False)
    return figure, axes
