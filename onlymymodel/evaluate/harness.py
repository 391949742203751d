"""The judge: what every model says of original and protected photos. It never sees a gradient."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from onlymymodel.errors import UserError
from onlymymodel.evaluate.channels import CHANNELS, Channel
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Answer, Failure, Results, Role, Row, Run
from onlymymodel.evaluate.verification import Cosines, Matches, match
from onlymymodel.protect.distortion import Distortion, measure
from onlymymodel.protect.photo import to_tensor
from onlymymodel.surrogates.answer_book import AnswerBook, AskedOnce
from onlymymodel.surrogates.black_box import BlackBox, BudgetSpent, ask
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.family import family_of
from onlymymodel.surrogates.gallery import cosines_of
from onlymymodel.surrogates.vocabulary import translation

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]  # (classes,)
# what two models may have in common, the closest first, and whether their cards say so
KINSHIP: dict[str, Callable[[ModelCard, ModelCard], bool]] = {
    "weights": ModelCard.same_weights,
    "parent": lambda card, other: bool(card.parent) and card.parent.casefold() == other.parent.casefold(),
    "family": lambda card, other: bool(card.family) and family_of(card.family) == family_of(other.family),
}


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


@dataclass(frozen=True)
class Judge:
    """A model and the part that it plays."""

    role: Role
    model: BlackBox


@dataclass
class _Said:
    """A model's answers as they come in, by version and channel; where it has a gallery its cosines too."""

    gallery: bool
    answers: dict[str, dict[str, list[Answer]]] = field(default_factory=dict)
    cosines: dict[str, dict[str, list[Cosines | None]]] = field(default_factory=dict)
    threshold: float | None = None

    def add(self, version: str, channel: str, answer: Answer, scores: Scores | None) -> None:
        self.answers.setdefault(version, {}).setdefault(channel, []).append(answer)
        if self.gallery:  # all of them are kept: whether the labels apply is known only after the last photo
            cosines, self.threshold = (None, self.threshold) if scores is None else cosines_of(scores)
            self.cosines.setdefault(version, {}).setdefault(channel, []).append(cosines)


def evaluate_models(
    judges: Sequence[Judge],
    pairs: Iterable[Pair],
    *,
    channels: Sequence[Channel] = (CHANNELS[AS_WRITTEN],),
    took_part: Sequence[ModelCard] = (),
    book: AnswerBook | None = None,
    perceptual: Callable[[Pixels, Pixels], float] | None = None,
    progress: bool = True,
) -> Results:
    """Ask every model about every version of every photo, through every channel.

    Args:
        judges: exactly one of them authorized. A held-out model that is not independent gets a remark.
        pairs: at least one, all with the same runs; read one at a time, so that a folder need not fit into memory.
        channels: `png` is always asked first; originals and protected photos go the same way.
        took_part: cards of models that the photos were made with, beside those of the judges.
        book: answers that are known already are taken from it, new ones are written to it.
        perceptual: LPIPS of an original and a protected photo, where it is wanted.

    Returns:
        Results whose runs carry no more than their names and distortion.

    Raises:
        UserError: no pairs, sizes that differ within a pair, not one authorized model, one held-out model twice.
        BudgetSpent: a black box may not be asked any more; with a book, a later call goes on from there.
    """
    if sum(judge.role == "authorized" for judge in judges) != 1:
        count = sum(judge.role == "authorized" for judge in judges)
        raise UserError(f"an evaluation needs one authorized model, not {count}")
    check_named_once(judges)
    channels = [CHANNELS[AS_WRITTEN], *(channel for channel in channels if channel.name != AS_WRITTEN)]
    said, failures = [_Said(bool(judge.model.card.gallery)) for judge in judges], list[Failure]()
    answerers = [judge.model if book is None else AskedOnce(judge.model, book) for judge in judges]
    names: list[str] = []
    labels: list[int] = []
    distortion: dict[str, list[Distortion]] = {}
    for pair in tqdm(pairs, unit="photo", desc="judging", disable=None if progress else True):
        for run, pixels in pair.protected.items():
            distortion.setdefault(run, []).append(_distortion(pair, pixels, perceptual))
        names.append(pair.name)
        labels.append(pair.label)
        for version, pixels in {CLEAN: pair.original, **pair.protected}.items():
            for channel in channels:
                image = channel.apply(pixels)
                for model, sayings in zip(answerers, said, strict=True):
                    answer, scores = _ask(model, image, (pair.name, version, channel.name), failures)
                    sayings.add(version, channel.name, answer, scores)
    if not names:
        raise UserError("there is no pair of an original and a protected photo to judge")
    used = [*(judge.model.card for judge in judges if judge.role != "held-out"), *took_part]
    authorized = next(judge.model.card for judge in judges if judge.role == "authorized")
    return Results(
        photos=tuple(names),
        labels=tuple(labels),
        runs=tuple(Run(run, tuple(found)) for run, found in distortion.items()),
        channels=tuple(channel.name for channel in channels),
        rows=tuple(_row(judge, sayings, labels, authorized, used) for judge, sayings in zip(judges, said, strict=True)),
        failures=tuple(failures),
    )


