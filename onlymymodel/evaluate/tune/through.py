"""Evaluate the authorized model through the deployments that the target of a tuning names."""

from collections.abc import Iterable

from onlymymodel.errors import UserError
from onlymymodel.evaluate.deployment_summary import DeploymentSummary, summarize_deployments
from onlymymodel.evaluate.harness import Pair, evaluate_models
from onlymymodel.evaluate.results import CLEAN, Results
from onlymymodel.evaluate.tune.tuning import Tuning
from onlymymodel.surrogates.answer_cache import open_answer_cache
from onlymymodel.surrogates.deployments import get_deployments


def ask_through(tuning: Tuning, pairs: Iterable[Pair]) -> Results | None:
    """Ask the authorized model alone about photos through each deployment of the target; None where it names none."""
    if not tuning.target.through:
        return None
    return evaluate_models(
        [judge for judge in tuning.judges if judge.role == "authorized"],
        pairs,
        channels=get_deployments(tuning.target.through),
        cache=open_answer_cache(tuning.out),
        distances=False,
        progress=False,
    )


def least_of(results: Results | None) -> DeploymentSummary | None:
    """Return the summary of the deployment through which the authorized model keeps least; None without results.

    Raises:
        UserError: it reads no clean photo through any of them.
    """
    if results is None:
        return None
    summaries = summarize_deployments(results)
    if not summaries:
        raise UserError("the authorized model reads no photo correctly through these deployments: leave out --through")
    return summaries[0]


def loses(results: Results | None, version: str, index: int) -> bool:
    """Return whether the authorized model loses a photo through a deployment through which it reads the original."""
    if results is None:
        return False
    row, truth = results.authorized, results.authorized.truths[index]
    return any(
        row.answers[CLEAN][name][index] == truth != row.answers[version][name][index] for name in results.channels
    )
