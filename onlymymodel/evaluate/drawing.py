"""The style of all plots, and SVG text from a figure: the same bytes for the same input, letters as outlines."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

from onlymymodel.evaluate.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

WIDTH, PANEL, LEGEND_LINE = 4.7, 2.7, 0.19  # inches
LEGEND_NAME = 34  # letters of a name in a legend
INK, QUIET, LINE, AUTHORIZED = "#211f1c", "#65605a", "#dfdad1", "#17663d"
HELDOUT = ("#2f5d8a", "#7a4b94", "#a8522a", "#0f7b7b", "#8a6d1f", "#a33a63")
# colors for a dark page, by the color that each replaces
DARK = {
    INK: "#ebe7e0",
    QUIET: "#a8a197",
    LINE: "#38352f",
    AUTHORIZED: "#7fce9f",
    **dict(zip(HELDOUT, ("#7fb2e5", "#c9a0e0", "#e8a27f", "#6fcaca", "#d6bb72", "#ec93b6"), strict=True)),
}


@contextmanager
def plot_settings() -> Iterator[None]:
    """Matplotlib settings without a user's own style, without formulas in names, and with reproducible ids."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update({"svg.hashsalt": "onlymymodel", "svg.fonttype": "path", "text.parse_math": False})
        rcParams.update({"font.family": "DejaVu Sans", "font.size": 9.5})
        yield


def stacked_panels(
    count: int, legend_lines: int, *, below: float, height: float = PANEL, left: float = 0.1, right: float = 0.99
) -> tuple["Figure", list["Axes"]]:
    """Return a figure of styled panels, one below the other with a common x axis, and room for a legend below.

    Args:
        count: number of panels.
        legend_lines: lines of the legend.
        below: room between the last panel and the legend for tick labels and an axis label, in inches.
        height: height of each panel with its share of the margins, in inches.
        left, right: edges of the panels, as shares of the width.
    """
    from matplotlib.figure import Figure

    legend = LEGEND_LINE * (legend_lines + 1)
    total = height * count + legend
    figure = Figure(figsize=(WIDTH, total), layout=None)
    panels = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    figure.subplots_adjust(left, (legend + below) / total, right, 1 - 0.3 / total, hspace=0.25)
    for panel in panels:
        style_axes(panel)
    figure.patch.set_visible(False)
    return figure, panels


def style_axes(axes: "Axes") -> None:
    """Remove the frame except for the base line, mute the tick labels, and draw grid lines behind everything."""
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, length=0, labelsize=9.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.patch.set_visible(False)


def use_percent_axis(axes: "Axes") -> None:
    """Set the y axis to 0 to 100 %."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])


def to_svg(figure: "Figure", axes: "Axes") -> str:
    """Return the figure as SVG text, with the legend of `axes` below, shrunk where it is too wide."""
    handles, labels = axes.get_legend_handles_labels()
    draw = partial(figure.legend, handles, labels, loc="lower left", frameon=False, labelcolor=INK, borderaxespad=0.2)
    legend = draw(fontsize=9)
    share = legend.get_window_extent().width / figure.bbox.width
    if share > 0.98:
        legend.remove()
        draw(fontsize=9 * 0.95 / share)
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue().decode("utf-8")


def recolor_for_dark(svg: str) -> str:
    """Return the plot in colors for a dark page."""
    for light, dark in DARK.items():
        svg = svg.replace(light, dark)
    return svg


def legend_name(text: str, letters: int = LEGEND_NAME) -> str:
    """Return a name for a plot: shortened to `letters`, with `?` for letters that the font lacks."""
    return replace_missing_glyphs(shorten(text, letters))


def replace_missing_glyphs(text: str) -> str:
    """Return the text with `?` for letters that the font lacks; each would cause a warning and an empty box."""
    return "".join(letter if _font().get_char_index(ord(letter)) else "?" for letter in text)


@cache
def _font() -> "FT2Font":
    from matplotlib.font_manager import findfont, get_font

    return get_font(findfont("DejaVu Sans"))
