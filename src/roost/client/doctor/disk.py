"""Judging the disk that holds the home: whether there is room above the reserve, and how fast bytes become durable."""

from collections.abc import Iterator
from dataclasses import dataclass

from roost.client.doctor.findings import Finding, Level
from roost.settings.units import readable_size

ROOM_MIN = 1 << 30
"""Bytes above the reserve below which a checkpoint of today hardly fits."""
SPEED_MIN = 5 << 20
"""Bytes a second; a worn or fake SD card writes less."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a trial wrote and fsynced, and how long that took."""

    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """`home` is the folder, whether it `exists` or not; bytes are of its file system. `written` is None when nothing
    was tried: there is no home yet, or no room."""

    home: str
    exists: bool
    free: int
    total: int
    reserve: int
    written: Written | None


def judge_disk(seen: DiskSeen) -> Iterator[Finding]:
    """One finding for the room, and one for the speed."""
    yield _room(seen)
    if seen.written is not None:
        yield _speed(seen.written)
    elif not seen.exists:
        text = f"not measured: there is no {seen.home} yet"
        yield Finding("disk-speed", Level.NOTE, text, "roost start or roost join makes it")


def _room(seen: DiskSeen) -> Finding:
    above = seen.free - seen.reserve
    of = f"{readable_size(seen.free)} of {readable_size(seen.total)} are free, node.reserve is"
    of = f"{of} {readable_size(seen.reserve)}"
    mend = "free some space (see: du -xh --max-depth=2 / | sort -h | tail), or move the home to a larger disk (--home)"
    if above <= 0:
        return Finding("disk", Level.PROBLEM, f"the disk is full: {of}; a node here takes nothing more", mend)
    if above < ROOM_MIN:
        return Finding("disk", Level.WARNING, f"the disk is nearly full: {of}", mend)
    return Finding("disk", Level.OK, of)


def _speed(written: Written) -> Finding:
    rate = written.bytes / max(written.seconds, 1e-6)
    told = f"{readable_size(rate)}/s durable ({readable_size(written.bytes)} written and fsynced)"
    if rate >= SPEED_MIN:
        return Finding("disk-speed", Level.OK, told)
    return Finding(
        "disk-speed", Level.WARNING, f"the disk is slow: {told}; every store waits for the slowest copy",
        "look for errors with: sudo dmesg | grep -iE 'mmc|ata|nvme|usb'; then put the home on another card or an SSD "
        "(--home)",
    )  # fmt: skip
