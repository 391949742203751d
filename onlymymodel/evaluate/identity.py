"""What an evaluation says of the models that have a gallery of people, for every table."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from onlymymodel.evaluate.results import AS_WRITTEN, Results, Row, wilson
from onlymymodel.evaluate.verification import FARS, FLOAT_SLACK

NOTE = (
    "Models with a gallery compare a photo with the mean of each person. Rank-1: the right person is the nearest, at "
    "any cosine. TAR at a FAR: the cosine to the right person is above the smallest threshold that, of all cosines of "
    "clean photos to other people, at most this share exceeds; protected photos do not move it. No longer matched: of "
    "the photos named right when clean, at the model's own threshold, those named otherwise now. A missing answer is "
    "neither nearest nor accepted, and still matched."
)
OWN_NOTE = "does not know the labels: right is the person whom it named in the clean photo"
NAMES = ("rank-1", *(f"TAR at FAR {far:g}" for far in FARS), "no longer matched")
SHARES = ("rank1", *(f"tar_{far:g}" for far in FARS), "lost")
COLUMNS = (
    *("recognizable", "left_out", "matched", "threshold", "impostors"),
    *(f"threshold_{far:g}" for far in FARS),
    *(f"{share}{bound}" for share in SHARES for bound in ("", "_low", "_high")),
)


@dataclass(frozen=True)
class Figure:
    """A share of the photos; `hits` is None where there is too little to tell, `total` may be 0."""

    hits: int | None
    total: int

    @property
    def share(self) -> float | None:
        """In [0, 1]."""
        return None if self.hits is None or self.total == 0 else self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval; of nothing known, everything."""
        return (0.0, 1.0) if self.hits is None else wilson(self.hits, self.total)


def recognizers(results: Results) -> list[Row]:
    """The models that have a gallery."""
    return [row for row in results.rows if row.matches is not None]


def figures(row: Row, version: str, channel: str = AS_WRITTEN) -> list[Figure]:
    """The shares that the tables show, in the order of `NAMES`; no figures where it has no gallery."""
    found = row.verification(version, channel)
    if found is None:
        return []
    return [
        Figure(found.nearest, found.photos),
        *(Figure(found.accepted.get(far), found.photos) for far in FARS),
        Figure(found.lost, found.matched),
    ]


def columns(row: Row, version: str, channel: str) -> dict[str, float | None]:
    """Values of `COLUMNS`, for the CSV; None where it has no gallery or there is too little to tell."""
    line: dict[str, float | None] = dict.fromkeys(COLUMNS)
    found, matches = row.verification(version, channel), row.matches
    if found is None or matches is None:
        return line
    line |= {"recognizable": found.photos, "left_out": found.left_out, "matched": found.matched}
    line |= {"threshold": matches.threshold, "impostors": matches.impostors}
    line |= {f"threshold_{limit.far:g}": limit.cosine for limit in matches.limits if limit.far in FARS}
    for name, figure in zip(SHARES, figures(row, version, channel), strict=True):
        if figure.share is not None:
            low, high = figure.interval
            line |= {name: figure.share, f"{name}_low": low, f"{name}_high": high}
    return line


def notes(results: Results, quote: Callable[[str], str]) -> list[str]:
    """Of each such model its thresholds, which of them are not resolved, and how many photos are left out."""
    return [f"{quote(row.model)} {'; '.join(_told(row))}" for row in recognizers(results)]


def _told(row: Row) -> list[str]:
    matches = row.matches
    if matches is None:
        return []
    left_out = matches.persons.count(None)
    return [
        f"names a person at a cosine of {matches.threshold:.3f}",
        *(
            f"{limit.cosine:.3f} is its threshold at FAR {limit.far:g}"
            if limit.cosine is not None
            else f"FAR {limit.far:g} needs {math.ceil(1 / limit.far - FLOAT_SLACK)} impostor scores, and there "
            f"{'is' if matches.impostors == 1 else 'are'} {matches.impostors}"
            for limit in matches.limits
        ),
        *([OWN_NOTE] if row.truth == "own" else []),
        *([f"{left_out} of {len(matches.persons)} photos show nobody of its gallery"] if left_out else []),
    ]
