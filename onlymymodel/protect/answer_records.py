"""The records of models' answers to one photo, or to one face on it, before and after protection."""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from onlymymodel.data.attributes import agreeing


@dataclass(frozen=True, kw_only=True)
class ModelAnswers:
    """The authorized model's answers to a photo, or to one face on it, before and after protection.

    Attributes:
        model: URI; not given for a face.
        answer_before, answer_after: class indexes, or codes of attributes (`data.attributes`); None after protection
            where the face is no longer found.
        margin_before, margin_after: by how much the label is kept, see `kept_margins`.
    """

    model: str | UnsetType = UNSET
    answer_before: int
    margin_before: float
    answer_after: int | None
    margin_after: float | None


@dataclass(frozen=True, kw_only=True)
class DeploymentMargins:
    """The authorized model's margin through one deployment; positive where it reads the photo correctly.

    Attributes:
        before: on the original. Where it is not positive, the deployment is not promised for this photo.
        after: on the written file.
    """

    before: float
    after: float


def promised(deployments: dict[str, DeploymentMargins] | UnsetType | None) -> dict[str, DeploymentMargins]:
    """Return the deployments through which the original was read."""
    return {name: margins for name, margins in (deployments or {}).items() if margins.before > 0}


@dataclass(frozen=True, kw_only=True)
class SurrogateAnswers:
    """A surrogate's answers to a photo, or to one face on it, before and after protection.

    Attributes:
        model: URI.
        pushed_from: class index that the attack pushes it away from; None where it is not attacked.
        pushed_toward: class index that the attack pushes it toward; None for no particular class.
        answer_before, answer_after: class indexes; None after protection where the face is no longer found.
        attributes: number of attributes of a model of attributes, whose answers are codes of them; unset for another.
    """

    model: str
    pushed_from: int | None = None
    pushed_toward: int | None = None
    answer_before: int
    answer_after: int | None
    attributes: int | UnsetType = UNSET

    @property
    def read_before(self) -> bool:
        """Return whether it reads the original: of attributes, whether it gives more than half of them right."""
        return self._reads(self.answer_before)

    @property
    def reads_after(self) -> bool:
        """Return whether it reads the file."""
        return self._reads(self.answer_after)

    def _reads(self, answer: int | None) -> bool:
        if answer is None or self.pushed_from is None or not self.attributes:
            return answer is not None and answer == self.pushed_from
        return 2 * agreeing(answer, self.pushed_from, self.attributes) > self.attributes

    @property
    def misled(self) -> bool:
        """Return whether it reads the original, and not the file."""
        return self.read_before and not self.reads_after
