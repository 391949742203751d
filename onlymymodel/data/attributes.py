"""Answers to several yes-or-no questions as one number: bit i of a code says whether attribute i is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onlymymodel.errors import UserError

MAX_ATTRIBUTES = 53  # whose codes every reader of JSON holds exactly


def encode(present: Sequence[bool]) -> int:
    """Return the code of attributes, the first in the lowest bit."""
    return sum(1 << index for index, is_there in enumerate(present) if is_there)


def decode(code: int, count: int) -> tuple[bool, ...]:
    """Return which of `count` attributes a code says are there."""
    return tuple(bool(code >> index & 1) for index in range(count))


def agreeing(code: int, other: int, count: int) -> int:
    """Return of how many of `count` attributes two codes say the same."""
    return count - ((code ^ other) & ((1 << count) - 1)).bit_count()


@dataclass(frozen=True)
class AttributeLabels:
    """The attributes of photos by a labelled dataset.

    Attributes:
        names: of the attributes, in the order of the bits of a code.
        codes: code of each photo that the dataset has, by its path below the source.
    """

    names: tuple[str, ...]
    codes: Mapping[str, int]

    def bit_of(self, name: str) -> int | None:
        """Return the bit of the attribute of this name, regardless of case; None where there is none."""
        plain = [known.casefold() for known in self.names]
        return plain.index(name.casefold()) if name.casefold() in plain else None

    def of_model(self, names: Sequence[str]) -> dict[str, int]:
        """Return the code of each photo in the order of a model's attributes.

        Args:
            names: of the model's attributes.

        Raises:
            UserError: they are not all among those of the dataset.
        """
        bits = {name: self.bit_of(name) for name in names}
        if missing := [name for name, bit in bits.items() if bit is None]:
            raise UserError(
                f"the labels lack {len(missing)} of the model's {len(names)} attributes, such as {missing[0]!r}: name "
                "those that they have by keep=, or leave the labels out"
            )
        found = [bit for bit in bits.values() if bit is not None]
        return {photo: encode([bool(code >> bit & 1) for bit in found]) for photo, code in self.codes.items()}
