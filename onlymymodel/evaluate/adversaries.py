"""The adversaries of an evaluation in words: parties that clean a photo first, and judges that are fine-tuned on it."""

from onlymymodel.evaluate.adaptive import EXCLUSION
from onlymymodel.evaluate.channels import CHANNELS
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Results, Row
from onlymymodel.evaluate.score import ShareEstimate, mean_unprotected
from onlymymodel.evaluate.text import percent


def adversary_sentences(results: Results) -> list[tuple[str, str]]:
    """Return the runs, each with a sentence on the strongest adversaries that were evaluated; none where none was."""
    sentences = []
    for run in results.runs:
        parts = [*_strongest_channel(results, run.name), *_fine_tuned(results, run.name)]
        if parts:
            sentences.append((run.name, "; ".join(parts)))
    return sentences


def adapted_rows_of(results: Results) -> list[Row]:
    """Return the rows of independent judges after fine-tuning on protected photos, see `adaptive.adapted_rows`."""
    independent = {row.sha256 for row in results.independent()}
    return [row for row in results.rows if row.exclusion == EXCLUSION and row.sha256 in independent]


def _strongest_channel(results: Results, run: str) -> list[str]:
    """Say through which channel independent judges read most, where other channels than the file itself took part."""
    names = [name for name in results.channels if name in CHANNELS and name != AS_WRITTEN]
    rows = results.independent()
    if not names or not rows:
        return []
    shares = {name: mean_unprotected([row.score(run, name) for row in rows]) for name in names}
    most = max(shares, key=lambda name: (shares[name].share, name))
    through = "one channel" if len(names) == 1 else f"{len(names)} channels"
    return [f"through {through} judges read at most {_in_words(shares[most])}, after {most}"]


def _fine_tuned(results: Results, run: str) -> list[str]:
    """Say what judges read after fine-tuning, and what the same judges read before it."""
    adapted = adapted_rows_of(results)
    if not adapted:
        return []
    weights = {row.sha256 for row in adapted}
    before = [row for row in results.independent() if row.sha256 in weights]
    after, plain = (mean_unprotected([row.score(run) for row in rows]) for rows in (adapted, before))
    clean = mean_unprotected([row.score(CLEAN) for row in adapted])
    return [
        f"judges that are fine-tuned on other protected photos and their originals read {_in_words(after)}, "
        f"{percent(plain.share)} before; of the originals left out they read {percent(clean.share)}"
    ]


def _in_words(estimate: ShareEstimate) -> str:
    return f"{percent(estimate.share)} (95 % interval {percent(estimate.low)} to {percent(estimate.high)})"
