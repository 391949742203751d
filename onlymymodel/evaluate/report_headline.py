"""The least of the deployments, for the headline of a report: measured by this evaluation, or recorded before."""

from dataclasses import dataclass

from onlymymodel.evaluate.deployment_summary import summarize_deployments
from onlymymodel.evaluate.recorded_margins import summarize_margins
from onlymymodel.evaluate.results import Results
from onlymymodel.evaluate.text import percent


@dataclass(frozen=True)
class LeastDeployment:
    """The deployment through which the authorized model keeps least, over all runs.

    Attributes:
        deployments: number of deployments.
        name: of the least.
        kept: share of what it reads when clean, as text: through the least deployment where this evaluation measured
            it, else through all of them.
        margin: smallest margin through the least deployment; None where this evaluation measured shares.
    """

    deployments: int
    name: str
    kept: str
    margin: float | None = None


def least_deployment(results: Results) -> LeastDeployment | None:
    """Return the least deployment; None where none was evaluated and none is recorded."""
    evaluated = summarize_deployments(results)
    if evaluated:
        least = min(evaluated, key=lambda summary: summary.least.share or 0.0)
        return LeastDeployment(least.deployments, least.least_name, percent(least.least.share or 0.0))
    recorded = [summary for run in results.runs if (summary := summarize_margins(run.margins))]
    if not recorded:
        return None
    lowest = min(recorded, key=lambda summary: summary.least.least)
    kept = percent(lowest.kept.share or 0.0)
    return LeastDeployment(lowest.deployments, lowest.least_name, kept, lowest.least.least)
