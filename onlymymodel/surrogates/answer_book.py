"""A book of answers on disk: no image is asked twice, no budget is overspent, whatever kills a run."""

import base64
import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.manifest import Manifest
from onlymymodel.errors import UserError
from onlymymodel.surrogates.asked_view import view_of
from onlymymodel.surrogates.black_box import BlackBox, BudgetSpent, CountsQueries, ask, one_hot
from onlymymodel.surrogates.classifier import ModelCard
from onlymymodel.surrogates.recorded import MAX_FILE, MAX_LINE, Line, RecordedBlackBox, image_key, parse_line

Scores = NDArray[np.float32]
MAX_SCORED = MAX_FILE // 2  # bytes of a book behind which it takes answers without scores, so that it never gets full


class AnswerBook:
    """JSON lines, appended: {"asked", "model", "view"} before a query is sent, {"image", "answer", "model", "view"}
    after. `asked` and `image` are an `image_key`, `model` is the card's sha256, `view` (`view_of`) is what else
    an answer depends on. An answer may have {"scores"}, base64 of float32, little-endian, one a class. The file can
    be replayed as `recorded:`.

    Queries are counted in the file itself, so runs that share a book share a budget, also at the same time.

    Args:
        path: made by the first query, with its folders. A torn last line is cut off: its query was never sent.

    Raises:
        UserError: a line is not of these; OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = Manifest(path)
        self._answers: dict[tuple[str, str, str], int] = {}
        self._scores: dict[tuple[str, str, str], Scores] = {}
        self._sent: Counter[str] = Counter()
        self._read_bytes = 0
        self._read_count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lines.repair()
        self._refresh()

    def answer(self, card: ModelCard, view: str, key: str) -> int | None:
        """The class index that the model gave for an image, None where it was not recorded.

        Raises:
            UserError: the index is none of the model's.
        """
        answer = self._answers.get((card.sha256, view, key))
        if answer is not None and not 0 <= answer < card.classes:
            raise UserError(f"{self.path} has class {answer} for a model of {card.classes} classes; mend that line")
        return answer

    def scores(self, card: ModelCard, view: str, key: str) -> Scores | None:
        """The (classes,) scores that the model gave for an image, None where they were not recorded.

        Raises:
            UserError: there are more or fewer of them than classes.
        """
        scores = self._scores.get((card.sha256, view, key))
        if scores is not None and len(scores) != card.classes:
            raise UserError(
                f"{self.path} has {len(scores)} scores for a model of {card.classes} classes; delete that line"
            )
        return scores

    def sent(self, card: ModelCard) -> int:
        """How many queries to the model were ever recorded as sent."""
        return self._sent[card.sha256]

    def add_query(self, card: ModelCard, view: str, key: str) -> int:
        """Record that a query is about to be sent; return how many that makes, with those of other runs by now."""
        self._append({"asked": key, "model": card.sha256, "view": view})
        return self.sent(card)

    def add_answer(self, card: ModelCard, view: str, key: str, answer: int, scores: Scores | None = None) -> None:
        """Record an answer; it is on the disk when this returns. Scores are left out where they need too much room."""
        line: dict[str, object] = {"image": key, "answer": answer, "model": card.sha256, "view": view}
        if scores is not None:
            text = base64.b64encode(scores.astype("<f4").tobytes()).decode()
            if len(text) <= MAX_LINE // 2 and self._read_bytes + len(text) <= MAX_SCORED:
                line["scores"] = text
        self._append(line)

    def _append(self, line: dict[str, object]) -> None:
        self._lines.append(line)
        self._refresh()

    def _refresh(self) -> None:
        """Take in the lines that were added since the last time, our own and those of other runs."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            if size < self._read_bytes or size > MAX_FILE:
                wrong = "became shorter during the run" if size < self._read_bytes else "is too large"
                raise UserError(f"{self.path} {wrong}; begin another book")
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
        for text in whole.split(b"\n") if newline else ():
            self._read_count += 1
            line = parse_line(text)
            if line is None or not self._take(line):
                raise UserError(f"{self.path}, line {self._read_count} is not a line of an answer book; delete it")
        self._read_bytes += len(whole) + len(newline)

    def _take(self, line: Line) -> bool:
        """Whether a line could be understood."""
        model, view, answer = line.get("model"), line.get("view"), line.get("answer")
        key = line.get("asked", line.get("image"))
        if not (isinstance(model, str) and isinstance(view, str) and isinstance(key, str)):
            return False
        if "asked" in line:
            self._sent[model] += 1
            return True
        if not isinstance(answer, int) or isinstance(answer, bool):
            return False
        if "scores" in line:
            scores = _decoded(line["scores"])
            if scores is None:
                return False
            self._scores[model, view, key] = scores
        self._answers[model, view, key] = answer
        return True


