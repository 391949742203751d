"""CelebA's identities: who is on each picture."""

from __future__ import annotations

from pathlib import Path

from onlymymodel.data.tables import Problems, integer, read_words

IDENTITY_TABLES = ("identity_CelebA.txt", "Anno/identity_CelebA.txt")  # CelebA itself keeps it in Anno
MAX_NUMBER = 10**8  # of an identity or a picture


def identity_table(root: Path) -> Path | None:
    """Return the table of identities in a folder of CelebA; None if it has none."""
    return next((root / name for name in IDENTITY_TABLES if (root / name).is_file()), None)


def read_identities(table: Path) -> dict[str, str]:
    """Return the identity number, as text, of each file of CelebA.

    Raises:
        UserError: the table is missing or wrong.
    """
    identities: dict[str, str] = {}
    problems = Problems(table)
    for line, (name, identity, *_) in read_words(table, 2):
        number = integer(identity, 0, MAX_NUMBER)
        if number is None:
            problems.add("not an identity's number", identity, line)
        elif identities.setdefault(name, str(number)) != str(number):
            problems.add("more than one identity for a picture", name, line)
    problems.raise_if_any()
    return identities
