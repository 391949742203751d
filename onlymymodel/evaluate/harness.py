"""The evaluation harness: answers of every model to original and protected photos. It uses no gradients."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onlymymodel.data.attributes import AttributeLabels
from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS, AnyChannel
from onlymymodel.evaluate.judges import Judge, Pixels, ask_judge, check_unique
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Failure, Results, Run
from onlymymodel.evaluate.rows import Collected, make_row
from onlymymodel.progress import track
from onlymymodel.protect.budget.distortion import Distortion
from onlymymodel.protect.budget.measure import measure
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.checks import require_classes
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.deployments import Deployment
from onlymymodel.surrogates.detector import Detects
from onlymymodel.surrogates.readings import deployed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A photo before and after, as decoded from the files.

    Attributes:
        original: HWC uint8.
        protected: the protected version of each run by the run's name, HWC uint8 of the original's size.
        label: the authorized model's right class.
    """

    name: str
    original: Pixels
    protected: Mapping[str, Pixels]
    label: int


def evaluate_models(
    judges: Sequence[Judge],
    pairs: Iterable[Pair],
    *,
    channels: Sequence[AnyChannel] = (CHANNELS[AS_WRITTEN],),
    took_part: Sequence[ModelCard] = (),
    cache: AnswerCache | None = None,
    distances: bool = True,
    perceptual: Callable[[Pixels, Pixels], float] | None = None,
    attributes: AttributeLabels | None = None,
    progress: bool = True,
    total: int | None = None,
) -> Results:
    """Ask every model about every version of every photo, through every channel.

    Args:
        judges: exactly one of them authorized. The row of a held-out model that is not independent says so.
        pairs: at least one, all with the same runs; read one at a time, so that a folder need not fit into memory.
        channels: channels for originals and protected photos; `png` is always evaluated, and first. A deployment also
            changes how models read the photos. Deployments that move objects' boxes are left out, with a warning, where
            the authorized model is a detector, which has to find its objects at their places.
        took_part: cards of models that the photos were made with, in addition to those of the judges.
        cache: cache of answers; known answers are taken from it, new ones are written to it.
        distances: measure the distortion of every photo, which takes seconds a megapixel; without it runs have none.
        perceptual: LPIPS of an original and a protected photo; not measured if None.
        attributes: labels of the photos' attributes, for models of attributes; None where there are none.
        progress: show progress.
        total: number of pairs, for the progress; None where it is not known.

    Returns:
        Results whose runs carry no more than their names and distortion.

    Raises:
        UserError: no pairs, sizes that differ within a pair, not one authorized model, one without classes, one
            held-out model twice.
        QueryBudgetExhausted: no further query may be sent to a black box; with a cache, a later call continues there.
    """
    count = sum(judge.role == "authorized" for judge in judges)
    if count != 1:
        raise UserError(f"an evaluation needs one authorized model, not {count}")
    authorized = next(judge.model.card for judge in judges if judge.role == "authorized")
    require_classes(authorized)
    check_unique(judges)
    channels = [CHANNELS[AS_WRITTEN], *(channel for channel in channels if channel.name != AS_WRITTEN)]
    if authorized.kind == "detector":
        channels = _without_moved_boxes(channels)
    collected = [Collected(judge.model.card.needs_scores, isinstance(judge.model, Detects)) for judge in judges]
    failures: list[Failure] = []
    readers = {channel.name: [_reader(judge.model, channel, cache) for judge in judges] for channel in channels}
    names: list[str] = []
    labels: list[int] = []
    distortion: dict[str, list[Distortion]] = {}  # of every run, empty where it is not measured
    for pair in track(pairs, "judging", total=total, progress=progress):
        for run, pixels in pair.protected.items():
            _check_size(pair, pixels)
            measured = distortion.setdefault(run, [])
            if distances:
                measured.append(_distortion(pair.original, pixels, perceptual))
        names.append(pair.name)
        labels.append(pair.label)
        for version, pixels in {CLEAN: pair.original, **pair.protected}.items():
            for channel in channels:
                image = channel.apply(pixels)
                for reader, answers in zip(readers[channel.name], collected, strict=True):
                    answer = ask_judge(reader, image)
                    answers.add(version, channel.name, answer)
                    if answer.failure:
                        failures.append(Failure(reader.card.uri, pair.name, version, channel.name, answer.failure))
    if not names:
        raise UserError("there is no pair of an original and a protected photo to judge")
    used = [*(judge.model.card for judge in judges if judge.role != "held-out"), *took_part]
    return Results(
        photos=tuple(names),
        labels=tuple(labels),
        runs=tuple(Run(run, tuple(measured)) for run, measured in distortion.items()),
        channels=tuple(channel.name for channel in channels),
        rows=tuple(
            make_row(judge, answers, names, labels, authorized, used, attributes)
            for judge, answers in zip(judges, collected, strict=True)
        ),
        failures=tuple(failures),
    )


def _without_moved_boxes(channels: Sequence[AnyChannel]) -> list[AnyChannel]:
    """Return the channels but for those that move objects' boxes, and say which these are."""
    moving = [channel for channel in channels if isinstance(channel, Deployment) and channel.reading.moves_boxes]
    if moving:
        names = ", ".join(channel.name for channel in moving)
        log.warning("left out, since they move the boxes of what the authorized model finds: %s", names)
    return [channel for channel in channels if channel not in moving]


def _reader(model: BlackBox, channel: AnyChannel, cache: AnswerCache | None) -> BlackBox:
    """Return a model as a channel has it read, with its answers cached; the boxes of a detector are not."""
    model = deployed(model, channel.reading) if isinstance(channel, Deployment) else model
    return model if cache is None or isinstance(model, Detects) else CachedBlackBox(model, cache)


def _check_size(pair: Pair, protected: Pixels) -> None:
    if pair.original.shape[:2] != protected.shape[:2]:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (protected, pair.original)]
        raise UserError(f"{pair.name}: the protected photo is {sizes[0]} pixels, its original {sizes[1]}")


def _distortion(
    original: Pixels, protected: Pixels, perceptual: Callable[[Pixels, Pixels], float] | None
) -> Distortion:
    # WebP stores a gray photo as three equal channels, and another tool may write a color photo as gray
    original, protected = np.broadcast_arrays(original, protected)
    distortion = measure(to_tensor(protected), to_tensor(original))
    return distortion if perceptual is None else replace(distortion, lpips=perceptual(original, protected))
