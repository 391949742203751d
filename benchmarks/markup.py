"""Markdown tables, and the short forms that they use."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from onlymymodel.evaluate.results import Row


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def short_name(row: Row) -> str:
    """Return the file name of a model without its extension."""
    adapted = " (adapted)" if row.model.endswith("(adapted)") else ""
    return Path(row.model.removesuffix(" (adapted)").partition(":")[2].partition("?")[0]).stem + adapted


def marked_name(row: Row) -> str:
    """Return the short name, with `*` for a held-out model that is not independent and excluded from the mean."""
    return f"{short_name(row)}{'*' if row.exclusion else ''}"


def share(hits: int, total: int) -> str:
    """Return a share in percent."""
    return f"{100 * hits / total:.1f} %" if total else "-"
