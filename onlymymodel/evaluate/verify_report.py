"""The result of `omm verify`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A file that is not as it has to be, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """The result of a verification.

    Attributes:
        checked: number of files that were written.
        already_misread: how many of them no surrogate read before.
        without_source: number of files that were not compared with their originals, so that neither the budget nor
            whether they differ was measured.
        faults: empty where everything that was checked is as recorded.
        measured: what was measured now, in words.
        not_checked: what was not, in one sentence each.
        proven: whether `run.json` and the manifest are proven by the signature of the given key.
        remark: why they are not, in one sentence; "" where they are, or where a fault says it.
    """

    checked: int
    already_misread: int
    without_source: int
    faults: tuple[Fault, ...]
    measured: tuple[str, ...]
    not_checked: tuple[str, ...]
    proven: bool
    remark: str
