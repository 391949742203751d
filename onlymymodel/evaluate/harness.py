"""The evaluation harness: answers of every model to original and protected photos. It uses no gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onlymymodel.data.pixels import to_tensor
from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS, AnyChannel
from onlymymodel.evaluate.face_verification import Cosines, GalleryMatches, match_gallery
from onlymymodel.evaluate.judges import Judge, JudgeAnswer, Pixels, ask_judge, check_unique, reason_excluded
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer, Failure, Results, Row, Run
from onlymymodel.progress import track
from onlymymodel.protect.budget.distortion import Distortion, measure
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.class_mapping import map_classes
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.deployments import Deployment
from onlymymodel.surrogates.gallery import cosines_of
from onlymymodel.surrogates.readings import deployed


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


@dataclass
class _Answers:
    """A model's answers as they come in, by version and channel; the cosines too of a model that has a gallery."""

    gallery: bool
    answers: dict[str, dict[str, list[Answer]]] = field(default_factory=dict)
    cosines: dict[str, dict[str, list[Cosines | None]]] = field(default_factory=dict)
    threshold: float | None = None

    def add(self, version: str, channel: str, answer: JudgeAnswer) -> None:
        """Append the answer to the next photo."""
        self.answers.setdefault(version, {}).setdefault(channel, []).append(answer.answer)
        if self.gallery:  # all are kept: whether the labels apply is known only after the last photo
            scores = answer.scores
            cosines, self.threshold = (None, self.threshold) if scores is None else cosines_of(scores)
            self.cosines.setdefault(version, {}).setdefault(channel, []).append(cosines)


def evaluate_models(
    judges: Sequence[Judge],
    pairs: Iterable[Pair],
    *,
    channels: Sequence[AnyChannel] = (CHANNELS[AS_WRITTEN],),
    took_part: Sequence[ModelCard] = (),
    cache: AnswerCache | None = None,
    perceptual: Callable[[Pixels, Pixels], float] | None = None,
    progress: bool = True,
    total: int | None = None,
) -> Results:
    """Ask every model about every version of every photo, through every channel.

    Args:
        judges: exactly one of them authorized. The row of a held-out model that is not independent says so.
        pairs: at least one, all with the same runs; read one at a time, so that a folder need not fit into memory.
        channels: channels for originals and protected photos; `png` is always evaluated, and first. A deployment also
            changes how models read the photos.
        took_part: cards of models that the photos were made with, in addition to those of the judges.
        cache: cache of answers; known answers are taken from it, new ones are written to it.
        perceptual: LPIPS of an original and a protected photo; not measured if None.
        progress: show progress.
        total: number of pairs, for the progress; None where it is not known.

    Returns:
        Results whose runs carry no more than their names and distortion.

    Raises:
        UserError: no pairs, sizes that differ within a pair, not one authorized model, one held-out model twice.
        QueryBudgetExhausted: no further query may be sent to a black box; with a cache, a later call continues there.
    """
    count = sum(judge.role == "authorized" for judge in judges)
    if count != 1:
        raise UserError(f"an evaluation needs one authorized model, not {count}")
    check_unique(judges)
    channels = [CHANNELS[AS_WRITTEN], *(channel for channel in channels if channel.name != AS_WRITTEN)]
    collected, failures = [_Answers(bool(judge.model.card.gallery)) for judge in judges], list[Failure]()
    models = {channel.name: [_reader(judge.model, channel, cache) for judge in judges] for channel in channels}
    names: list[str] = []
    labels: list[int] = []
    distortion: dict[str, list[Distortion]] = {}
    for pair in track(pairs, "judging", total=total, progress=progress):
        for run, pixels in pair.protected.items():
            distortion.setdefault(run, []).append(_distortion(pair, pixels, perceptual))
        names.append(pair.name)
        labels.append(pair.label)
        for version, pixels in {CLEAN: pair.original, **pair.protected}.items():
            for channel in channels:
                image = channel.apply(pixels)
                for model, answers in zip(models[channel.name], collected, strict=True):
                    answer = ask_judge(model, image)
                    answers.add(version, channel.name, answer)
                    if answer.failure:
                        failures.append(Failure(model.card.uri, pair.name, version, channel.name, answer.failure))
    if not names:
        raise UserError("there is no pair of an original and a protected photo to judge")
    used = [*(judge.model.card for judge in judges if judge.role != "held-out"), *took_part]
    authorized = next(judge.model.card for judge in judges if judge.role == "authorized")
    return Results(
        photos=tuple(names),
        labels=tuple(labels),
        runs=tuple(Run(run, tuple(distances)) for run, distances in distortion.items()),
        channels=tuple(channel.name for channel in channels),
        rows=tuple(
            _row(judge, answers, labels, authorized, used) for judge, answers in zip(judges, collected, strict=True)
        ),
        failures=tuple(failures),
    )


