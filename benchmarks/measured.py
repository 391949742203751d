"""The results JSON of one protected folder, with the figures that the tables share."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.evaluate.score import Score


class MeasuredRun:
    """One JSON of results/deployments/, results/adaptive/ or results/faces/."""

    def __init__(self, path: Path) -> None:
        self.results: Results = read_results(path)
        (self.run,) = self.results.runs

    @property
    def epsilon(self) -> float:
        """The budget in 1/255."""
        return self.run.epsilon or 0.0

    @property
    def recipe(self) -> str:
        """Name of the recipe, as it is called now."""
        settings = self.results.header["settings"][self.run.name]
        return current_name(settings["recipe"]) if settings else self.run.recipe

    @property
    def protected(self) -> str:
        """Return the number of protected photos, as `3 of 40`."""
        return f"{self.run.statuses.get('protected', 0)} of {len(self.results.photos)}"

    @property
    def psnr(self) -> float:
        """Mean PSNR over the photos that changed, in dB."""
        return fmean(distortion.psnr for distortion in self.run.distortion if distortion.psnr is not None)

    @property
    def ssim(self) -> float:
        """Mean SSIM over the photos."""
        return fmean(distortion.ssim for distortion in self.run.distortion)

    def authorized_score(self, channel: str = AS_WRITTEN) -> Score:
        """Return the authorized model's score after a channel."""
        return self.results.authorized.score(self.run.name, channel)

    def heldout_mean(self, version: str | None = None, channel: str = AS_WRITTEN) -> float | None:
        """Return the mean share that the independent held-out models read; of the run unless a version is given."""
        return self.results.heldout_mean(version or self.run.name, channel)

    def right(self, row: Row) -> int:
        """Return how many protected photos a model reads correctly."""
        return row.score(self.run.name).right


def current_name(recipe: Mapping[str, Any]) -> str:
    """Return the name of a recorded recipe: what was `default` before the guard took random looks is `exact` now."""
    return "exact" if recipe["name"] == "default" and "guard_looks" not in recipe else str(recipe["name"])
