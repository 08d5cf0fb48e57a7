"""Which alerts fire here, who was told, and what could not be told: one small file in the home of who looks.

The process that looks writes it; `roost alerts` and `roost status` on the same machine read it. What cannot be read is
taken as nothing, so that at worst everything is told again.
"""

import contextlib

import msgspec

from roost.client.results import ClusterStatus
from roost.core.errors import RoostError
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk
from roost.disk.posix import PosixDisk
from roost.observe.firing import Alert, KeptSeen
from roost.observe.samples import KeptCounter
from roost.settings.paths import Home

BYTES_MAX = 16 * 1024 * 1024


class AlertMemory(msgspec.Struct, frozen=True):
    """``alerts.json``. `told` is, by way of telling, what was told and how many seconds ago; `troubles`, by way, why it
    could not be told last; `looked_at` when it was looked last (seconds since 1970)."""

    seen: tuple[KeptSeen, ...] = ()
    told: dict[str, tuple[tuple[Alert, float], ...]] = {}
    troubles: dict[str, str] = {}
    counters: tuple[KeptCounter, ...] = ()
    looked_at: float = 0.0

    @property
    def firing(self) -> list[Alert]:
        """The alerts that fire."""
        return [seen.alert for seen in self.seen if seen.firing]


def read_alerts(disk: Disk, home: Home) -> AlertMemory | None:
    """What is kept in the home; None when nothing, or nothing readable."""
    try:
        data = read_small(disk, home.relative(home.alerts), bytes_max=BYTES_MAX)
        return msgspec.json.decode(data, type=AlertMemory)
    except (RoostError, msgspec.DecodeError, ValueError):
        return None


def alerts_of(home: Home) -> AlertMemory | None:
    """What is kept in a home, for who only looks."""
    return read_alerts(PosixDisk(home.root), home)


def write_alerts(disk: Disk, home: Home, memory: AlertMemory) -> None:
    """Keep it, durably. Raises as the disk's port does."""
    write_durably(disk, home.relative(home.alerts), msgspec.json.encode(memory))


def forget_alerts(disk: Disk, home: Home) -> None:
    """Keep nothing: nobody is told any more, and what was known gets old. A disk that fails keeps it."""
    with contextlib.suppress(RoostError):
        disk.unlink(home.relative(home.alerts))


def with_untold_alerts(found: ClusterStatus, home: Home) -> ClusterStatus:
    """The status, with the ways of telling that fail among its problems."""
    memory = alerts_of(home)
    troubles = [f"alerts cannot be told by {way}: {why}" for way, why in memory.troubles.items()] if memory else []
    return msgspec.structs.replace(found, problems=(*found.problems, *troubles)) if troubles else found
