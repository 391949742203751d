"""Protection against visibility as a plot: SVG text, the same bytes for the same input, letters as outlines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from onlymymodel.evaluate.drawing import (
    AUTHORIZED,
    HELDOUT,
    INK,
    LEGEND_LINE,
    QUIET,
    WIDTH,
    calm,
    in_shares,
    settings,
    svg,
)
from onlymymodel.evaluate.frontier import CHANNELS, RECOMPRESSED, FrontierPoint, Share
from onlymymodel.evaluate.search import Target
from onlymymodel.evaluate.tables import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["epsilon", "ssim"]
HEIGHT, FOOT = 3.4, 0.45  # inches
# name, attribute of a point, color, marker, width
SERIES = (
    ("authorized, kept", "kept", AUTHORIZED, "o", 2.2),
    ("held-out, mean", "heldout", HELDOUT[0], "^", 1.6),
    ("surrogates, mean", "surrogates", QUIET, "s", 1.0),
)


def frontier_plot(
    points: Sequence[FrontierPoint], target: Target, chosen: int, *, met: bool, axis: Axis = "epsilon"
) -> str:
    """SVG: kept, held-out and surrogate shares over the budget or the median SSIM, after JPEG 75 dashed.

    Args:
        points: with the originals as budget 0.
        chosen: epsilon of the point to mark.
        met: whether it meets the target, or is only the nearest.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(points, key=lambda point: (_place(point, axis), point.epsilon))
    shown = [series for series in SERIES if getattr(ordered[0], series[1])]
    with settings():
        legend = LEGEND_LINE * (len(shown) * len(CHANNELS) + 2)
        height = HEIGHT + legend
        figure = Figure(figsize=(WIDTH, height), layout=None)
        axes = figure.subplots(1, 1)
        figure.subplots_adjust(0.11, (legend + FOOT) / height, 0.98, 1 - 0.3 / height)
        in_shares(axes)
        calm(axes)
        for name, attribute, color, marker, width in shown:
            for channel in CHANNELS:
                after = f"{name}, after JPEG 75" if channel == RECOMPRESSED else name
                shares = [getattr(point, attribute)[channel] for point in ordered]
                places = [_place(point, axis) for point in ordered]
                _curve(axes, places, shares, color, marker, width, after, dashed=channel == RECOMPRESSED)
        for share, color in ((target.kept, AUTHORIZED), (target.heldout, HELDOUT[0])):
            axes.axhline(share, color=color, linewidth=0.8, linestyle=":")
        mark = next(point for point in ordered if point.epsilon == chosen)
        said = f"{'chosen' if met else 'nearest, target not met'}: {chosen}/255"
        axes.axvline(_place(mark, axis), color=INK, linewidth=1.0, label=said)
        if axis == "epsilon":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        told = {"epsilon": "largest allowed change, in 1/255 (0: clean)", "ssim": "median SSIM (1: clean)"}
        axes.set_xlabel(told[axis], color=QUIET)
        figure.patch.set_visible(False)
        return svg(figure, axes)


def frontier_told(points: Sequence[FrontierPoint]) -> str:
    """What the plot shows, for those who do not see it."""
    parts = []
    for name, attribute, *_ in SERIES:
        found = [(point.epsilon, getattr(point, attribute)) for point in points]
        if found[0][1]:
            parts.append(
                f"{name}: " + ", ".join(f"{percent(shares[CHANNELS[0]].share)} at {level}" for level, shares in found)
            )
    return "Shares by the largest allowed change, in 1/255. " + "; ".join(parts) + "."


def _place(point: FrontierPoint, axis: Axis) -> float:
    return float(point.epsilon) if axis == "epsilon" else point.ssim["median"]


def _curve(
    axes: "Axes",
    places: Sequence[float],
    shares: Sequence[Share],
    color: str,
    marker: str,
    width: float,
    label: str,
    *,
    dashed: bool,
) -> None:
    lows, highs = [share.low for share in shares], [share.high for share in shares]
    axes.fill_between(places, lows, highs, color=color, alpha=0.06 if dashed else 0.14, linewidth=0)
    axes.plot(
        places,
        [share.share for share in shares],
        color=color,
        linestyle="--" if dashed else "-",
        linewidth=width * (0.7 if dashed else 1),
        marker=marker,
        markersize=5,
        markerfacecolor="none" if dashed else color,
        label=label,
    )
