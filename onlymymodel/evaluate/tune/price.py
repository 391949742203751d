"""The price of a tuning before it starts: photos, levels, and minutes from a few timed steps on one photo."""

from collections.abc import Sequence
from dataclasses import dataclass

from onlymymodel.data.folder import Entry
from onlymymodel.errors import number_of
from onlymymodel.evaluate.tune.search import Measurement, Search, Target, first_levels, first_levels_of_photo
from onlymymodel.evaluate.tune.tuning import Tuning
from onlymymodel.progress import duration
from onlymymodel.protect.folder import Job
from onlymymodel.protect.plan import Timing, time_photo


@dataclass(frozen=True)
class Protections:
    """Number of protections of a search.

    Attributes:
        photos: number of photos.
        fewest, most: bounds on the number of levels at which each of them is protected.
    """

    photos: int
    fewest: int
    most: int

    @property
    def range(self) -> tuple[int, int]:
        """The fewest and the most protections in all."""
        return self.photos * self.fewest, self.photos * self.most


@dataclass(frozen=True)
class Price:
    """The price of a tuning.

    Attributes:
        sample: protections of the sample.
        each: protections of all photos, for their own budgets; None where they are not searched.
        timing: of one photo at the highest level; None where no photo that was tried can be protected.
    """

    sample: Protections
    each: Protections | None
    timing: Timing | None

    @property
    def seconds(self) -> tuple[float, float] | None:
        """The time of the fewest and of the most protections, without the answers of judges."""
        if self.timing is None:
            return None
        fewest, most = self.protections
        return fewest * self.timing.seconds, most * self.timing.seconds

    @property
    def protections(self) -> tuple[int, int]:
        """The fewest and the most protections of a photo in all."""
        parts = [self.sample.range, *([self.each.range] if self.each else [])]
        return sum(part[0] for part in parts), sum(part[1] for part in parts)

    def describe(self) -> str:
        """Return one sentence."""
        work = _in_words(self.sample)
        if self.each is not None:
            work += f", then {_in_words(self.each)} for their own budgets"
        if self.timing is None:
            return f"{work}: the time is not known, since no photo that was tried can be protected"
        low, high = (duration(count * self.timing.seconds) for count in self.protections)
        time = low if low == high else f"{low} to {high}"
        return (
            f"{work}: about {time}, by {self.timing.seconds:.1f} s for a photo at a level (measured in a few steps on "
            f"{self.timing.photo}); the judges' answers come on top"
        )


def price_of(tuning: Tuning, entries: Sequence[Entry], *, each: bool) -> Price:
    """Return the price of a tuning; a photo of middle size is protected in a few steps, in memory.

    Args:
        tuning: the inputs.
        entries: the photos of its source.
        each: whether a budget is searched for every photo, too.
    """
    highest = tuning.highest
    job = Job(
        source=tuning.source,
        out=tuning.out,
        context=tuning.context_at(highest),
        uris=tuning.uris_from(tuning.out),
        labels=tuning.labels,
        masks=tuning.masks,
        batch_size=tuning.batch_size,
        limits=tuning.limits,
    )
    sample = Protections(min(tuning.sample, len(entries)), *level_counts(first_levels(highest), sampled=True))
    of_each = Protections(len(entries), *level_counts(first_levels_of_photo(highest), sampled=False)) if each else None
    return Price(sample, of_each, time_photo(job, entries) if entries else None)


def level_counts(first: tuple[int, ...], *, sampled: bool) -> tuple[int, int]:
    """Return the fewest and the most levels that a search measures where protection grows steadily with the level.

    Args:
        first: see `Search`; the largest is the highest level.
        sampled: see `Search`.
    """
    highest, counts = max(first), []
    for least in range(1, highest + 2):  # the least level that suffices; beyond the highest: none does
        search = Search(Target(), first, range(1, highest + 1), sampled=sampled)
        while (level := search.next_level) is not None:
            search.add(Measurement(level, 0.0 if level >= least else 1.0, 1.0))
        counts.append(len(search.measurements))
    return min(counts), max(counts)


def _in_words(protections: Protections) -> str:
    few, most = protections.fewest, protections.most
    levels = number_of(few, "level") if few == most else f"{few} to {most} levels"
    return f"{number_of(protections.photos, 'photo')} at {levels}"
