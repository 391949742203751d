"""How every plot looks here, and how it becomes SVG text: the same bytes for the same input, letters as outlines."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

WIDTH, PANEL, LEGEND_LINE = 4.7, 2.7, 0.19  # inches
NAME = 34  # letters of a name in a legend
INK, QUIET, LINE, AUTHORIZED = "#211f1c", "#65605a", "#dfdad1", "#17663d"
HELDOUT = ("#2f5d8a", "#7a4b94", "#a8522a", "#0f7b7b", "#8a6d1f", "#a33a63")


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib without a user's own style, without formulas in names, and with ids that do not change."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update({"svg.hashsalt": "onlymymodel", "svg.fonttype": "path", "text.parse_math": False})
        rcParams.update({"font.family": "DejaVu Sans", "font.size": 9.5})
        yield


def calm(axes: "Axes") -> None:
    """No frame but the ground line, quiet numbers, lines across behind everything."""
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, length=0, labelsize=9.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.patch.set_visible(False)


def in_shares(axes: "Axes") -> None:
    """A height from 0 to 100 %."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])


def svg(figure: "Figure", axes: "Axes") -> str:
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


def short(name: str, letters: int = NAME) -> str:
    """The name with its middle left out where it is too long."""
    kept = letters - 1
    return name if len(name) <= letters else f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def drawable(text: str) -> str:
    """The text with `?` for what the font has no letter for: a warning for each, and empty boxes, otherwise."""
    return "".join(sign if _font().get_char_index(ord(sign)) else "?" for sign in text)


@cache
def _font() -> "FT2Font":
    from matplotlib.font_manager import findfont, get_font

    return get_font(findfont("DejaVu Sans"))
