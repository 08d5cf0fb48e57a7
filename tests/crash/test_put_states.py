"""A put and a power cut: after every operation, in every state the disk may be left in, the object is whole or absent,
and what was acknowledged is there. Fault 17 at the store. Planted bugs show that the test would notice."""

import contextlib
import random
from collections.abc import Iterator

import pytest

from crash.planted_disks import NoDirectorySync, NoFileSync, RenameFirst
from roost.chunks.disk import DiskChunkStore
from roost.core.ids import object_id
from roost.net.body import Body
from roost.testing.disk import MemoryDisk, PowerCut
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

BLOCK_BYTES = 64
DATA = random.Random(7).randbytes(5 * BLOCK_BYTES + 10)
NAME = object_id(DATA)
PATH = f"chunks/{NAME.hex()[:2]}/{NAME.hex()}"


def opened(disk: MemoryDisk) -> DiskChunkStore:
    """A store on `disk`, as a process that starts finds it."""
    return run_simulated(_open(disk), seconds_max=60)


async def _open(disk: MemoryDisk) -> DiskChunkStore:
    store = DiskChunkStore(disk, SimRuntime(random.Random(1)), reserve_bytes=0)
    await store.open()
    return store


def put(store: DiskChunkStore) -> bool:
    """Put the object; whether that was acknowledged before the power went."""

    async def main() -> None:
        await store.put(NAME, Body.of(DATA[: 2 * BLOCK_BYTES], DATA[2 * BLOCK_BYTES :]))

    with contextlib.suppress(PowerCut):
        run_simulated(main(), seconds_max=60)
        return True
    return False


def cuts(kind: type[MemoryDisk]) -> Iterator[tuple[bool, MemoryDisk]]:
    """A put stopped before each of its operations in turn, and at last not at all: was it acknowledged, and the disk
    at that instant."""
    for count in range(1000):
        disk = kind(block_bytes=BLOCK_BYTES)
        store = opened(disk)
        if hasattr(disk, "armed"):
            disk.armed = True
        disk.stop_after = disk.operations + count
        acknowledged = put(store)
        yield acknowledged, disk
        if acknowledged:
            return
    raise AssertionError("a put has no end")


def problems(kind: type[MemoryDisk]) -> set[str]:
    """What is wrong with any state after any cut."""
    found: set[str] = set()
    for acknowledged, disk in cuts(kind):
        for state in disk.crash_states():
            data = state.contents().get(PATH)
            if data is None and acknowledged:
                found.add("acknowledged, and absent")
            if data not in (None, DATA):
                found.add("part of an object under its name")
    return found


def test_in_every_state_the_object_is_whole_or_absent_and_present_once_acknowledged() -> None:
    assert problems(MemoryDisk) == set()


@pytest.mark.parametrize(
    ("bug", "caught"),
    [
        (NoFileSync, {"part of an object under its name"}),
        (NoDirectorySync, {"acknowledged, and absent"}),
        (RenameFirst, {"part of an object under its name"}),
    ],
)
def test_a_planted_bug_is_caught(bug: type[MemoryDisk], caught: set[str]) -> None:
    assert caught <= problems(bug)


def test_the_cuts_are_at_every_step_of_a_put() -> None:
    *cut, (_, done) = cuts(MemoryDisk)
    steps = [operation.what for operation in done.journal][-len(cut) :]
    assert steps == ["create", "write", "write", "sync", "rename", "sync directory", "sync directory"]
    assert sum(1 for _, disk in cuts(MemoryDisk) for _ in disk.crash_states()) > 80


def test_a_store_started_on_any_state_is_consistent_and_takes_the_object() -> None:
    for acknowledged, disk in cuts(MemoryDisk):
        for number, state in enumerate(disk.crash_states()):
            if number % 7 and not acknowledged:
                continue  # a start costs more than a look, and the states of one cut differ little
            store = opened(state)
            assert state.list("chunks/tmp") == []
            assert run_simulated(store.have([NAME]), seconds_max=1) == [PATH in state.contents()]
            assert put(store)
            assert all(after.contents()[PATH] == DATA for after in state.crash_states())


def test_after_a_kill_the_second_process_vouches_for_nothing_that_a_power_cut_takes_back() -> None:
    for _, disk in cuts(MemoryDisk):
        disk.dead = False
        after = disk.kill()
        store = opened(after)
        assert after.list("chunks/tmp") == []
        assert put(store), "new, or answered 'already'"
        assert all(state.contents().get(PATH) == DATA for state in after.crash_states())


def test_a_start_that_did_not_sync_what_a_killed_process_left_would_be_caught() -> None:
    """The planted bug behind the test above: a store that believes the names it finds."""
    lost = False
    for _, disk in cuts(MemoryDisk):
        disk.dead = False
        after = disk.kill()
        lost |= PATH in after.contents() and any(PATH not in state.contents() for state in after.crash_states())
    assert lost


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_while_the_tree_is_made_leaves_one_that_a_start_completes(seed: int) -> None:
    chance = random.Random(seed)
    disk = MemoryDisk(stop_after=chance.randrange(1, 780))
    with contextlib.suppress(PowerCut):
        opened(disk)
    disk.dead = False
    state = disk.crash(chance)
    store = opened(state)
    assert put(store)
    assert len([name for name, _ in state.list("chunks") if len(name) == 2]) == 256
    assert state.crash(chance).contents()[PATH] == DATA


def test_a_power_cut_during_a_quarantine_loses_nothing_to_a_good_copy() -> None:
    for count in range(1, 20):
        disk = MemoryDisk(block_bytes=BLOCK_BYTES)
        store = opened(disk)
        put(store)
        disk.flip(PATH, 5, 1)
        disk.stop_after = disk.operations + count - 1
        done = False
        with contextlib.suppress(PowerCut):
            run_simulated(store.verify([NAME]), seconds_max=1)
            done = True
        for state in disk.crash_states():
            held = {path for path in state.contents() if NAME.hex() in path}
            assert held
            assert held <= {PATH, f"quarantine/{NAME.hex()}-0"}
            if done:
                assert held == {f"quarantine/{NAME.hex()}-0"}
        if done:
            return
    raise AssertionError("a quarantine has no end")
