"""The error for mistakes that users can correct, and helpers for its messages."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

Entry = TypeVar("Entry")
ABOUT_AS_NEAR = 0.15  # difference of two similarities
TYPE_NAMES: dict[object, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    tuple: "a list of names",
}


class UserError(Exception):
    """A mistake that the user can correct (a flag, a file, a model name): one sentence, exit code 2."""


@contextmanager
def mistakes_in(place: object) -> Iterator[None]:
    """Begin the message of a mistake with the place that it is in, such as a run file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the error's type if it has no message."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """Return the known words that are nearest to a word, the nearest first: at most three that are about as near.

    Args:
        word: a word that may be misspelled.
        known: words that it may stand for.
        cutoff: similarity in [0, 1] below which a word is not near.
    """
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=cutoff)
    similarity = [difflib.SequenceMatcher(None, other, word).ratio() for other in near]
    return [other for other, like in zip(near, similarity, strict=True) if like > similarity[0] - ABOUT_AS_NEAR]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x' or 'y'?` with the nearest known words, or a list of the first ones if none is near."""
    words = list(known)
    if near := nearest(word, words):
        return "; did you mean " + " or ".join(map(repr, near)) + "?"
    return f"; known are {first_of(words, 12)}"


def listed(words: Sequence[str]) -> str:
    """Return words in one phrase: `a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def first_of(words: Sequence[str], most: int = 5) -> str:
    """Return the first words of a list, and that there are more: `a, b, ...`."""
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


def number_of(count: int, noun: str, plural: str = "") -> str:
    """Return a count with what is counted: `1 photo`, `2 photos`.

    Args:
        count: how many there are.
        noun: in the singular, also with a verb: `photo is`.
        plural: of the noun; the noun with an s if empty.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def as_written(value: object) -> str:
    """Return a value about as run files and forms have it: `true`, a list instead of a tuple."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(list(value) if isinstance(value, tuple) else value)


def select(table: Mapping[str, Entry], names: Sequence[str], noun: str) -> list[Entry]:
    """Return the entries of these names, in this order.

    Raises:
        UserError: a name is unknown or listed twice; the message calls it by the noun.
    """
    for index, name in enumerate(names):
        if name not in table:
            raise UserError(f"unknown {noun} {name!r}{did_you_mean(name, table)}")
        if name in names[:index]:
            raise UserError(f"{noun} {name!r} is listed twice")
    return [table[name] for name in names]
