"""Prompts for vision-language models, and the mapping of their answers to classes, by text alone."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from onlymymodel.errors import UserError
from onlymymodel.surrogates.uri import ModelUri

Ask = Literal["choice", "open"]
MAX_SYNONYMS = 2**20  # bytes of a file
NONE = "none of them"  # the class of an answer that names something else
UNCLEAR = "refused or unclear"  # the class of every other answer
REFUSALS = re.compile(
    r"\b(sorry|apologi[sz]e|can ?not|can't|unable to|not able to|won't|not comfortable|against my)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Question:
    """A question about a photo.

    Attributes:
        names: of the classes.
        ask: `choice` lists the names; `open` asks what the photo shows, and finds the names in the answer.
        synonyms: further words for a name, which count as the name in an answer.
    """

    names: tuple[str, ...]
    ask: Ask = "choice"
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all classes of the answers: the names, `NONE` and `UNCLEAR`."""
        return (*self.names, NONE, UNCLEAR)

    @property
    def prompt(self) -> str:
        """The text that is sent with the photo."""
        if self.ask == "open":
            return "What is the main subject of this photo? Answer with a few words, and nothing else."
        options = "\n".join(f"- {name}" for name in self.names)
        return (
            "Which one of these does this photo show?\n"
            f"{options}\n"
            "Answer with one line of the list, word for word, and nothing else. If it shows none of them, answer: none"
        )

    def class_of(self, answer: str) -> int:
        """Return the class that an answer names.

        A name counts where it stands as whole words, in any case; where one name contains another, the longer one
        counts. An answer that names exactly one class has that class.
        """
        text = plain_text(answer)
        if text in ("none", "none of them", "none of these", "none of the above"):
            return len(self.names)
        named = self._named(text)
        if len(named) == 1:
            return named.pop()
        if named or not text or REFUSALS.search(answer) or self.ask == "choice":
            return len(self.names) + 1
        return len(self.names)

    def _named(self, text: str) -> set[int]:
        """Return the classes whose names or synonyms stand in a plain text, the longest first."""
        words = [
            (plain_text(word), index)
            for index, name in enumerate(self.names)
            for word in (name, *self.synonyms.get(name, ()))
            if plain_text(word)
        ]
        named = set[int]()
        for word, index in sorted(words, key=lambda pair: -len(pair[0])):
            text, count = re.subn(rf"(?<!\w){re.escape(word)}(?!\w)", "\0", text)
            if count:
                named.add(index)
        return named


def plain_text(text: str) -> str:
    """Return a text in lower case, with single spaces and without punctuation at its ends."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return " ".join(folded.split()).strip(" .,;:!?\"'`*-()[]")


def read_synonyms(text: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the synonyms in a text with lines of `name: word, word`.

    Raises:
        ValueError: a line is no such line, or names no class.
    """
    synonyms: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, words = line.partition(":")
        if not colon or name.strip() not in names:
            raise ValueError(f"{line[:60]!r} is not NAME: WORD, WORD with a name of the labels")
        synonyms.setdefault(name.strip(), []).extend(filter(None, map(str.strip, words.split(","))))
    return synonyms


def synonyms_of(uri: ModelUri, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the synonyms in the file that the option `synonyms` names; none without it.

    Raises:
        UserError: the file cannot be read, or a line cannot be used, see `read_synonyms`.
    """
    if "synonyms" not in uri.options:
        return {}
    path = Path(uri.options["synonyms"]).expanduser()
    try:
        if path.stat().st_size > MAX_SYNONYMS:
            raise ValueError("it is too large")
        return read_synonyms(path.read_text(encoding="utf-8-sig"), names)
    except (OSError, ValueError) as error:
        raise UserError(f"model {uri.public!r}: synonyms {path.name!r} cannot be used: {error}") from error
