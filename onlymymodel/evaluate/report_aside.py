"""A photo that a report shows besides the evaluated ones."""

from dataclasses import dataclass

from onlymymodel.evaluate.results import Role


@dataclass(frozen=True)
class Aside:
    """A photo, its protected version, and what models said; no figure of the report counts it.

    Attributes:
        title: heading.
        words: what it is, in a few sentences.
        width, height: of both pictures, in pixels.
        before, after: `data:` URIs.
        answers: role, name of the model, and its answers to the original and to the protected version.
    """

    title: str
    words: str
    width: int
    height: int
    before: str
    after: str
    answers: tuple[tuple[Role, str, str, str], ...]
