"""What the process that serves a home says of itself in that home: its process id, its address, what it watches.

Whether such a process runs is told by its lock on the home alone; the file is only read when the lock is held.
"""

import msgspec

from roost.core.cluster import Address
from roost.core.errors import Busy, Failed, NotFound, UsageError
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk, Lock
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

BYTES_MAX = 1024 * 1024


class RunState(msgspec.Struct, frozen=True):
    """``run.json``. `watching` is (folder, [(name, what it waits for)])."""

    pid: int
    address: str
    watching: list[tuple[str, list[tuple[str, str]]]] = []


def take_home(disk: Disk, home: Home) -> Lock:
    """Lock the home for this process; Busy says which process has it."""
    name = home.relative(home.lock)
    try:
        return disk.lock(name)
    except Busy:
        state = read_run_state(disk, home)
        who = f"process {state.pid}" if state else "another process"
        raise Busy(
            f"{home.root} is served by {who} already", hint="stop it first, or use another home with --home"
        ) from None


def is_served(disk: Disk, home: Home) -> bool:
    """Whether a process holds this home now."""
    try:
        disk.lock(home.relative(home.lock)).release()
    except (Busy, NotFound):
        return disk.exists(home.relative(home.lock))
    return False


def read_run_state(disk: Disk, home: Home) -> RunState | None:
    """What the last process said; None when nothing, or nothing readable."""
    try:
        data = read_small(disk, home.relative(home.run_state), bytes_max=BYTES_MAX)
        state = msgspec.json.decode(data, type=RunState)
        Address.parse(state.address)
    except (NotFound, Failed, UsageError, ValueError):
        return None
    return state


def write_run_state(disk: Disk, home: Home, state: RunState) -> None:
    """Say it; of use only while this process holds the home's lock."""
    write_durably(disk, home.relative(home.run_state), msgspec.json.encode(state))


def serving(home: Home) -> RunState | None:
    """What the process that serves this home now says of itself; None when there is none."""
    disk = PosixDisk(home.root)
    return read_run_state(disk, home) if is_served(disk, home) else None
