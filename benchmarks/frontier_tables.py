"""Table and figure of results/frontier/: accuracy against visibility, by the distribution of the change."""

import io
import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from assets import FIGURES, RESULTS
from markup import marked_name, share, table
from measured import MeasuredRun

from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = FIGURES / "frontier.svg"
SETS = {"nips2017": "NIPS-2017", "photos": "photos"}
LINE_STYLES = {"flat": ("#2f5d8a", "o", "-"), "texture": ("#a8522a", "s", "--")}
NAMES = {"flat": "even"}  # the shape of that mode, where it is another word
BALL = "epsilon"  # cells of a plain epsilon ball


class FrontierCell(MeasuredRun):
    """One JSON of benchmarks/frontier.py: a bound and a mode of distributing the change."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        self.mode: str = content["way"]
        self.bound, value = str(content["bound"]).split("=")
        self.value = float(value)
        self.flip: float = content["flip"]["mean"]

    @property
    def kept(self) -> float:
        """Share of the photos read by the authorized model when clean that it still reads."""
        score = self.authorized_score()
        return score.still_right / score.readable

    @property
    def heldout(self) -> float:
        """Mean share that the independent judges read."""
        return self.heldout_after(AS_WRITTEN)

    def heldout_after(self, channel: str) -> float:
        """Return the mean share that the independent judges read after a channel."""
        mean = self.heldout_mean(None, channel)
        assert mean is not None
        return mean

    def line(self) -> list[str]:
        """Return the cell's line of the table."""
        score, compressed = self.authorized_score(), self.authorized_score("jpeg75")
        lpips = [distortion.lpips for distortion in self.run.distortion if distortion.lpips is not None]
        return [
            f"{self.bound} {self.value:g}",
            NAMES.get(self.mode, self.mode),
            share(score.still_right, score.readable),
            *(str(self.right(row)) for row in self.results.rows_of("held-out")),
            f"{100 * self.heldout:.1f} %",
            f"{share(compressed.still_right, compressed.readable)}, {100 * self.heldout_after('jpeg75'):.1f} %",
            f"{self.ssim:.3f}",
            f"{self.flip:.3f}",
            f"{self.psnr:.1f}",
            f"{fmean(lpips):.3f}" if lpips else "-",
        ]


def cells(images: str) -> list[FrontierCell]:
    """Return all cells of a set of images: by bound from the tightest, then by mode; plain epsilon balls last."""
    measured = [FrontierCell(path) for path in (RESULTS / "frontier" / images).glob("*.json")]
    return sorted(measured, key=lambda cell: (cell.bound == BALL, cell.bound, -cell.value, cell.mode))


def frontier(images: str) -> str:
    """Return every bound and mode as Markdown; "" where nothing was measured."""
    measured = cells(images)
    if not measured:
        return ""
    judges = [f"{marked_name(row)}: clean {row.score(CLEAN).right}" for row in measured[0].results.rows_of("held-out")]
    mean = measured[0].heldout_mean(CLEAN)
    head = [
        "bound", "spent", "authorized kept", *judges, f"their mean: clean {100 * (mean or 0):.1f} %",
        "after JPEG 75: kept, mean", "SSIM", "FLIP", "PSNR", "LPIPS",
    ]  # fmt: skip
    return table(head, [cell.line() for cell in measured])


def draw(target: Path = FIGURE) -> None:
    """Draw held-out accuracy over mean SSIM, one panel for each set of images; same bytes for the same results."""
    from matplotlib import pyplot, rc_context

    by_images = {name: measured for name in SETS if (measured := cells(name))}
    if not by_images:
        return
    with rc_context({"svg.hashsalt": "frontier", "svg.fonttype": "path", "font.size": 9.5}):
        figure, panels = pyplot.subplots(
            1, len(by_images), figsize=(4.4 * len(by_images), 3.2), sharex=True, sharey=True, squeeze=False
        )
        for axes, (name, measured) in zip(panels[0], by_images.items(), strict=True):
            _panel(axes, measured)
            axes.set_title(f"{SETS[name]}, {len(measured[0].results.photos)} images")
        panels[0][0].set_ylabel("judges read, %")
        panels[0][0].legend(frameon=False)
        figure.tight_layout()
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    write_atomic(target, out.getvalue())


def _panel(axes: "Axes", measured: list[FrontierCell]) -> None:
    for mode, (color, marker, line) in LINE_STYLES.items():
        curve = [cell for cell in measured if cell.bound == "ssim" and cell.mode == mode]
        xs, ys = [cell.ssim for cell in curve], [100 * cell.heldout for cell in curve]
        axes.plot(xs, ys, color=color, marker=marker, linestyle=line, label=f"{NAMES.get(mode, mode)}, bounded by SSIM")
    balls = [cell for cell in measured if cell.bound == BALL and cell.mode == "flat"]
    axes.plot([cell.ssim for cell in balls], [100 * cell.heldout for cell in balls], "k^", label="even, plain epsilon")
    for cell in balls:
        axes.annotate(f" {cell.value:g}/255", (cell.ssim, 100 * cell.heldout))
    axes.set_xlabel("mean SSIM (less visible to the right)")
    axes.set_ylim(bottom=-1)
    axes.spines[["top", "right"]].set_visible(False)
