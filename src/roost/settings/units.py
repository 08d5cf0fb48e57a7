"""Sizes, rates and durations as people write them: `8MiB`, `20MiB/s`, `10m`."""

import re

from roost.core.errors import UsageError

SIZE_MAX = 2**63 - 1
DURATION_S_MAX = 100 * 366 * 86_400

_SIZE_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4, "PiB": 1024**5}
_READABLE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SIZE = re.compile(r"([0-9]{1,19}) ?([A-Za-z]*)\Z", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,12}) ?([smhdw]?)\Z", re.ASCII)
_UNITS_BY_LOWER = {unit.lower(): factor for unit, factor in _SIZE_UNITS.items()}


def parse_size(text: str) -> int:
    """Bytes: ``1048576``, ``8MiB`` (capitals do not matter); UsageError otherwise, also for decimal units like MB."""
    match = _SIZE.match(text.strip())
    factor = _UNITS_BY_LOWER.get(match[2].lower()) if match else None
    if match is None or factor is None or int(match[1]) * factor > SIZE_MAX:
        raise UsageError(
            f"not a size: {text[:80]!r}", hint="write a number of bytes, or one with a unit like 8MiB, 1GiB"
        )
    return int(match[1]) * factor


def parse_rate(text: str) -> int:
    """Bytes a second: a size, with or without ``/s`` after it; UsageError otherwise."""
    try:
        return parse_size(text.strip().removesuffix("/s"))
    except UsageError as error:
        raise UsageError(
            f"not a rate: {text[:80]!r}", hint="write bytes a second, like 20MiB/s; 0 is no limit"
        ) from error


def parse_duration(text: str) -> int:
    """Seconds: ``90``, ``90s``, ``10m``, ``1h``, ``7d``, ``2w``; UsageError otherwise and beyond 100 years."""
    match = _DURATION.match(text.strip())
    seconds = int(match[1]) * _DURATION_UNITS[match[2] or "s"] if match else -1
    if not 0 <= seconds <= DURATION_S_MAX:
        raise UsageError(f"not a duration: {text[:80]!r}", hint="write one like 90s, 10m, 1h or 7d")
    return seconds


def format_size(count: int) -> str:
    """The shortest exact form that `parse_size` reads back."""
    for unit, factor in reversed(_SIZE_UNITS.items()):
        if factor > 1 and count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def readable_size(count: float) -> str:
    """Bytes with three significant digits, for people: ``512 B``, ``8.00 MiB``, ``898 MiB``."""
    value = float(count)
    unit = "B"
    for unit in _READABLE_UNITS:
        if value < 999.5 or unit == _READABLE_UNITS[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{value:.0f} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def format_rate(count: int) -> str:
    """The shortest exact form that `parse_rate` reads back."""
    return f"{format_size(count)}/s" if count else "0"


def format_duration(seconds: int) -> str:
    """The shortest exact form that `parse_duration` reads back, in days at most."""
    for unit, factor in reversed(_DURATION_UNITS.items()):
        if unit != "w" and seconds and seconds % factor == 0:
            return f"{seconds // factor}{unit}"
    return str(seconds)
