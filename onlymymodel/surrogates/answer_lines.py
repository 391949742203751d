"""Cached answers and sent queries as JSON lines, the format in which they are exchanged.

A query that is about to be sent is {"asked": `image_key`, "model": sha256, "view": `cache_key`}; an answer is
{"image", "answer": class index, "model", "view"}, and may have {"scores"}: base64 of float32, little-endian, one for
each class. `recorded:` reads the answers.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onlymymodel.data.atomic import write_atomic
from onlymymodel.errors import UserError
from onlymymodel.surrogates.recorded_answers import MAX_FILE, MAX_LINE, Line, read_lines

Scores = NDArray[np.float32]
MAX_SCORED = MAX_FILE // 2  # bytes of a file after which answers are written without scores


@dataclass(frozen=True)
class Query:
    """A query that was sent, or was about to be."""

    model: str
    view: str
    image: str


@dataclass(frozen=True)
class Answer:
    """A model's answer for one image; `scores` are (classes,) if they were kept."""

    model: str
    view: str
    image: str
    answer: int
    scores: Scores | None = None


def read_answer_lines(path: Path) -> Iterator[Query | Answer]:
    """Read the lines of a file in order; an incomplete last line, which a killed process leaves behind, is ignored.

    Raises:
        UserError: a line is neither a query nor an answer.
    """
    for number, line in read_lines(path):
        parsed = _parse(line)
        if parsed is None:
            raise UserError(f"{path}, line {number} is neither a query nor an answer; delete that line")
        yield parsed


def write_answer_lines(path: Path, lines: Iterable[Query | Answer]) -> None:
    """Write a file that `recorded:` reads, atomically; scores are left out where they would make it too large."""
    written = bytearray()
    for line in lines:
        text = _format(line, scores=True)
        if len(text) > MAX_LINE or len(written) + len(text) > MAX_SCORED:
            text = _format(line, scores=False)
        written += text
    write_atomic(path, bytes(written))


def encode_scores(scores: Scores) -> bytes:
    """Return scores as little-endian float32."""
    return scores.astype("<f4").tobytes()


def decode_scores(data: bytes) -> Scores:
    """Return the scores that `encode_scores` wrote.

    Raises:
        ValueError: not a whole number of them.
    """
    return np.frombuffer(data, "<f4")


def _format(line: Query | Answer, *, scores: bool) -> bytes:
    fields: dict[str, object]
    if isinstance(line, Query):
        fields = {"asked": line.image, "model": line.model, "view": line.view}
    else:
        fields = {"image": line.image, "answer": line.answer, "model": line.model, "view": line.view}
        if scores and line.scores is not None:
            fields["scores"] = base64.b64encode(encode_scores(line.scores)).decode()
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def _parse(line: Line) -> Query | Answer | None:
    model, view, image = line.get("model"), line.get("view"), line.get("asked", line.get("image"))
    if not (isinstance(model, str) and isinstance(view, str) and isinstance(image, str)):
        return None
    if "asked" in line:
        return Query(model, view, image)
    answer = line.get("answer")
    if not isinstance(answer, int) or isinstance(answer, bool):
        return None
    if "scores" not in line:
        return Answer(model, view, image, answer)
    try:
        return Answer(model, view, image, answer, decode_scores(base64.b64decode(str(line["scores"]), validate=True)))
    except ValueError:  # not base64, or not a whole number of scores
        return None
