"""The table and the figure of results/frontier/: what is read against how much is seen, by the ways of spending it."""

import io
import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from assets import RESULTS, ROOT
from markup import share, short, table

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.results import CLEAN, Results, Row, read_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = ROOT / "docs" / "frontier.svg"
SETS = {"nips2017": "NIPS-2017", "photos": "photos"}
LOOKS = {"flat": ("#2f5d8a", "o", "-"), "texture": ("#a8522a", "s", "--")}
BALL = "epsilon"  # cells of the plain ball


class Point:
    """One JSON of benchmarks/frontier.py: a bound and a way to spend it."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self.way: str = content["way"]
        self.bound, value = str(content["bound"]).split("=")
        self.value = float(value)
        self.flip: float = content["flip"]["mean"]
        self.results: Results = read_results(path)
        (self.run,) = self.results.runs

    @property
    def kept(self) -> float:
        """Of the photos that the authorized model read when clean, the share that it still reads."""
        score = self.results.authorized.score(self.run.name)
        return score.still_right / score.readable

    @property
    def heldout(self) -> float:
        """Mean share that the independent held-out models read."""
        return self.heldout_after("png")

    def heldout_after(self, channel: str) -> float:
        """The same after a channel."""
        mean = self.results.heldout_mean(self.run.name, channel)
        assert mean is not None
        return mean

    @property
    def ssim(self) -> float:
        """Mean over the photos."""
        return fmean(found.ssim for found in self.run.distortion)

    def row(self) -> list[str]:
        """Of the table."""
        score, found = self.results.authorized.score(self.run.name), self.run.distortion
        compressed = self.results.authorized.score(self.run.name, "jpeg75")
        measured = [one.lpips for one in found if one.lpips is not None]
        return [
            f"{self.bound} {self.value:g}",
            self.way,
            share(score.still_right, score.readable),
            *(f"{row.score(self.run.name).right}" for row in self.results.of("held-out")),
            f"{100 * self.heldout:.1f} %",
            f"{share(compressed.still_right, compressed.readable)}, {100 * self.heldout_after('jpeg75'):.1f} %",
            f"{self.ssim:.3f}",
            f"{self.flip:.3f}",
            f"{fmean(one.psnr for one in found if one.psnr is not None):.1f}",
            f"{fmean(measured):.3f}" if measured else "-",
        ]


def points(images: str) -> list[Point]:
    """All cells of a set of images: by bound, the tightest first, then by the way; the plain balls last."""
    found = [Point(path) for path in (RESULTS / "frontier" / images).glob("*.json")]
    return sorted(found, key=lambda one: (one.bound == BALL, one.bound, -one.value, one.way))


def frontier(images: str) -> str:
    """Every bound and way, as Markdown; nothing where nothing was measured."""
    found = points(images)
    if not found:
        return ""
    judges = [_named(row) for row in found[0].results.of("held-out")]
    mean = found[0].results.heldout_mean(CLEAN)
    head = [
        "bound", "spent", "authorized kept", *judges, f"their mean: clean {100 * (mean or 0):.1f} %",
        "after JPEG 75: kept, mean", "SSIM", "FLIP", "PSNR", "LPIPS",
    ]  # fmt: skip
    return table(head, [one.row() for one in found])


def draw(target: Path = FIGURE) -> None:
    """Held-out accuracy over mean SSIM, one panel for each set of images; the same bytes for the same results."""
    from matplotlib import pyplot, rc_context

    there = {name: found for name in SETS if (found := points(name))}
    if not there:
        return
    with rc_context({"svg.hashsalt": "frontier", "svg.fonttype": "path", "font.size": 9.5}):
        figure, panels = pyplot.subplots(
            1, len(there), figsize=(4.4 * len(there), 3.2), sharex=True, sharey=True, squeeze=False
        )
        for axes, (name, found) in zip(panels[0], there.items(), strict=True):
            _panel(axes, found)
            axes.set_title(f"{SETS[name]}, {len(found[0].results.photos)} images")
        panels[0][0].set_ylabel("held-out models read, %")
        panels[0][0].legend(frameon=False)
        figure.tight_layout()
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    write_atomic(target, out.getvalue())


def _panel(axes: "Axes", found: list[Point]) -> None:
    for way, (color, marker, line) in LOOKS.items():
        curve = [one for one in found if one.bound == "ssim" and one.way == way]
        xs, ys = [one.ssim for one in curve], [100 * one.heldout for one in curve]
        axes.plot(xs, ys, color=color, marker=marker, linestyle=line, label=f"{way}, bounded by SSIM")
    balls = [one for one in found if one.bound == BALL and one.way == "flat"]
    axes.plot([one.ssim for one in balls], [100 * one.heldout for one in balls], "k^", label="flat, plain epsilon")
    for one in balls:
        axes.annotate(f" {one.value:g}/255", (one.ssim, 100 * one.heldout))
    axes.set_xlabel("mean SSIM (less visible to the right)")
    axes.set_ylim(bottom=-1)
    axes.spines[["top", "right"]].set_visible(False)


def _named(row: Row) -> str:
    return f"{short(row)}{'*' if row.remark else ''}: clean {row.score(CLEAN).right}"
