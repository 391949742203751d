"""The settings of an evaluation as tables: one column for each run, and what else the results depend on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onlymymodel.evaluate.results import Results

SHORT_HASH = 12  # digits
SHOWN_APART = ("command",)


@dataclass(frozen=True)
class SettingsTable:
    """A table of the report.

    Attributes:
        title: heading.
        columns: heads of the columns of values; empty where there is one column that needs none.
        rows: (name, one value for each column).
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def settings_tables(results: Results) -> list[SettingsTable]:
    """Return the tables of everything in the header but the command."""
    tables, other = [], {}
    for name, content in results.header.items():
        if name in SHOWN_APART or not content:
            continue
        by_run = isinstance(content, Mapping) and content.keys() <= {run.name for run in results.runs}
        if by_run:
            tables.append(_by_run(name, content))
        elif isinstance(content, Mapping):
            tables.append(SettingsTable(name, (), tuple((key, (text,)) for key, text in _flatten(content))))
        else:
            other[name] = content
    if other:
        tables.append(SettingsTable("other", (), tuple((key, (text,)) for key, text in _flatten(other))))
    return tables


def _by_run(title: str, content: Mapping[str, Any]) -> SettingsTable:
    columns = [dict(_flatten(value if isinstance(value, Mapping) else {"": value})) for value in content.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = tuple((name, tuple(column.get(name, "") for column in columns)) for name in names)
    return SettingsTable(title, tuple(content), rows)


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a mapping and the mappings in it, names joined by dots; a model is one line."""
    for key, value in content.items():
        if isinstance(value, Mapping) and not _is_card(value):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _is_card(value: object) -> bool:
    return isinstance(value, Mapping) and {"uri", "sha256"} <= value.keys()


def _text(value: Any) -> str:
    if _is_card(value):
        return f"{value['uri']} ({str(value['sha256'])[:SHORT_HASH]})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value)) or "none"
    if value is None or value == "":
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
