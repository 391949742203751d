"""The table of results/adaptive/: what judges read after each party has cleaned the files, or learned from them."""

from collections.abc import Sequence

from assets import RESULTS
from markup import table
from measured import MeasuredRun

from onlymymodel.evaluate.adversaries import adapted_rows_of
from onlymymodel.evaluate.results import AS_WRITTEN, CLEAN, Row
from onlymymodel.evaluate.score import mean_unprotected
from onlymymodel.evaluate.text import percent

FOLDER = RESULTS / "adaptive"
PARTIES = ("purifier", "jpeg-ladder", "averaged")
CELLS = ("default", "against")
NAMES = {
    AS_WRITTEN: "none: the file as written",
    "purifier": "`purifier`",
    "jpeg-ladder": "`jpeg-ladder`",
    "averaged": "`averaged`",
}


def adaptive() -> str:
    """Return a row for each party: the share kept by the authorized model and the share that judges read."""
    cells = [MeasuredRun(path) for name in CELLS for path in FOLDER.glob(f"*-{name}-*.json")]
    if not cells:
        return "No cell was measured.\n"
    head = ["party", "judges: clean", *(f"{_name(cell)}: authorized kept, judges" for cell in cells)]
    rows = [
        [name, _clean(cells[0], channel), *(_cell(cell, channel) for cell in cells)] for channel, name in NAMES.items()
    ]
    rows.append(["fine-tuned judges", "-", *(_fine_tuned(cell) for cell in cells)])
    return f"{table(head, rows)}\n{_note(cells)}\n"


def _name(cell: MeasuredRun) -> str:
    against = cell.results.header["settings"][cell.run.name]["recipe"].get("against", [])
    return f"`{cell.recipe}{' --against ' + ' '.join(against) if against else ''}`"


def _clean(cell: MeasuredRun, channel: str) -> str:
    return _mean(cell.results.independent(), CLEAN, channel)


def _cell(cell: MeasuredRun, channel: str) -> str:
    kept = cell.authorized_score(channel).kept_of_readable
    judges = _mean(cell.results.independent(), cell.run.name, channel)
    return f"{kept.hits} of {kept.total}, {judges}"


def _fine_tuned(cell: MeasuredRun) -> str:
    rows = adapted_rows_of(cell.results)
    if not rows:
        return "not measured"
    clean = mean_unprotected([row.score(CLEAN) for row in rows])
    return f"-, {_mean(rows, cell.run.name, AS_WRITTEN)} (originals left out: {percent(clean.share)})"


def _mean(rows: Sequence[Row], version: str, channel: str) -> str:
    mean = mean_unprotected([row.score(version, channel) for row in rows])
    return f"{percent(mean.share)} [{percent(mean.low)}, {percent(mean.high)}]"


def _note(cells: Sequence[MeasuredRun]) -> str:
    photos = {len(cell.results.photos) for cell in cells}
    judges = {len(cell.results.independent()) for cell in cells}
    adapted = {len(adapted_rows_of(cell.results)) for cell in cells}
    protected = ", ".join(f"{cell.protected} by {_name(cell)}" for cell in cells)
    return (
        f"From {' or '.join(map(str, sorted(photos)))} photos (protected: {protected}); the mean of "
        f"{' or '.join(map(str, sorted(judges)))} independent judges, with the mean of their 95 % Wilson intervals; "
        f'{" or ".join(map(str, sorted(adapted)))} of them could be fine-tuned. "Kept" counts the photos that the '
        "authorized model reads when clean after the same party."
    )
