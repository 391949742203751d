"""Common parts of all tables of an evaluation: summary rows, missing answers, footnotes and limits."""

from collections import Counter
from collections.abc import Callable, Sequence

from onlymymodel.errors import number_of
from onlymymodel.evaluate.results import Results, Row
from onlymymodel.surrogates.model_card import Kind

SHOWN_REASONS = 5
OWN_NOTE = (
    "has other classes than the authorized model: an answer is right if it equals the answer to the clean photo; "
    "where that one is missing, later ones count as missing too"
)
# what the answers of a model are, by its kind
KINDS: dict[Kind, str] = {
    "attributes": "answers several yes-or-no questions; its figure is a correlation, which is in no mean of shares; as "
    "the authorized model it is right where all its answers are",
    "people": "names the person of its gallery whom the photo shows",
    "words": "names the text that is nearest to the photo",
    "detector": "names the class of the object of which it is most certain, or nothing",
    "language": "is asked in words; answers that name no class are counted by themselves",
    "embedder": "has no classes; it reads a photo if it finds the photo's own original among those of all photos",
}
UNMAPPED_NOTE = "has no class for some labels; their photos are left out of its figures"
KEPT_NOTE = (
    "of the photos that the authorized model reads right when clean, through the same channel, the share that it reads "
    "right as protected."
)
EXCLUDED_NOTE = "not independent and excluded from every mean"
MEAN_NOTE = (
    "Every mean gives each independent judge the same weight and counts a missing answer as a photo that was read."
)
LIMITS = (
    "The judges (held-out models) represent models like them, on photos like these. A model of another kind may still "
    "read the photos.",
    "The stand-ins (surrogates) are no evidence about other models: the protection was fitted to them, so low figures "
    "are expected there and prove little.",
    "Anyone with protected photos can train or adapt a model on them, and future methods may remove the change. "
    "A published photo cannot be protected again.",
    "Only these files, through these channels, were evaluated. Other resizing, cropping, filtering or compression may "
    "weaken the protection, and may cost the authorized model its answer too.",
    "People still recognize what they see: the change is only meant to be hard to notice.",
    "With few photos chance plays a large part; the intervals say how large.",
)


def summary_shares(results: Results, versions: Sequence[str], channel: str) -> list[tuple[str, list[float | None]]]:
    """Return the rows that matter most for one channel: (name, share for each version)."""
    kept = [results.authorized.score(version, channel).kept for version in versions]
    means = [results.heldout_mean(version, channel) for version in versions]
    return [("authorized, kept", kept), *([("mean of judges", means)] if results.independent() else [])]


def count_missing(results: Results) -> int:
    """Return how many answers are missing or have no reference, over all models, versions and channels."""
    return sum(
        row.score(version, channel).failed
        for row in results.rows
        for version, channels in row.answers.items()
        for channel in channels
    )


def failure_reasons(results: Results, quote: Callable[[str], str]) -> list[str]:
    """Return the most frequent reasons of failures, each with its model and count."""
    counts = Counter((failure.model, failure.reason) for failure in results.failures)
    lines = [
        f"{count} times {quote(model)}: {quote(reason)}" for (model, reason), count in counts.most_common(SHOWN_REASONS)
    ]
    more = len(counts) - len(lines)
    return lines + ([f"{number_of(more, 'more reason')} in results.json"] if more else [])


def footnote_marks(row: Row, own: str, excluded: str) -> str:
    """Return the marks behind a model's name."""
    return (own if _is_own(row) else "") + (excluded if row.exclusion else "")


def _is_own(row: Row) -> bool:
    """Return whether a share of photos is measured against the model's own answers."""
    return row.truth == "own" and row.kind not in ("attributes", "embedder")


def footnotes(results: Results, own: str, excluded: str, quote: Callable[[str], str]) -> list[str]:
    """Return the meanings of the marks that occur."""
    own_notes = [f"{own} {OWN_NOTE}"] if any(map(_is_own, results.rows)) else []
    own_notes += [f"{quote(row.model)}: {KINDS[row.kind]}" for row in results.rows if row.kind in KINDS]
    excluded_notes = [
        f"{excluded} {quote(row.model)} is {EXCLUDED_NOTE}: {quote(row.exclusion)}"
        for row in results.rows
        if row.exclusion
    ]
    unmapped_notes = [
        f"{quote(row.model)} {UNMAPPED_NOTE}: {', '.join(map(quote, row.unmapped))}"
        for row in results.rows
        if row.unmapped
    ]
    return own_notes + excluded_notes + unmapped_notes
