"""Recorded answers as a judge: what a model said, looked up by the image's own pixels."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import one_hot
from onlymymodel.surrogates.classifier import ModelCard, Preprocess
from onlymymodel.surrogates.uri import ModelUri, declared_classes, did_you_mean, override_card

MAX_FILE = 256 * 2**20  # bytes
MAX_LINE = 64 * 2**10
KEY = re.compile(r"[0-9a-f]{64}")
UNNAMED = "unnamed"  # says in an option: the lines that do not say whose they are
Line = Mapping[str, object]
Whose = tuple[str | None, str | None]  # a model's sha256 and view, None where lines do not say them


class NotRecorded(UserError):
    """The file holds no answer for an image."""


def image_key(image: NDArray[np.uint8]) -> str:
    """sha256 of an HWC uint8 image: over `HxWxC:` in decimal ASCII, then its bytes in row-major order."""
    height, width, channels = image.shape
    digest = hashlib.sha256(f"{height}x{width}x{channels}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def parse_line(text: bytes) -> Line | None:
    """The JSON object in one line, None where it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> Iterator[tuple[int, Line]]:
    """The numbered JSON objects of a file of answers; a torn last line, which a kill leaves, is passed over.

    Raises:
        UserError: the file or a line is too long, a line is not a JSON object.
    """
    if path.stat().st_size > MAX_FILE:
        raise UserError(f"{path} is larger than {MAX_FILE >> 20} MiB; split it")
    with path.open("rb") as file:
        number = 0
        while text := file.readline(MAX_LINE + 1):
            number += 1
            if len(text) > MAX_LINE:
                raise UserError(f"{path}, line {number} is longer than {MAX_LINE >> 10} KiB")
            line = parse_line(text)
            if line is not None:
                yield number, line
            elif text.endswith(b"\n"):
                raise UserError(f"{path}, line {number} is not a JSON object; mend or delete that line")


class RecordedBlackBox:
    """`recorded:answers.jsonl`: lines of {"image": `image_key`, "answer": class index or name}, other keys ignored.

    An answer is given back as one-hot scores. Lines may say whose they are, {"model": sha256, "view": text}: those of
    one model in one view are read, and its hash is then the card's, so that a model is known again by its recorded
    answers. Lines with `asked` (see `AnswerBook`) are passed over.

    Raises:
        UserError: no file, no number of classes, a line that cannot be used, two answers for one image, several
            models or views and no `model=` or `view=` that says which.
    """

    def __init__(self, uri: ModelUri) -> None:
        self.path = uri.file()
        classes = declared_classes(uri)
        if classes is None:
            raise UserError(f"model {uri.text!r}: say how many classes there are: add ?classes=1000 or ?labels=FILE")
        card = override_card(ModelCard(uri.public, "", classes, Preprocess()), uri)
        held = _read_answers(self.path, card)
        if not held:
            raise UserError(f"model {uri.text!r} holds no answers")
        model = _one_of(uri, "model", {named for named, _ in held})
        view = _one_of(uri, "view", {view for named, view in held if named == model})
        self.answers = held[model, view]
        self.card = replace(card, sha256=model if model is not None else sha256_file(self.path))

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            NotRecorded: there is no answer for an image.
        """
        rows = [one_hot(self._answer(image_key(image)), self.card.classes) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _answer(self, key: str) -> int:
        if key not in self.answers:
            raise NotRecorded(f"{self.path} has no answer for the image {key}; ask the model itself and add it there")
        return self.answers[key]


def _read_answers(path: Path, card: ModelCard) -> dict[Whose, dict[str, int]]:
    """The answers by model and view, and by image."""
    held: dict[Whose, dict[str, int]] = {}
    for number, line in read_lines(path):
        if "asked" in line:
            continue
        where = f"{path}, line {number}"
        key = line.get("image")
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise UserError(f"{where}: image must be a sha256, 64 lowercase hex digits")
        whose = _text(where, line, "model"), _text(where, line, "view")
        answer = _index(where, line.get("answer"), card)
        known = held.setdefault(whose, {}).setdefault(key, answer)
        if known != answer:
            raise UserError(f"{where}: another answer ({answer}) than before ({known}) for the image {key}")
    return held


def _text(where: str, line: Line, key: str) -> str | None:
    value = line.get(key)
    if not (value is None or isinstance(value, str)):
        raise UserError(f"{where}: {key} must be a text")
    return value


def _index(where: str, answer: object, card: ModelCard) -> int:
    if isinstance(answer, str) and card.labels:
        if card.labels.count(answer) != 1:
            raise UserError(f"{where}: unknown class name {answer!r}{did_you_mean(answer, card.labels)}")
        return card.labels.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < card.classes:
        named = " or, with ?labels=FILE, a class name" if not card.labels else " or a class name"
        raise UserError(f"{where}: answer must be a class index from 0 to {card.classes - 1}{named}")
    return answer


def _one_of(uri: ModelUri, key: str, held: Collection[str | None]) -> str | None:
    """The model or view that the option of that name says, or the only one that there is.

    Raises:
        UserError: it is not held, or several are and the option does not say which.
    """
    named = {UNNAMED if one is None else one: one for one in held}
    names, wanted = " or ".join(sorted(named)), uri.options.get(key)
    if wanted is None and len(named) > 1:
        raise UserError(f"model {uri.text!r} holds answers of several {key}s: add &{key}= and {names}")
    if wanted is not None and wanted not in named:
        raise UserError(f"model {uri.text!r} holds no answers of {key} {wanted}; it has those of {names}")
    return next(iter(held)) if wanted is None else named[wanted]
