"""The decision of an audit: a verdict from its figures, one table, what to do, and what would make it worse.

The three states and their thresholds are ours. SSIM decides, since it is the figure that all audits have; an attack
counts only where it beats the mean picture, which needs no release at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any, Literal

from onlymymodel.evaluate.audits.report import Value

State = Literal["comes back", "partly", "nothing found"]
STATES: tuple[State, ...] = ("nothing found", "partly", "comes back")  # the later, the worse
HEADLINES: dict[State, str] = {
    "comes back": "NOT SAFE as is",
    "partly": "PARTLY REVEALED as is",
    "nothing found": "This attack got nothing, which is no proof of safety",
}
RECOVERED = 0.9  # SSIM from which a picture counts as come back
GAIN = 0.1  # SSIM above the mean picture's from which a picture counts as partly revealed
STATE_MEANING = (
    f"comes back: a picture returns at SSIM {RECOVERED:g} or more; partly: at {GAIN:g} or more above the mean picture, "
    "or the release betrays which pictures were used; nothing found: neither, by the attacks that were run"
)


@dataclass(frozen=True)
class Cell:
    """One cell of the decision's table.

    Attributes:
        value: the figure; None is shown as a dash and needs a note.
        note: why there is no figure, or what restricts it.
        worst: whether it is the worst attack of its line, which is shown in bold.
        failed: whether the attack ended below the mean picture.

    Raises:
        ValueError: a dash without its reason.
    """

    value: Value
    note: str = ""
    worst: bool = False
    failed: bool = False

    def __post_init__(self) -> None:
        if self.value is None and not self.note:
            raise ValueError("a dash in the table of a decision needs its reason")


@dataclass(frozen=True)
class Line:
    """One line of the table: a defense, a layer, a lambda, a kind of evidence.

    Attributes:
        name: what the line is about.
        state: the worst that an attack reached here; None for a line that is a baseline.
        cells: cells by column.
    """

    name: str
    state: State | None
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Decision:
    """Decision of an audit.

    Attributes:
        state: state of the release as it is.
        verdict: the verdict with its figures, without the headline.
        columns: columns of the table with their meaning, in order.
        lines: lines of the table.
        advice: what to do, one sentence each, the most effective first.
        worse: what would make it worse.

    Raises:
        ValueError: no line or no advice, or a cell without an explained column.
    """

    state: State
    verdict: str
    columns: Mapping[str, str]
    lines: tuple[Line, ...]
    advice: tuple[str, ...]
    worse: str
    heading: str = field(default="")

    def __post_init__(self) -> None:
        if not self.lines or not self.advice:
            raise ValueError("a decision needs a table and advice")
        unexplained = {column for line in self.lines for column in line.cells} - set(self.columns)
        if unexplained:
            raise ValueError(f"columns without an explanation: {', '.join(sorted(unexplained))}")

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        return self.heading or HEADLINES[self.state]

    @property
    def notes(self) -> list[str]:
        """The distinct notes of all cells, in order; a cell refers to its note by number."""
        cells = [line.cells[column] for line in self.lines for column in self.columns if column in line.cells]
        return list(dict.fromkeys(cell.note for cell in cells if cell.note))

    def to_json(self) -> dict[str, Any]:
        """Return the whole decision as JSON values."""
        return {
            "state": self.state,
            "headline": self.headline,
            "verdict": self.verdict,
            "states": STATE_MEANING,
            "columns": dict(self.columns),
            "table": [
                {
                    "name": line.name,
                    "state": line.state,
                    **{column: cell.value for column, cell in line.cells.items()},
                    "worst": [column for column, cell in line.cells.items() if cell.worst],
                    "failed": [column for column, cell in line.cells.items() if cell.failed],
                    "notes": {column: cell.note for column, cell in line.cells.items() if cell.note},
                }
                for line in self.lines
            ],
            "advice": list(self.advice),
            "worse": self.worse,
        }


def picture_state(ssim: float | None, mean_picture: float) -> State:
    """Return the state of one picture by the SSIM of its reconstruction and that of the mean picture."""
    if ssim is None or ssim <= mean_picture:
        return "nothing found"
    if ssim >= RECOVERED:
        return "comes back"
    return "partly" if ssim >= mean_picture + GAIN else "nothing found"


def not_learned(accuracy: float, chance: float) -> str | None:
    """Return advice if a task's accuracy is so near guessing that the cost of a defense cannot be read from it."""
    if accuracy >= chance + GAIN:
        return None
    return (
        f"The cost cannot be read from this run: even undefended the task reaches {accuracy:.2f}, and guessing "
        f"{chance:.2f}. Audit with more pictures or steps, or with an easier task."
    )


def worst_state(states: Sequence[State]) -> State:
    """Return the worst of some states; `nothing found` of none."""
    return max(states, key=STATES.index, default="nothing found")


def mark_worst(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Return the cells with the worst attack marked: the one with the largest figure that did not fail."""
    values = {name: float(cell.value) for name, cell in cells.items() if cell.value is not None and not cell.failed}
    if not values:
        return dict(cells)
    worst = max(values, key=lambda name: values[name])
    return {name: Cell(cell.value, cell.note, worst=name == worst, failed=cell.failed) for name, cell in cells.items()}


def come_back_sentence(ssims: Sequence[float], mean_pictures: Sequence[float]) -> str:
    """Return how many pictures come back or are partly revealed, beside the mean picture.

    Args:
        ssims: best SSIM of each picture's reconstructions.
        mean_pictures: SSIM of the mean picture to each.
    """
    states = [picture_state(*pair) for pair in zip(ssims, mean_pictures, strict=True)]
    of_state = {state: [ssim for ssim, own in zip(ssims, states, strict=True) if own == state] for state in STATES}
    mean = sum(mean_pictures) / len(mean_pictures)
    beside = f"the mean picture, which needs no release, has {mean:.2f}"
    if back := of_state["comes back"]:
        least = floor(100 * min(back)) / 100
        return f"{len(back)} of {len(ssims)} pictures come back at SSIM {least:.2f} or more; {beside}."
    if partly := of_state["partly"]:
        return (
            f"{len(partly)} of {len(ssims)} pictures are partly revealed, the best at SSIM {max(partly):.2f}; none "
            f"comes back at {RECOVERED:g} or more; {beside}."
        )
    return f"the best reconstruction of {len(ssims)} pictures has an SSIM of {max(ssims):.2f}; {beside}."