def _distortion(pair: Pair, protected: Pixels, perceptual: Callable[[Pixels, Pixels], float] | None) -> Distortion:
    if pair.original.shape[:2] != protected.shape[:2]:
        was, now = (f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (pair.original, protected))
        raise UserError(f"{pair.name}: the protected photo is {now} pixels, its original {was}")
    # WebP gives a gray photo back as three equal channels, and another tool may write a color photo as gray
    original, protected = np.broadcast_arrays(pair.original, protected)
    found = measure(to_tensor(protected), to_tensor(original))
    if perceptual is None:
        return found
    return Distortion(found.linf, found.l2, found.psnr, found.ssim, perceptual(original, protected))


def _ask(
    model: BlackBox, image: Pixels, where: tuple[str, str, str], failures: list[Failure]
) -> tuple[Answer, Scores | None]:
    """A model's answer, with its scores. Whatever a stranger's model raises, or says that is no answer, costs that
    answer, not the evaluation; it is counted."""
    try:
        scores = ask(model, image)
        return int(scores.argmax()), scores
    except BudgetSpent:
        raise
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        failures.append(Failure(model.card.uri, *where, reason))
        return None, None


def _row(judge: Judge, said: _Said, labels: Sequence[int], authorized: ModelCard, used: Sequence[ModelCard]) -> Row:
    card = judge.model.card
    words = translation(authorized, card)
    known = tuple(words[label] for label in labels) if words else ()
    speaks = any(word is not None for word in known)
    answers = {
        version: {channel: tuple(given) for channel, given in channels.items()}
        for version, channels in said.answers.items()
    }
    truths: tuple[Answer, ...] = known if speaks else answers[CLEAN][AS_WRITTEN]
    occurring = {answer for channels in answers.values() for given in channels.values() for answer in given} | {*truths}
    return Row(
        model=card.uri,
        role=judge.role,
        sha256=card.sha256,
        family=card.family,
        parent=card.parent,
        truth="label" if speaks else "own",
        truths=truths,
        answers=answers,
        remark=_remark(card, used) if judge.role == "held-out" else "",
        unmapped=_unmapped(authorized, labels, known) if speaks else (),
        names={index: card.name_of(index) for index in sorted(index for index in occurring if index is not None)},
        matches=_matches(said, truths, card.classes - 1),
    )


def _matches(said: _Said, truths: Sequence[Answer], people: int) -> Matches | None:
    """Whom a model found among so many people; None where it has no gallery or never answered."""
    if said.threshold is None:
        return None
    # the class behind the people is the stranger, who is nobody of the gallery
    persons = [truth if truth is not None and truth < people else None for truth in truths]
    return match(said.cosines, said.cosines[CLEAN][AS_WRITTEN], persons, said.threshold)


def _unmapped(authorized: ModelCard, labels: Sequence[int], known: Sequence[Answer]) -> tuple[str, ...]:
    """Names of the occurring classes for which a model has no word."""
    missing = {label for label, word in zip(labels, known, strict=True) if word is None}
    return tuple(authorized.name_of(label) for label in sorted(missing))


def _remark(card: ModelCard, used: Sequence[ModelCard]) -> str:
    found = kinship(card, used)
    return f"the same {found[0]} as {found[1].uri}" if found else ""


def kinship(card: ModelCard, used: Iterable[ModelCard]) -> tuple[str, ModelCard] | None:
    """How a model depends on those that took part, and on which of them; None where it is independent."""
    others = list(used)
    for kind, related in KINSHIP.items():
        for other in others:
            if related(card, other):
                return kind, other
    return None


def check_named_once(judges: Sequence[Judge]) -> None:
    """Refuse one held-out model under two names: in a mean it would weigh double.

    Raises:
        UserError: two held-out models have the same weights.
    """
    heldout = [judge.model.card for judge in judges if judge.role == "held-out"]
    for first, second in combinations(heldout, 2):
        if first.same_weights(second):
            raise UserError(f"held-out model {second.uri} is named twice: {first.uri} has the same weights")


def check_independence(judges: Sequence[Judge]) -> None:
    """Refuse, before any work is done, a held-out model that would judge itself, or judge twice.

    One that only is of the same family is let in: its row will be marked.

    Raises:
        UserError: it has the weights or the declared parent of a model that took part; see `check_named_once`.
    """
    check_named_once(judges)
    used = [judge.model.card for judge in judges if judge.role != "held-out"]
    for judge in judges:
        found = kinship(judge.model.card, used) if judge.role == "held-out" else None
        if found is not None and found[0] != "family":
            kind, other = found
            raise UserError(
                f"held-out model {judge.model.card.uri} has the same {kind} as {other.uri}, which took part"
            )
