"""Small pieces of text: shares, names that are too long, and strings of unknown origin made safe to show."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that starts so for a formula


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage with one decimal."""
    return f"{share:.1%}"


def percent_or_none(share: float | None) -> str:
    """Return a share as `percent` does, `none` where there is none."""
    return "none" if share is None else percent(share)


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Return the text with its middle left out where it is longer than `width`: both ends tell models apart."""
    if len(text) <= width:
        return text
    kept = width - len(ellipsis)
    return text[: kept - kept // 2] + ellipsis + text[len(text) - kept // 2 :]


def replace_unprintable(text: str) -> str:
    """Return the text with `?` for every character that could control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def encodable(text: str) -> str:
    """Return the text with `?` for what UTF-8 cannot encode: an undecodable file name contains lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def spreadsheet_text(text: str) -> str:
    """Return text for a CSV cell: encodable, with a leading apostrophe where a spreadsheet would see a formula."""
    return encodable("'" + text if text.startswith(FORMULA_STARTS) else text)
