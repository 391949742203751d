"""Plots of the audit of layers, as SVG text that is the same for the same input."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onlymymodel.evaluate.audits.layers.audit import PIXELS, SHUFFLED
from onlymymodel.evaluate.audits.layers.figures import ATTACK_FREE
from onlymymodel.evaluate.audits.plotting import FOOT_HEIGHT, draw_curve, finish_svg, make_panels
from onlymymodel.evaluate.audits.report import AuditReport, AuditRow
from onlymymodel.evaluate.drawing import AUTHORIZED, HELDOUT, QUIET, legend_name, plot_settings, replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES_HEIGHT = 0.95  # inches below the last panel, for names of layers
MAX_NAMES = 24  # names of layers that fit side by side
MAX_CURVES = len(HELDOUT)  # layers in a plot over epochs, spread evenly


def layer_plot(report: AuditReport) -> str:
    """Return the plot of a `LayerAdversary`'s report, by layer: attacks above, attack-free measures below.

    Above are SSIM and AUC, with the SSIM of two controls as horizontal lines; below is every other measure as a share
    of its largest value. A missing value leaves a gap.
    """
    controls = {control.name: control.values.get("ssim") for control in report.controls}
    with plot_settings():
        figure, (attacks, measures) = make_panels(2, 9, NAMES_HEIGHT)
        names = [row.name for row in report.rows]
        for attack, label, index in (("ssim", "SSIM", 0), ("ssim_refined", "SSIM, refined", 0), ("auc", "AUC", 1)):
            heights = _column(report.rows, attack)
            draw_curve(attacks, range(len(names)), heights, label, index, dashed=attack == "ssim_refined")
        lines = {PIXELS: (AUTHORIZED, "--", "SSIM of the pixels"), SHUFFLED: (QUIET, ":", "SSIM without a signal")}
        for control, (color, style, label) in lines.items():
            height = controls.get(control)
            if isinstance(height, float):
                attacks.axhline(height, color=color, linestyle=style, linewidth=1.2, label=label)
        for index, name in enumerate(ATTACK_FREE):
            values = _column(report.rows, name)
            top = max((value for value in values if not math.isnan(value)), default=0.0) or 1.0
            shares = [value / top for value in values]
            draw_curve(measures, range(len(names)), shares, name.replace("_", " "), index + 2)
        attacks.set_title("what the adversary recovered", loc="left", color=QUIET, fontsize=9.5)
        measures.set_title("attack-free measures, as a share of the largest", loc="left", color=QUIET, fontsize=9.5)
        attacks.set_ylim(bottom=min(-0.03, attacks.dataLim.y0 - 0.03))  # an SSIM may be negative
        _name_layers(measures, names)
        return finish_svg(figure, [attacks, measures])


def epochs_plot(report: AuditReport) -> str:
    """Return the plot of an `EpochsAdversary`'s report over epochs, for at most six layers, spread evenly."""
    from matplotlib.ticker import MaxNLocator

    titles = {"degrees_of_freedom": "degrees of freedom", "jacobian_rank": "Jacobian's rank", "auc": "membership AUC"}
    layers = list(dict.fromkeys(str(row.values["layer"]) for row in report.rows))
    count = min(MAX_CURVES, len(layers))
    shown = [layers[round(index * (len(layers) - 1) / max(count - 1, 1))] for index in range(count)]
    with plot_settings():
        figure, panels = make_panels(len(titles), count, FOOT_HEIGHT, unit_range=False)
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            axes.set_title(title, loc="left", color=QUIET, fontsize=9.5)
            for index, layer in enumerate(shown):
                rows = [row for row in report.rows if row.values["layer"] == layer and "epoch" in row.values]
                draw_curve(
                    axes, _column(rows, "epoch"), _column(rows, name), replace_missing_glyphs(legend_name(layer)), index
                )
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[-1].set_xlabel("epochs of training (0: untrained)", color=QUIET)
        return finish_svg(figure, panels[:1])


def _column(rows: Sequence[AuditRow], name: str) -> list[float]:
    """Return a measure of all rows; NaN if it is missing."""
    values = [row.values.get(name) for row in rows]
    return [float(value) if isinstance(value, int | float) else math.nan for value in values]


def _name_layers(axes: "Axes", names: Sequence[str]) -> None:
    """Label the ticks of the x-axis with names of layers, as many as fit."""
    every = math.ceil(len(names) / MAX_NAMES)
    axes.set_xticks(
        range(0, len(names), every), [replace_missing_glyphs(legend_name(name, 18)) for name in names[::every]]
    )
    axes.tick_params(axis="x", labelrotation=90, labelsize=8)
