"""Check the values of run files and forms; errors name the key and its valid values."""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from onlymymodel.errors import TYPE_NAMES, UserError, as_written
from onlymymodel.surrogates.uri import redacted


def converted(
    values: Mapping[str, Any],
    types: Mapping[str, Any],
    before: str = "",
    after: str = "",
    *,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the values, each converted to its type.

    Args:
        values: values as read from TOML or JSON.
        types: type of each key. Errors describe the valid values by its `msgspec.Meta`, or by the type.
        before, after: text around the key in an error.
        labels: names of keys in an error, if they differ from the keys.

    Raises:
        UserError: a value of another type or out of its range.
    """
    result = {}
    for key, value in values.items():
        try:
            result[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            name = (labels or {}).get(key, key)
            raise UserError(
                f"{before}{name}{after} must be {_wanted(types[key])}, not {redacted(as_written(value))}"
            ) from error
    return result


def _wanted(kind: Any) -> str:
    """Return a description of the values of a type."""
    parts = [part for part in (get_args(kind) or (kind,)) if part is not type(None)]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, parts))}"
    for part in (kind, *parts):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    return TYPE_NAMES[parts[0]] if parts[0] in TYPE_NAMES else _wanted(parts[0])
