"""The judge: what every model says of original and protected photos. It never sees a gradient."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.classifier import ModelCard

Role = Literal["authorized", "surrogate", "held-out"]
WILSON_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Pair:
    """A photo before and after, as decoded from the files: HWC uint8, and the authorized model's label."""

    name: str
    original: NDArray[np.uint8]
    protected: NDArray[np.uint8]
    label: int


@dataclass(frozen=True)
class Judge:
    """A model and the part that it plays."""

    role: Role
    model: BlackBox


@dataclass(frozen=True)
class Row:
    """One model's answers to all pairs.

    Attributes:
        truth: `label` where the model speaks the authorized model's language; else `own`, its own clean answer,
            which is then right by definition on the originals.
        right_before, right_after: how many of `photos` it reads right.
        right_before_and_after: of those read right before, how many still are.
        answers_before, answers_after: its class index for each pair.
    """

    model: str
    role: Role
    sha256: str
    truth: Literal["label", "own"]
    photos: int
    right_before: int
    right_after: int
    right_before_and_after: int
    answers_before: tuple[int, ...]
    answers_after: tuple[int, ...]
    names: tuple[str, ...] = ()

    @property
    def interval_after(self) -> tuple[float, float]:
        """Wilson 95 % interval of the share read right after protection."""
        return wilson(self.right_after, self.photos)

    def name_of(self, answer: int) -> str:
        """What the model calls a class."""
        return self.names[answer] if answer < len(self.names) else str(answer)

    def to_json(self) -> dict[str, Any]:
        """The row with its interval, without class names."""
        fields = asdict(self)
        del fields["names"]
        return {**fields, "interval_after": self.interval_after}


def evaluate_models(judges: Sequence[Judge], pairs: Iterable[Pair], *, progress: bool = True) -> list[Row]:
    """Ask every model about every pair.

    Args:
        judges: exactly one of them authorized; a held-out model may not share weights with any other.
        pairs: at least one; read one at a time, so that a folder need not fit into memory.

    Raises:
        UserError: no pairs, sizes that differ within a pair, a held-out model that is not independent.
    """
    authorized = [judge.model.card for judge in judges if judge.role == "authorized"]
    if len(authorized) != 1:
        raise UserError(f"an evaluation needs one authorized model, not {len(authorized)}")
    check_independence(judges)
    labels: list[int] = []
    answers: list[list[tuple[int, int]]] = [[] for _ in judges]
    for pair in tqdm(pairs, unit="photo", desc="judging", disable=None if progress else True):
        if pair.original.shape[:2] != pair.protected.shape[:2]:
            raise UserError(f"{pair.name}: the protected photo has another size than the original")
        labels.append(pair.label)
        for judge, said in zip(judges, answers, strict=True):
            before, after = judge.model.predict([pair.original, pair.protected]).argmax(1).tolist()
            said.append((before, after))
    if not labels:
        raise UserError("there is no pair of an original and a protected photo to judge")
    return [_row(judge, said, labels, authorized[0]) for judge, said in zip(judges, answers, strict=True)]


def _row(judge: Judge, said: Sequence[tuple[int, int]], labels: Sequence[int], authorized: ModelCard) -> Row:
    card = judge.model.card
    speaks = card.speaks_like(authorized)
    truth = labels if speaks else [before for before, _ in said]
    marks = [(before == true, after == true) for (before, after), true in zip(said, truth, strict=True)]
    return Row(
        model=card.uri,
        role=judge.role,
        sha256=card.sha256,
        truth="label" if speaks else "own",
        photos=len(labels),
        right_before=sum(before for before, _ in marks),
        right_after=sum(after for _, after in marks),
        right_before_and_after=sum(before and after for before, after in marks),
        answers_before=tuple(before for before, _ in said),
        answers_after=tuple(after for _, after in said),
        names=card.labels,
    )


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson score interval, 95 %, of a share (Wilson, JASA 1927)."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = hits / total, WILSON_Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = WILSON_Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def check_independence(judges: Sequence[Judge]) -> None:
    """Refuse a held-out model that would judge itself.

    Raises:
        UserError: it has the weights or the declared parent of a model that took part.
    """
    used = [judge.model.card for judge in judges if judge.role != "held-out"]
    for judge in judges:
        card = judge.model.card
        if judge.role != "held-out":
            continue
        if any(card.sha256 == other.sha256 for other in used):
            raise UserError(f"held-out model {card.uri} took part in the protection (the same weights)")
        if card.parent and any(card.parent == other.parent for other in used):
            raise UserError(
                f"held-out model {card.uri} has a parent in common with a model that took part: {card.parent}"
            )
