"""The authorized model's margins through deployments, as the manifest of a run records them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from onlymymodel.errors import number_of
from onlymymodel.evaluate.score import Proportion
from onlymymodel.evaluate.text import percent
from onlymymodel.protect.photo_record import WRITTEN, PhotoRecord


@dataclass(frozen=True)
class RecordedMargins:
    """Margins through one deployment over the protected photos whose originals the authorized model reads through it.

    Attributes:
        photos: number of these photos, at least one.
        kept: how many of them it reads when protected.
        before, after: mean margins of the originals and of the written files, in logits; positive where it reads them.
        least: smallest margin of a written file.
        least_photo: path of that photo below the source folder.
    """

    photos: int
    kept: int
    before: float
    after: float
    least: float
    least_photo: str


@dataclass(frozen=True)
class MarginSummary:
    """The recorded margins of one run over all its deployments.

    Attributes:
        deployments: number of deployments.
        before, mean: means over the deployments of the mean margins of the originals and of the written files.
        least_name: the deployment with the smallest margin of a written file.
        least: its margins.
        kept: how many of the pairs of a photo and a deployment are kept.
    """

    deployments: int
    before: float
    mean: float
    least_name: str
    least: RecordedMargins
    kept: Proportion

    def describe(self) -> str:
        """Return one sentence."""
        assert self.kept.share is not None
        kept, deployments = percent(self.kept.share), number_of(self.deployments, "deployment")
        return (
            f"as recorded when the photos were protected, the authorized model kept {kept} of what it reads when clean "
            f"through {deployments}, with a margin of {self.mean:.1f} in the mean and {self.least.least:.2f} at least "
            f"({self.least_name}, {self.least.least_photo})"
        )


def recorded_margins(records: Iterable[PhotoRecord]) -> dict[str, RecordedMargins]:
    """Return the margins of each deployment; none where the recipe kept none or no photo was written.

    Photos without a file are left out: their margins are those of a change that was refused.
    """
    margins: dict[str, list[tuple[str, float, float]]] = {}
    for record in records:
        for name, measured in record.promised.items() if record.status in WRITTEN else ():
            margins.setdefault(name, []).append((record.source, measured.before, measured.after))
    return {name: _margins(photos) for name, photos in margins.items()}


def _margins(photos: list[tuple[str, float, float]]) -> RecordedMargins:
    least_photo, _, least = min(photos, key=lambda photo: photo[2])
    return RecordedMargins(
        photos=len(photos),
        kept=sum(after > 0 for _, _, after in photos),
        before=fmean(before for _, before, _ in photos),
        after=fmean(after for _, _, after in photos),
        least=least,
        least_photo=least_photo,
    )


def summarize_margins(margins: Mapping[str, RecordedMargins]) -> MarginSummary | None:
    """Return the summary over all deployments; None where there are none."""
    if not margins:
        return None
    name = min(margins, key=lambda name: (margins[name].least, name))
    kept = Proportion(sum(one.kept for one in margins.values()), sum(one.photos for one in margins.values()))
    before, after = (
        fmean(values) for values in zip(*((one.before, one.after) for one in margins.values()), strict=True)
    )
    return MarginSummary(len(margins), before, after, name, margins[name], kept)
