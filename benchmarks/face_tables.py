"""Tables from results/faces/, as head and rows: one row for each held-out model of each cell."""

from collections.abc import Callable, Iterator

from assets import RESULTS
from markup import marked_name, share, short_name
from measured import MeasuredRun

from onlymymodel.evaluate.results import CLEAN, Row

Table = tuple[list[str], list[list[str]]]
FAR = 1e-2
IDENTITY, EMOTION = ("identity", "identity-by-rule", "identity-with-relative"), ("emotion-a", "emotion-b")
ORDER = (*IDENTITY, *EMOTION, "emotion-not-identity", "identity-not-emotion")


class FaceCell(MeasuredRun):
    """One JSON of benchmarks/faces.py: a team and a budget."""

    def __init__(self, team: str, epsilon: int) -> None:
        super().__init__(RESULTS / "faces" / f"{team}-{epsilon}.json")
        self.team, self.budget = team, epsilon

    def kept(self) -> str:
        """Return how many of the photos read by the authorized model when clean it still reads."""
        score = self.authorized_score()
        return with_share(score.still_right, score.readable)

    def surrogates(self) -> str:
        """Return the names of the surrogates."""
        return ", ".join(map(short_name, self.results.rows_of("surrogate")))


def cells(*teams: str) -> Iterator[FaceCell]:
    """Yield the cells of some teams, each from the largest budget."""
    for team in teams:
        suffixes = {path.stem.removeprefix(f"{team}-") for path in (RESULTS / "faces").glob(f"{team}-*.json")}
        for epsilon in sorted((int(name) for name in suffixes if name.isdigit()), reverse=True):
            yield FaceCell(team, epsilon)


def identity() -> Table:
    """Recognition of people, by budget."""
    head = ["stand-ins", "epsilon", "recipe", "authorized kept", "judge", *RECOGNIZED]
    return head, _rows(IDENTITY, recognized, surrogates=True)


def emotion() -> Table:
    """Expressions read, compared with their labels."""
    head = ["stand-ins", "epsilon", "recipe", "authorized kept", "judge", "reads clean", "reads protected"]
    return head, _rows(EMOTION, read_right, surrogates=True)


def emotion_not_identity() -> Table:
    """Recognition of people while the expression is kept."""
    head = ["epsilon", "recipe", "authorized expression kept", "judge", *RECOGNIZED]
    return head, _rows(("emotion-not-identity",), recognized)


def identity_not_emotion() -> Table:
    """Expressions read while recognition of the person is kept."""
    head = [
        "epsilon",
        "recipe",
        "authorized recognition kept",
        "judge",
        "reads what it read in the clean photo",
    ]
    return head, _rows(("identity-not-emotion",), lambda row, run: [read_right(row, run)[1]])


def details() -> Table:
    """Return every cell: the files, their distortion, and the surrogates' answers."""
    lines = []
    for cell in cells(*ORDER):
        surrogates = [f"{short_name(row)} {cell.right(row)}" for row in cell.results.rows_of("surrogate")]
        lines.append(
            [
                cell.team, str(cell.budget), short_name(cell.results.authorized), cell.protected, cell.kept(),
                "; ".join(surrogates), f"{cell.psnr:.1f}", f"{cell.ssim:.3f}",
            ]
        )  # fmt: skip
    head = ["team", "epsilon", "authorized", "protected", "authorized kept", "stand-ins read", "PSNR", "SSIM"]
    return head, lines


def deployed() -> Table:
    """Recognition and reading through deployments, for the cells that were measured so."""
    lines = []
    for cell in cells(*ORDER):
        if len(cell.results.channels) > 1:
            for channel in cell.results.channels:
                judges = [f"{marked_name(row)} {_read(row, cell, channel)}" for row in cell.results.rows_of("held-out")]
                authorized = _read(cell.results.authorized, cell, channel)
                lines.append([cell.team, str(cell.budget), f"`{cell.recipe}`", channel, authorized, "; ".join(judges)])
    head = ["team", "epsilon", "recipe", "after", "authorized reads", "judges read"]
    return head, lines


def _read(row: Row, cell: FaceCell, channel: str) -> str:
    """Return how many people are the nearest to their photo after a channel, or how many expressions are read."""
    found, score = row.verification(cell.run.name, channel), row.score(cell.run.name, channel)
    return with_share(score.right, score.photos) if found is None else with_share(found.nearest, found.photos)


RECOGNIZED = ["rank-1: clean", "protected", f"TAR at FAR {FAR:g}: clean", "protected", "no longer matched"]


def recognized(row: Row, run: str) -> list[str]:
    """Return the columns of `RECOGNIZED`."""
    before, after = row.verification(CLEAN), row.verification(run)
    if before is None or after is None:
        raise SystemExit(f"{row.model} was evaluated without its gallery: run benchmarks/faces.py --only judge")
    accepted = [with_share(scores.accepted[FAR], scores.photos) for scores in (before, after)]
    nearest = [with_share(scores.nearest, scores.photos) for scores in (before, after)]
    return [*nearest, *accepted, with_share(after.lost, after.matched)]


def read_right(row: Row, run: str) -> list[str]:
    """Return, clean and protected, how many photos a model reads correctly."""
    return [with_share(score.right, score.photos) for score in (row.score(CLEAN), row.score(run))]


def with_share(hits: int | None, total: int) -> str:
    """Return a count with its share, as `3 of 40 (7.5 %)`."""
    return "-" if hits is None else f"{hits} of {total} ({share(hits, total)})"


def _rows(
    teams: tuple[str, ...], columns: Callable[[Row, str], list[str]], *, surrogates: bool = False
) -> list[list[str]]:
    return [
        [
            *([cell.surrogates()] if surrogates else []),
            str(cell.budget),
            f"`{cell.recipe}`",
            cell.kept(),
            marked_name(row),
            *columns(row, cell.run.name),
        ]
        for cell in cells(*teams)
        for row in cell.results.rows_of("held-out")
    ]
