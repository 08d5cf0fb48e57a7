"""Sizes, times, counts and tables as people read them."""

import datetime
import unicodedata
from collections.abc import Iterable, Sequence

from roost.settings.units import readable_size as size

__all__ = ["cells", "counted", "duration", "listed", "moment", "printable", "rate", "size", "table", "whole_duration"]


def rate(bytes_per_second: float) -> str:
    """``210 MiB/s``."""
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """``0.42 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, big_s, small_s in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= big_s:
            rest = whole % big_s // small_s
            return f"{whole // big_s} {big}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def whole_duration(seconds: float) -> str:
    """As `duration`, in whole seconds and never less than one: for what changes while it is looked at."""
    return duration(max(1.0, round(seconds))).replace(".0 s", " s")


def moment(text: str | None, *, never: str = "never") -> str:
    """An RFC 3339 time in this machine's time zone, ``2025-01-31 14:05``."""
    if text is None:
        return never
    try:
        return datetime.datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return printable(text)


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 node``, ``4 nodes``, ``1,000 chunks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Sequence[str], *, most: int = 8) -> str:
    """``a, b and c``, and only so many of them."""
    shown = [printable(item) for item in items[:most]]
    if len(items) > most:
        return f"{', '.join(shown)} and {len(items) - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Aligned lines below `header`; the columns numbered in `right` are aligned to the right."""
    written = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(cells(row[column]) for row in written) for column in range(len(header))]
    rights = frozenset(right)
    lines = []
    for row in written:
        parts = []
        for column, cell in enumerate(row):
            pad = " " * (widths[column] - cells(cell))
            parts.append(pad + cell if column in rights else cell + pad)
        lines.append("  ".join(parts).rstrip())
    return lines


def cells(text: str) -> int:
    """How many cells of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def printable(text: str) -> str:
    """`text` with control characters escaped, so that no name or peer can write to a terminal behind our back."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
