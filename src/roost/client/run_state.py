"""What the process that serves a home says of itself in that home: its process id, its address, what it watches.

Whether such a process runs is told by its lock on the home alone. Who takes the lock first takes away the process id of
whoever had it before, so that an id that is there while the lock is held is that of its holder; the address stays, for
it says where the home was last served.
"""

import contextlib

import msgspec

from roost.core.cluster import Address
from roost.core.errors import Busy, DiskFault, Failed, NotFound, RoostError, UsageError
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk, Lock
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

BYTES_MAX = 1024 * 1024


class RunState(msgspec.Struct, frozen=True):
    """``run.json``. `pid` is 0 while the process has not said yet which it is. `watching` is (folder, [(name, what it
    waits for)]), `page` the address of its web page."""

    pid: int
    address: str
    watching: list[tuple[str, list[tuple[str, str]]]] = []
    page: str = ""


def take_home(disk: Disk, home: Home) -> Lock:
    """Lock the home for this process; Busy says which process has it. A disk that is full or read-only does not keep
    a home that was served before from being served again."""
    name = home.relative(home.lock)
    try:
        lock = disk.lock(name)
    except Busy:
        state = read_run_state(disk, home)
        who = f"process {state.pid}" if state and state.pid else "another process"
        raise Busy(
            f"{home.root} is served by {who} already", hint="stop it first, or use another home with --home"
        ) from None
    _forget_process(disk, home)
    return lock


def _forget_process(disk: Disk, home: Home) -> None:
    """Take away the id of a process that is gone, and what it watched. A full disk keeps nothing of it; one that is
    read-only keeps all, which nobody can help."""
    state = read_run_state(disk, home)
    if state is None or not state.pid:
        return
    try:
        write_run_state(disk, home, RunState(0, state.address))
    except RoostError:
        with contextlib.suppress(RoostError):
            disk.unlink(home.relative(home.run_state))


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
    except (NotFound, Failed, DiskFault, UsageError, ValueError):
        return None
    return state


def write_run_state(disk: Disk, home: Home, state: RunState) -> None:
    """Say it; of use only while this process holds the home's lock."""
    write_durably(disk, home.relative(home.run_state), msgspec.json.encode(state))


def serving(home: Home) -> RunState | None:
    """What the process that serves this home now says of itself; None when there is none, or it says nothing yet."""
    disk = PosixDisk(home.root)
    state = read_run_state(disk, home) if is_served(disk, home) else None
    return state if state is not None and state.pid else None
