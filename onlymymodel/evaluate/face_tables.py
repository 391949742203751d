"""Figures of the models that have a gallery of people, or originals in its place, for every table."""

import math
from collections.abc import Callable

from onlymymodel.evaluate.face_verification import FARS, FLOAT_SLACK, FarThreshold, GalleryMatches
from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row
from onlymymodel.evaluate.score import Proportion

NOTE = (
    "Models with a gallery compare a photo with the mean of each person. Rank-1: the right person is the nearest, at "
    "any cosine. TAR at a FAR: the cosine to the right person is above the smallest threshold that at most this share "
    "of the cosines of clean photos to other people exceeds; protected photos do not move it. No longer matched: of "
    "the photos named correctly when clean, at the model's own threshold, those that are now named otherwise. A "
    "missing answer is neither nearest nor accepted, and counts as still matched. An embedder without a gallery "
    "compares a photo with the clean originals of all photos; the right one is the photo's own."
)
OWN_NOTE = "does not know the labels: the right person is the one that it named in the clean photo"
LEFT_OUT = ("show nobody of its gallery", "have no answer when clean")  # of a gallery, of an embedder
NAMES = ("rank-1", *(f"TAR at FAR {far:g}" for far in FARS), "no longer matched")
SHARES = ("rank1", *(f"tar_{far:g}" for far in FARS), "lost")
COLUMNS = (
    *("recognizable", "left_out", "matched", "threshold", "impostors"),
    *(f"threshold_{far:g}" for far in FARS),
    *(f"{share}{bound}" for share in SHARES for bound in ("", "_low", "_high")),
)


def rows_with_gallery(results: Results) -> list[Row]:
    """Return the rows of the models that have a gallery, or originals in its place."""
    return [row for row in results.rows if row.matches is not None]


def proportions(row: Row, version: str, channel: str = AS_WRITTEN) -> list[Proportion]:
    """Return the shares that the tables show, in the order of `NAMES`; an empty list for a model without a gallery."""
    scores = row.verification(version, channel)
    if scores is None:
        return []
    return [
        Proportion(scores.nearest, scores.photos),
        *(Proportion(scores.accepted.get(far), scores.photos) for far in FARS),
        Proportion(scores.lost, scores.matched),
    ]


def csv_columns(row: Row, version: str, channel: str) -> dict[str, float | None]:
    """Return the values of `COLUMNS`; None without a gallery, or where a share cannot be determined."""
    line: dict[str, float | None] = dict.fromkeys(COLUMNS)
    scores, matches = row.verification(version, channel), row.matches
    if scores is None or matches is None:
        return line
    line |= {"recognizable": scores.photos, "left_out": scores.left_out, "matched": scores.matched}
    line |= {"threshold": matches.threshold, "impostors": matches.impostors}
    line |= {f"threshold_{limit.far:g}": limit.cosine for limit in matches.limits if limit.far in FARS}
    for name, proportion in zip(SHARES, proportions(row, version, channel), strict=True):
        if proportion.share is not None:
            low, high = proportion.interval
            line |= {name: proportion.share, f"{name}_low": low, f"{name}_high": high}
    return line


def notes(results: Results, quote: Callable[[str], str]) -> list[str]:
    """Return one note for each model with a gallery: its thresholds, which are not resolved, and photos left out."""
    return [
        f"{quote(row.model)} {'; '.join(_facts(row, row.matches))}" for row in results.rows if row.matches is not None
    ]


def _facts(row: Row, matches: GalleryMatches) -> list[str]:
    left_out = matches.persons.count(None)
    return [
        f"{'finds an original' if row.kind == 'embedder' else 'names a person'} at a cosine of {matches.threshold:.3f}",
        *(_threshold_fact(limit, matches.impostors) for limit in matches.limits),
        *([OWN_NOTE] if row.truth == "own" and row.kind != "embedder" else []),
        *([f"{left_out} of {len(matches.persons)} photos {LEFT_OUT[row.kind == 'embedder']}"] if left_out else []),
    ]


def _threshold_fact(limit: FarThreshold, impostors: int) -> str:
    if limit.cosine is not None:
        return f"its threshold at FAR {limit.far:g} is {limit.cosine:.3f}"
    needed = math.ceil(1 / limit.far - FLOAT_SLACK)
    return (
        f"FAR {limit.far:g} needs {needed} impostor scores, and there {'is' if impostors == 1 else 'are'} {impostors}"
    )
