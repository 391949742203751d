"""The table of docs/parties.md from results/parties/: one row for each team of surrogates and budget."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from assets import RESULTS
from markup import short_name, table

from onlymymodel.evaluate.results import CLEAN, Results, Row
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.evaluate.text import percent

ORDER = ("classifier", "embedder", "embedders", "mixed", "found")


def parties() -> str:
    """Return the table, and how many photos it is from."""
    cells = [(path.stem, read_results(path)) for path in _paths()]
    if not cells:
        return "No cell was measured.\n"
    heldout = cells[0][1].rows_of("held-out")
    head = ["authorized", "stand-ins", "epsilon", "kept", *map(short_name, heldout), "faces found", "SSIM"]
    rows = [[*_row(name, results, [row.model for row in heldout])] for name, results in cells]
    photos = {len(results.photos) for _, results in cells}
    note = (
        f"From {' or '.join(map(str, sorted(photos)))} photos, of which the authorized model keeps its own answers, "
        f"or the faces that it finds; one photo is {percent(1 / max(photos))} of a share."
    )
    return f"{table(head, rows)}\n{note}\n"


def _paths() -> Iterator[Path]:
    for team in ORDER:
        yield from sorted((RESULTS / "parties").glob(f"{team}-[0-9]*.json"), reverse=True)


def _row(name: str, results: Results, heldout: Sequence[str]) -> Iterator[str]:
    run, judges = results.runs[0], {row.model: row for row in results.rows_of("held-out")}
    yield short_name(results.authorized)
    yield ", ".join(map(short_name, results.rows_of("surrogate")))
    yield name.rpartition("-")[2]
    kept = results.authorized.score(run.name)
    yield f"{kept.still_right} of {kept.readable}"
    for model in heldout:
        row = judges.get(model)
        yield "authorized" if row is None else f"{row.score(CLEAN).right} → {row.score(run.name).right}"
    yield from (_objects(row, run.name) for row in results.rows if row.objects is not None)
    similarities = sorted(distance.ssim for distance in run.distortion)
    yield f"{similarities[len(similarities) // 2]:.3f}"


def _objects(row: Row, run: str) -> str:
    assert row.objects is not None
    counts = row.objects[run]["png"]
    return f"{counts.found} of {counts.objects}"
