"""The tables of faces from results/faces/: heads and rows, a row for each held-out model of each cell."""

from collections.abc import Callable, Iterator
from statistics import fmean

from assets import RESULTS
from markup import share, short

from onlymymodel.evaluate.results import CLEAN, Results, Row, Run, read_results

Table = tuple[list[str], list[list[str]]]
FAR = 1e-2
IDENTITY, EMOTION = ("identity", "identity-by-rule", "identity-with-relative"), ("emotion-a", "emotion-b")
ORDER = (*IDENTITY, *EMOTION, "emotion-not-identity", "identity-not-emotion")


class Cell:
    """One JSON of benchmarks/faces.py: a team and a budget."""

    def __init__(self, team: str, epsilon: int) -> None:
        self.team, self.epsilon = team, epsilon
        self.results: Results = read_results(RESULTS / "faces" / f"{team}-{epsilon}.json")

    @property
    def run(self) -> Run:
        """The protected folder."""
        (run,) = self.results.runs
        return run

    def kept(self) -> str:
        """Of the photos that the authorized model read when clean, those it still reads."""
        score = self.results.authorized.score(self.run.name)
        return counted(score.still_right, score.readable)

    def surrogates(self) -> str:
        """Their names."""
        return ", ".join(map(short, self.results.of("surrogate")))


def cells(*teams: str) -> Iterator[Cell]:
    """Those of some teams, each with the largest budget first."""
    for team in teams:
        found = {path.stem.removeprefix(f"{team}-") for path in (RESULTS / "faces").glob(f"{team}-*.json")}
        for epsilon in sorted((int(name) for name in found if name.isdigit()), reverse=True):
            yield Cell(team, epsilon)


def identity() -> Table:
    """Who is recognized, by budget."""
    head = ["surrogates", "epsilon", "authorized kept", "held-out model", *RECOGNIZED]
    return head, _rows(IDENTITY, recognized, surrogates=True)


def emotion() -> Table:
    """Whose expression is read, against its label."""
    head = ["surrogates", "epsilon", "authorized kept", "held-out model", "reads clean", "reads protected"]
    return head, _rows(EMOTION, read_right, surrogates=True)


def emotion_not_identity() -> Table:
    """The expression stays readable, the person is not recognized."""
    head = ["epsilon", "authorized expression kept", "held-out model", *RECOGNIZED]
    return head, _rows(("emotion-not-identity",), recognized)


def identity_not_emotion() -> Table:
    """The person stays recognizable, the expression is not read."""
    head = ["epsilon", "authorized recognition kept", "held-out model", "reads what it read in the clean photo"]
    return head, _rows(("identity-not-emotion",), lambda row, run: [read_right(row, run)[1]])


def details() -> Table:
    """Every cell: what was written, how it looks, and what those read that took part."""
    lines = []
    for cell in cells(*ORDER):
        run = cell.run
        psnr = fmean(found.psnr for found in run.distortion if found.psnr is not None)
        ssim = fmean(found.ssim for found in run.distortion)
        seen = [f"{short(row)} {row.score(run.name).right}" for row in cell.results.of("surrogate")]
        protected = f"{run.statuses.get('protected', 0)} of {len(cell.results.photos)}"
        lines.append(
            [
                cell.team, str(cell.epsilon), short(cell.results.authorized), protected, cell.kept(), "; ".join(seen),
                f"{psnr:.1f}", f"{ssim:.3f}",
            ]
        )  # fmt: skip
    head = ["team", "epsilon", "authorized", "protected", "authorized kept", "surrogates read", "PSNR", "SSIM"]
    return head, lines


RECOGNIZED = ["rank-1: clean", "protected", f"TAR at FAR {FAR:g}: clean", "protected", "no longer matched"]


def recognized(row: Row, run: str) -> list[str]:
    """The columns of `RECOGNIZED`."""
    before, after = row.verification(CLEAN), row.verification(run)
    if before is None or after is None:
        raise SystemExit(f"{row.model} was judged without its gallery: run benchmarks/faces.py --judge-only")
    accepted = [counted(found.accepted[FAR], found.photos) for found in (before, after)]
    nearest = [counted(found.nearest, found.photos) for found in (before, after)]
    return [*nearest, *accepted, counted(after.lost, after.matched)]


def read_right(row: Row, run: str) -> list[str]:
    """Clean and protected: photos that a model reads as it should."""
    return [counted(score.right, score.photos) for score in (row.score(CLEAN), row.score(run))]


def counted(hits: int | None, total: int) -> str:
    """`3 of 40 (7.5 %)`."""
    return "-" if hits is None else f"{hits} of {total} ({share(hits, total)})"


def _rows(
    teams: tuple[str, ...], columns: Callable[[Row, str], list[str]], *, surrogates: bool = False
) -> list[list[str]]:
    return [
        [
            *([cell.surrogates()] if surrogates else []),
            str(cell.epsilon),
            cell.kept(),
            short(row) + ("*" if row.remark else ""),
            *columns(row, cell.run.name),
        ]
        for cell in cells(*teams)
        for row in cell.results.of("held-out")
    ]
