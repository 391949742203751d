"""Summarize an evaluation over deployments: the mean and the smallest share that the authorized model keeps."""

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from onlymymodel.errors import number_of
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.score import Proportion
from onlymymodel.evaluate.text import percent
from onlymymodel.surrogates.deployments import DEPLOYMENTS


@dataclass(frozen=True)
class DeploymentSummary:
    """One run over all deployments that were evaluated.

    Attributes:
        run: name of the run.
        deployments: how many there are in which the authorized model reads a clean photo.
        mean: of the shares that the authorized model keeps, see `Score.kept_of_readable`.
        least: the smallest of these shares, with its counts.
        least_name: name of that deployment.
        heldout: mean of what the independent held-out models read through the same; None without such models.
    """

    run: str
    deployments: int
    mean: float
    least: Proportion
    least_name: str
    heldout: float | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "least": {**asdict(self.least), "share": self.least.share}}

    def describe(self) -> str:
        """Return one sentence."""
        share, (low, high) = self.least.share, self.least.interval
        assert share is not None
        kept = (
            f"over {number_of(self.deployments, 'deployment')} the authorized model keeps {percent(self.mean)} in the "
            f"mean and {percent(share)} at least ({self.least_name}: {self.least.hits} of {self.least.total}, "
            f"95% interval {percent(low)} to {percent(high)})"
        )
        return kept if self.heldout is None else f"{kept}; judges read {percent(self.heldout)} in the mean"


def summarize_deployments(results: Results) -> list[DeploymentSummary]:
    """Return the summary of every run; none where no deployment was evaluated."""
    names = [channel for channel in results.channels if channel in DEPLOYMENTS]
    summaries = []
    for run in results.runs:
        kept = {name: results.authorized.score(run.name, name).kept_of_readable for name in names}
        shares = {name: proportion.share for name, proportion in kept.items() if proportion.share is not None}
        if not shares:
            continue
        least = min(shares, key=lambda name: (shares[name], name))
        heldout = [share for name in shares if (share := results.heldout_mean(run.name, name)) is not None]
        summaries.append(
            DeploymentSummary(
                run.name, len(shares), fmean(shares.values()), kept[least], least, fmean(heldout) if heldout else None
            )
        )
    return summaries