class AskedOnce:
    """A black box that asks about no image twice: what the book knows is answered from there.

    A model whose card has no sha256 is asked every time, as nobody could say whose its answers in a book are; and
    recorded answers are looked up in their own file, where no question is sent.

    Args:
        box: the model; each query that it sends counts, retries too (see `CountsQueries`).
        book: shared by the models of a run.
        budget: queries to this model in all, over every run with this book; None for the box's own, if any.
            Where both are given the smaller holds.
    """

    def __init__(self, box: BlackBox, book: AnswerBook, budget: int | None = None) -> None:
        self.box = box
        self.book = book
        self.card = box.card
        own = box.budget if isinstance(box, CountsQueries) else None
        self.budget = min((limit for limit in (budget, own) if limit is not None), default=None)
        self.view: str = box.view if isinstance(box, AskedOnce) else view_of(box)
        self.recorded: bool = box.recorded if isinstance(box, AskedOnce) else isinstance(box, RecordedBlackBox)
        self.kept = bool(self.card.sha256) and not self.recorded

    def answer(self, image: NDArray[np.uint8]) -> int:
        """The class index for an HWC uint8 image.

        Raises:
            BudgetSpent: it is not in the book, and no further query may be sent.
            BlackBoxError: see `ask`; UserError: see the box.
        """
        key = image_key(image)
        known = self.book.answer(self.card, self.view, key) if self.kept else None
        return int(self._asked_now(key, image).argmax()) if known is None else known

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`: the scores of a model with a gallery, one-hot scores of any other."""
        one = self._scores if self.card.gallery else self._one_hot
        rows = [one(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _one_hot(self, image: NDArray[np.uint8]) -> Scores:
        return one_hot(self.answer(image), self.card.classes)

    def _scores(self, image: NDArray[np.uint8]) -> Scores:
        """From the book, or asked, again where the book has the answer alone."""
        key = image_key(image)
        known = self.book.scores(self.card, self.view, key) if self.kept else None
        return self._asked_now(key, image) if known is None else known

    def _asked_now(self, key: str, image: NDArray[np.uint8]) -> Scores:
        """The scores that the box gives now; they go into the book where the model has a gallery."""
        scores = self._ask(key, image)
        if self.kept:
            answer = int(scores.argmax())
            self.book.add_answer(self.card, self.view, key, answer, scores if self.card.gallery else None)
        return scores

    def _ask(self, key: str, image: NDArray[np.uint8]) -> Scores:
        if not isinstance(self.box, CountsQueries):
            if not self.recorded:
                self._spend(key)
            return ask(self.box, image)
        before, self.box.on_query = self.box.on_query, partial(self._spend, key)
        try:
            return ask(self.box, image)
        finally:
            self.box.on_query = before

    def _spend(self, key: str) -> None:
        limit = math.inf if self.budget is None else self.budget
        # Counted again after it is written: a run at the same time may have taken the last one.
        if self.book.sent(self.card) >= limit or self.book.add_query(self.card, self.view, key) > limit:
            raise BudgetSpent(
                f"the budget of {self.budget} queries to {self.card.uri} is spent (see {self.book.path}); allow more"
            )


def _decoded(text: object) -> Scores | None:
    """Scores as a line has them; None where they cannot be understood."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4") if isinstance(text, str) else None
    except ValueError:  # not base64, or not of whole numbers
        return None
