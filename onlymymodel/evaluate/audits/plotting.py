"""Panels and curves that the plots of several audits share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onlymymodel.evaluate.drawing import HELDOUT, PANEL, stacked_panels, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOOT_HEIGHT = 0.45  # inches below the last panel, for a label of the x-axis
MARKERS = "oDvPX^"


def make_panels(
    count: int, legend_lines: int, foot_height: float, *, unit_range: bool = True
) -> tuple["Figure", list["Axes"]]:
    """Return a figure of panels below each other with a common x-axis, and room for a legend below.

    Args:
        legend_lines: number of lines of the legend.
        foot_height: inches between the last panel and the legend.
        unit_range: whether the y-axes run from 0 to 1.
    """
    figure, panels = stacked_panels(
        count, legend_lines, below=foot_height, height=PANEL + foot_height / count, left=0.12
    )
    if unit_range:
        for panel in panels:
            panel.set_ylim(-0.03, 1.03)
    return figure, panels


def draw_curve(
    axes: "Axes", x: Sequence[float], y: Sequence[float], label: str, index: int, *, dashed: bool = False
) -> None:
    """Draw a curve in the color and with the marker of an index."""
    color, marker = HELDOUT[index % len(HELDOUT)], MARKERS[index % len(MARKERS)]
    style = "--" if dashed else "-"
    axes.plot(x, y, color=color, marker=marker, markersize=4.5, linewidth=1.3, linestyle=style, label=label)


def finish_svg(figure: "Figure", panels: Sequence["Axes"]) -> str:
    """Return the SVG text of a figure, with one legend for the curves of these panels."""
    for panel in panels[1:]:
        for line in panel.get_lines():
            panels[0].plot([], [], color=line.get_color(), marker=line.get_marker(), label=line.get_label())
    return to_svg(figure, panels[0])