def _reader(model: BlackBox, channel: AnyChannel, cache: AnswerCache | None) -> BlackBox:
    """Return the model as a channel has it read, with its answers cached."""
    if isinstance(channel, Deployment):
        model = deployed(model, channel.reading)
    return model if cache is None else CachedBlackBox(model, cache)


def _distortion(pair: Pair, protected: Pixels, perceptual: Callable[[Pixels, Pixels], float] | None) -> Distortion:
    if pair.original.shape[:2] != protected.shape[:2]:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (protected, pair.original)]
        raise UserError(f"{pair.name}: the protected photo is {sizes[0]} pixels, its original {sizes[1]}")
    # WebP stores a gray photo as three equal channels, and another tool may write a color photo as gray
    original, protected = np.broadcast_arrays(pair.original, protected)
    distortion = measure(to_tensor(protected), to_tensor(original))
    return distortion if perceptual is None else replace(distortion, lpips=perceptual(original, protected))


def _row(
    judge: Judge, collected: _Answers, labels: Sequence[int], authorized: ModelCard, used: Sequence[ModelCard]
) -> Row:
    card = judge.model.card
    classes = map_classes(authorized, card)
    mapped = tuple(classes[label] for label in labels) if classes else ()
    knows_labels = any(index is not None for index in mapped)
    answers = {
        version: {channel: tuple(indices) for channel, indices in channels.items()}
        for version, channels in collected.answers.items()
    }
    truths: tuple[Answer, ...] = mapped if knows_labels else answers[CLEAN][AS_WRITTEN]
    occurring = {answer for channels in answers.values() for indices in channels.values() for answer in indices} | {
        *truths
    }
    return Row(
        model=card.uri,
        role=judge.role,
        sha256=card.sha256,
        family=card.family,
        parent=card.parent,
        truth="label" if knows_labels else "own",
        truths=truths,
        answers=answers,
        exclusion=reason_excluded(card, used) if judge.role == "held-out" else "",
        unmapped=_unmapped(authorized, labels, mapped) if knows_labels else (),
        names={index: card.name_of(index) for index in sorted(index for index in occurring if index is not None)},
        matches=_matches(collected, truths, card.classes - 1),
    )


def _matches(collected: _Answers, truths: Sequence[Answer], people: int) -> GalleryMatches | None:
    """Return whom a model found among its `people` identities; None if it has no gallery or never answered."""
    if collected.threshold is None:
        return None
    # the class after the identities is the stranger, who is not in the gallery
    persons = [truth if truth is not None and truth < people else None for truth in truths]
    return match_gallery(collected.cosines, collected.cosines[CLEAN][AS_WRITTEN], persons, collected.threshold)


def _unmapped(authorized: ModelCard, labels: Sequence[int], mapped: Sequence[Answer]) -> tuple[str, ...]:
    """Return the names of the occurring classes that a model does not have."""
    missing = {label for label, index in zip(labels, mapped, strict=True) if index is None}
    return tuple(authorized.name_of(label) for label in sorted(missing))
