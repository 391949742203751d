"""Recorded answers as a black box: predictions in a JSON-lines file, looked up by the image's pixels."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.attributes import encode
from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.answers import scores_of
from onlymymodel.surrogates.model_card import ModelCard, Preprocess
from onlymymodel.surrogates.options import declared_classes, override_card
from onlymymodel.surrogates.uri import ModelUri

MAX_FILE = 256 * 2**20  # bytes
MAX_LINE = 64 * 2**10
KEY = re.compile(r"[0-9a-f]{64}")
UNNAMED = "unnamed"  # value of the options `model` and `view` that selects lines without one
Line = Mapping[str, object]
Origin = tuple[str | None, str | None]  # sha256 of the model and view (see `cache_key`); None for lines without them


class NotRecorded(UserError):
    """The file has no answer for an image."""


def image_key(image: NDArray[np.uint8]) -> str:
    """Return the sha256 of an HWC uint8 image: over `HxWxC:` in decimal ASCII, then its bytes in row-major order."""
    height, width, channels = image.shape
    digest = hashlib.sha256(f"{height}x{width}x{channels}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def parse_line(text: bytes) -> Line | None:
    """Return the JSON object in one line, None if it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> Iterator[tuple[int, Line]]:
    """Yield the JSON objects of a file of answers with their line numbers.

    An incomplete last line, which a killed process leaves behind, is ignored.

    Raises:
        UserError: the file or a line is too long, or a line is not a JSON object.
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
                raise UserError(f"{path}, line {number} is not a JSON object; correct or delete that line")


class RecordedBlackBox:
    """`recorded:answers.jsonl`: lines of {"image": `image_key`, "answer": class index or name}, other keys ignored.

    With `task=attributes` an answer is a list of the names of the attributes that are there, or their code. Predictions
    are the scores of `scores_of`. Lines may name their origin, {"model": sha256, "view": text}: the lines of one model
    and one view are used, and the card gets the model's hash, so that recorded answers count as the model itself.
    Lines with `asked` (see `AnswerCache.export`) are ignored.

    Args:
        uri: of the scheme `recorded`.

    Raises:
        UserError: no file, no number of classes, an unusable line, two answers for one image, or several models or
            views without an option `model` or `view` that selects one.
    """

    def __init__(self, uri: ModelUri) -> None:
        self.path = uri.file()
        classes = declared_classes(uri)
        if classes is None:
            raise UserError(f"model {uri.text!r}: its number of classes is unknown: add ?classes=1000 or ?labels=FILE")
        card = override_card(ModelCard(uri.public, "", classes, Preprocess()), uri)
        answers = _read_answers(self.path, card)
        if not answers:
            raise UserError(f"model {uri.text!r}: the file has no answers")
        model = _select(uri, "model", {model for model, _ in answers})
        view = _select(uri, "view", {view for recorded, view in answers if recorded == model})
        self.answers = answers[model, view]
        self.card = replace(card, sha256=model if model is not None else sha256_file(self.path))

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`.

        Raises:
            NotRecorded: there is no answer for an image.
        """
        rows = [scores_of(self.card, self._answer(image_key(image))) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def _answer(self, key: str) -> int:
        if key not in self.answers:
            raise NotRecorded(
                f"{self.path} has no answer for the image {key}; query the model itself and add its answer"
            )
        return self.answers[key]


def _read_answers(path: Path, card: ModelCard) -> dict[Origin, dict[str, int]]:
    """Return the answer to each image, by origin."""
    answers: dict[Origin, dict[str, int]] = {}
    for number, line in read_lines(path):
        if "asked" in line:
            continue
        where = f"{path}, line {number}"
        key = line.get("image")
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise UserError(f"{where}: image must be a sha256, 64 lowercase hex digits")
        origin = _optional_text(where, line, "model"), _optional_text(where, line, "view")
        read = _attributes if card.kind == "attributes" else _class_index
        answer = read(where, line.get("answer"), card)
        earlier = answers.setdefault(origin, {}).setdefault(key, answer)
        if earlier != answer:
            raise UserError(f"{where}: another answer ({answer}) than before ({earlier}) for the image {key}")
    return answers


def _optional_text(where: str, line: Line, key: str) -> str | None:
    value = line.get(key)
    if not (value is None or isinstance(value, str)):
        raise UserError(f"{where}: {key} must be text")
    return value


def _class_index(where: str, answer: object, card: ModelCard) -> int:
    if isinstance(answer, str) and card.labels:
        if card.labels.count(answer) != 1:
            raise UserError(f"{where}: unknown class name {answer!r}{did_you_mean(answer, card.labels)}")
        return card.labels.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < card.classes:
        or_name = " or a class name" if card.labels else " or, with ?labels=FILE, a class name"
        raise UserError(f"{where}: answer must be a class index from 0 to {card.classes - 1}{or_name}")
    return answer


def _attributes(where: str, answer: object, card: ModelCard) -> int:
    """Return the code of the attributes that an answer names."""
    if isinstance(answer, list) and card.labels:
        if unknown := [name for name in answer if name not in card.labels]:
            raise UserError(f"{where}: unknown attribute {unknown[0]!r}{did_you_mean(str(unknown[0]), card.labels)}")
        return encode([name in answer for name in card.labels])
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < card.answers:
        raise UserError(f"{where}: answer must be a list of attributes of labels=FILE, or a code below {card.answers}")
    return answer


def _select(uri: ModelUri, key: str, recorded: Collection[str | None]) -> str | None:
    """Return the model or view that the option `key` selects, or the only one in the file.

    Raises:
        UserError: the file does not have it, or has several and the option is not given.
    """
    by_name = {UNNAMED if value is None else value: value for value in recorded}
    names, selected = " or ".join(sorted(by_name)), uri.options.get(key)
    if selected is None and len(by_name) > 1:
        raise UserError(f"model {uri.text!r} has answers of several {key}s: add &{key}= and {names}")
    if selected is not None and selected not in by_name:
        raise UserError(f"model {uri.text!r} has no answers of {key} {selected}, only of {names}")
    return next(iter(recorded)) if selected is None else by_name[selected]
