"""Words and tables of the pages."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from onlymymodel.evaluate.results import Row


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def short(row: Row) -> str:
    """A model's file name without its ending."""
    adapted = " (adapted)" if row.model.endswith("(adapted)") else ""
    return Path(row.model.removesuffix(" (adapted)").partition(":")[2].partition("?")[0]).stem + adapted


def share(hits: int, total: int) -> str:
    """A share in percent."""
    return f"{100 * hits / total:.1f} %" if total else "-"
