"""Audits of layers as plots: SVG text, the same bytes for the same input, letters as outlines."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onlymymodel.evaluate.audits.audit import AuditReport, Finding
from onlymymodel.evaluate.audits.intermediate import ATTACK_FREE, PIXELS, SHUFFLED
from onlymymodel.evaluate.drawing import (
    AUTHORIZED,
    HELDOUT,
    LEGEND_LINE,
    PANEL,
    QUIET,
    WIDTH,
    calm,
    drawable,
    settings,
    short,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES, FOOT = 0.95, 0.45  # inches
LABELS = 24  # names of layers that find room side by side
CURVES = len(HELDOUT)  # layers in a plot over epochs, spread evenly
MARKERS = "oDvPX^"


def layer_plot(report: AuditReport) -> str:
    """SVG of a `LayerAdversary`'s report, layer by layer: what it got, and the figures that need no attack.

    Above SSIM and AUC, with the SSIM of the two controls as lines across; below each other figure as a share of its
    largest. Where a figure is missing there is a gap.
    """
    controls = {control.name: control.values.get("ssim") for control in report.controls}
    with settings():
        figure, (got, free) = panels_of(2, 8, NAMES)
        names = [row.name for row in report.rows]
        for index, attack in enumerate(("ssim", "auc")):
            curve(got, range(len(names)), _column(report.rows, attack), {"ssim": "SSIM", "auc": "AUC"}[attack], index)
        ways = {PIXELS: (AUTHORIZED, "--", "SSIM of the pixels"), SHUFFLED: (QUIET, ":", "SSIM without a signal")}
        for control, (color, line, label) in ways.items():
            height = controls.get(control)
            if isinstance(height, float):
                got.axhline(height, color=color, linestyle=line, linewidth=1.2, label=label)
        for index, name in enumerate(ATTACK_FREE):
            values = _column(report.rows, name)
            top = max((value for value in values if not math.isnan(value)), default=0.0) or 1.0
            curve(free, range(len(names)), [value / top for value in values], name.replace("_", " "), index + 2)
        got.set_title("what the adversary got", loc="left", color=QUIET, fontsize=9.5)
        free.set_title("without an attack, as a share of the largest", loc="left", color=QUIET, fontsize=9.5)
        got.set_ylim(bottom=min(-0.03, got.dataLim.y0 - 0.03))  # an SSIM may be negative
        _name_layers(free, names)
        return finished(figure, [got, free])


def epochs_plot(report: AuditReport) -> str:
    """SVG of an `EpochsAdversary`'s report: figures of at most six layers, spread evenly, over epochs of training."""
    from matplotlib.ticker import MaxNLocator

    figures = {"degrees_of_freedom": "degrees of freedom", "jacobian_rank": "Jacobian's rank", "auc": "membership AUC"}
    layers = list(dict.fromkeys(str(row.values["layer"]) for row in report.rows))
    count = min(CURVES, len(layers))
    shown = [layers[round(index * (len(layers) - 1) / max(count - 1, 1))] for index in range(count)]
    with settings():
        figure, panels = panels_of(len(figures), count, FOOT, share_height=False)
        for axes, (name, title) in zip(panels, figures.items(), strict=True):
            axes.set_title(title, loc="left", color=QUIET, fontsize=9.5)
            for index, layer in enumerate(shown):
                rows = [row for row in report.rows if row.values["layer"] == layer]
                curve(axes, _column(rows, "epoch"), _column(rows, name), drawable(short(layer)), index)
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[-1].set_xlabel("epochs of training (0: untrained)", color=QUIET)
        return finished(figure, panels[:1])


def panels_of(
    count: int, legend_lines: int, below: float, *, share_height: bool = True
) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    legend = LEGEND_LINE * (legend_lines + 1)
    height = PANEL * count + legend + below
    figure = Figure(figsize=(WIDTH, height), layout=None)
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    figure.subplots_adjust(0.12, (legend + below) / height, 0.99, 1 - 0.3 / height, hspace=0.25)
    for panel in axes:
        if share_height:
            panel.set_ylim(-0.03, 1.03)
        calm(panel)
    figure.patch.set_visible(False)
    return figure, axes


def curve(axes: "Axes", places: Sequence[float], values: Sequence[float], label: str, index: int) -> None:
    color, marker = HELDOUT[index % len(HELDOUT)], MARKERS[index % len(MARKERS)]
    axes.plot(places, values, color=color, marker=marker, markersize=4.5, linewidth=1.3, label=label)


def _column(rows: Sequence[Finding], name: str) -> list[float]:
    values = [row.values.get(name) for row in rows]
    return [float(value) if isinstance(value, int | float) else math.nan for value in values]


def _name_layers(axes: "Axes", names: Sequence[str]) -> None:
    every = math.ceil(len(names) / LABELS)
    axes.set_xticks(range(0, len(names), every), [drawable(short(name, 18)) for name in names[::every]])
    axes.tick_params(axis="x", labelrotation=90, labelsize=8)


def finished(figure: "Figure", panels: Sequence["Axes"]) -> str:
    """SVG with one legend for the curves of all these panels."""
    for panel in panels[1:]:
        for line in panel.get_lines():
            panels[0].plot([], [], color=line.get_color(), marker=line.get_marker(), label=line.get_label())
    return svg(figure, panels[0])
