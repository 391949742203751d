"""Test whether held-out models read protected photos less often than the originals."""

from onlymymodel.evaluate.results import CLEAN, Results
from onlymymodel.evaluate.score import mean_unprotected
from onlymymodel.evaluate.text import percent


def unmoved_runs(results: Results) -> list[tuple[str, str]]:
    """Return each run after which the independent held-out models read as much as before, and that in one sentence.

    They do where the share that they read as protected is not below the 95 % interval of the share that they read when
    clean. Nothing is returned where no held-out model is independent: then there is nothing to move.
    """
    rows = results.independent()
    if not rows:
        return []
    clean = mean_unprotected([row.score(CLEAN) for row in rows])
    sentences = []
    for run in results.runs:
        after = mean_unprotected([row.score(run.name) for row in rows])
        if after.share >= clean.low:
            sentences.append(
                (
                    run.name,
                    f"THE JUDGES DID NOT MOVE: they read {percent(clean.share)} of the originals (95 % "
                    f"interval {percent(clean.low)} to {percent(clean.high)}) and {percent(after.share)} of the "
                    "protected files; nothing shows that these files are protected from models that took no part",
                )
            )
    return sentences
