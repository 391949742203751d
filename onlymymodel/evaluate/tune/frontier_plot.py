"""Plot of protection against visibility, as SVG text: the same bytes for the same input, letters as outlines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from onlymymodel.evaluate.drawing import (
    AUTHORIZED,
    HELDOUT,
    INK,
    QUIET,
    plot_settings,
    stacked_panels,
    to_svg,
    use_percent_axis,
)
from onlymymodel.evaluate.score import ShareEstimate
from onlymymodel.evaluate.text import percent
from onlymymodel.evaluate.tune.frontier import FRONTIER_CHANNELS, RECOMPRESSED, FrontierPoint
from onlymymodel.evaluate.tune.knob import Over
from onlymymodel.evaluate.tune.search import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["epsilon", "ssim"]  # the bound, or what it came to
BOUNDS_IN_WORDS: dict[Over, str] = {
    "epsilon": "largest allowed change, in 1/255 (0: clean)",
    "ssim": "least allowed SSIM (1: clean)",
}
HEIGHT, BELOW = 3.4, 0.45  # inches
# name, attribute of a point, color, marker, width
SERIES = (
    ("authorized, kept", "kept", AUTHORIZED, "o", 2.2),
    ("held-out, mean", "heldout", HELDOUT[0], "^", 1.6),
    ("surrogates, mean", "surrogates", QUIET, "s", 1.0),
)


def frontier_plot(
    points: Sequence[FrontierPoint], target: Target, chosen: int, *, met: bool, axis: Axis = "epsilon"
) -> str:
    """Return SVG: kept, held-out and surrogate shares over the budget or the median SSIM, dashed after JPEG 75.

    Args:
        points: measurements, with the originals as budget 0.
        target: the target, drawn as lines across.
        chosen: level of the point to mark.
        met: whether that point meets the target, or only comes nearest.
        axis: quantity on the x axis.
    """
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(points, key=lambda point: (_position(point, axis), point.level))
    shown = [series for series in SERIES if getattr(ordered[0], series[1])]
    with plot_settings():
        legend_lines = sum(len(getattr(ordered[0], attribute)) for _, attribute, *_ in shown) + 1
        figure, (axes,) = stacked_panels(1, legend_lines, below=BELOW, height=HEIGHT, left=0.11, right=0.98)
        use_percent_axis(axes)
        for name, attribute, color, marker, width in shown:
            for channel in getattr(ordered[0], attribute):
                label = f"{name}, after JPEG 75" if channel == RECOMPRESSED else name
                estimates = [getattr(point, attribute)[channel] for point in ordered]
                positions = [_position(point, axis) for point in ordered]
                _draw_curve(axes, positions, estimates, color, marker, width, label, dashed=channel == RECOMPRESSED)
        for share, color in ((target.kept, AUTHORIZED), (target.heldout, HELDOUT[0])):
            axes.axhline(share, color=color, linewidth=0.8, linestyle=":")
        marked = next(point for point in ordered if point.level == chosen)
        label = f"{'chosen' if met else 'nearest, target not met'}: {marked.knob.name(chosen)}"
        axes.axvline(_position(marked, axis), color=INK, linewidth=1.0, label=label)
        if axis == "epsilon" and marked.knob.over == "epsilon":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("median SSIM (1: clean)" if axis == "ssim" else BOUNDS_IN_WORDS[marked.knob.over], color=QUIET)
        return to_svg(figure, axes)


def describe_frontier(points: Sequence[FrontierPoint]) -> str:
    """Return the content of the plot in words, as its alternative text."""
    parts = []
    for name, attribute, *_ in SERIES:
        by_level = [(point.knob.show(point.level), getattr(point, attribute)) for point in points]
        if by_level[0][1]:
            values = (f"{percent(by_channel[FRONTIER_CHANNELS[0]].share)} at {level}" for level, by_channel in by_level)
            parts.append(f"{name}: {', '.join(values)}")
    return f"Shares by the {BOUNDS_IN_WORDS[points[0].knob.over]}. {'; '.join(parts)}."


def _position(point: FrontierPoint, axis: Axis) -> float:
    return point.knob.value(point.level) if axis == "epsilon" else point.ssim["median"]


def _draw_curve(
    axes: "Axes",
    positions: Sequence[float],
    estimates: Sequence[ShareEstimate],
    color: str,
    marker: str,
    width: float,
    label: str,
    *,
    dashed: bool,
) -> None:
    lows, highs = [estimate.low for estimate in estimates], [estimate.high for estimate in estimates]
    axes.fill_between(positions, lows, highs, color=color, alpha=0.06 if dashed else 0.14, linewidth=0)
    axes.plot(
        positions,
        [estimate.share for estimate in estimates],
        color=color,
        linestyle="--" if dashed else "-",
        linewidth=width * (0.7 if dashed else 1),
        marker=marker,
        markersize=5,
        markerfacecolor="none" if dashed else color,
        label=label,
    )
