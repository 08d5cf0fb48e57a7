"""The watch over a node's disk: what it notices, and what a restart does not make it forget."""

import random
from collections.abc import Callable, Coroutine

import pytest

from roost.chunks.condition import FILES_MAX, SILENT_MAX
from roost.chunks.disk import DiskChunkStore
from roost.core.errors import DiskFault
from roost.node.disk_watch import PATH, UNREADABLE, DiskWatch
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime


class Life:
    """One process's watch over a disk."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        runtime = SimRuntime(random.Random(1))
        self.watch = DiskWatch(runtime, disk)
        self.store = DiskChunkStore(disk, runtime, reserve_bytes=0)

    async def open(self) -> "Life":
        await self.store.open()
        await self.watch.open(self.store)
        return self

    async def again(self) -> "Life":
        return await Life(self.disk.kill()).open()

    def fail(self) -> None:
        for number in range(FILES_MAX):
            self.watch.failed(f"chunks/{number}", False, DiskFault("it burns"))


def simulate(scenario: Callable[[Life], Coroutine[object, object, None]]) -> None:
    async def main() -> None:
        await scenario(await Life(MemoryDisk()).open())

    run_simulated(main(), seconds_max=600)


def test_a_disk_that_kept_failing_still_does_after_a_restart_until_a_clean_pass() -> None:
    async def scenario(life: Life) -> None:
        life.fail()
        told = life.watch.trouble
        await life.watch.look()
        life = await life.again()
        assert told
        assert life.watch.trouble == told
        await life.watch.look()
        life = await life.again()
        assert life.watch.trouble == told, "and after another one"
        life.watch.condition.recover()
        await life.watch.look()
        assert not life.disk.exists(PATH)
        assert (await life.again()).watch.trouble == ""

    simulate(scenario)


def test_a_verdict_that_cannot_be_kept_is_kept_when_it_can() -> None:
    async def scenario(life: Life) -> None:
        life.fail()
        life.disk.read_only = True
        await life.watch.look()
        assert life.watch.trouble
        life.disk.read_only = False
        await life.watch.look()
        assert (await life.again()).watch.trouble

    simulate(scenario)


@pytest.mark.parametrize("data", [b"", b"x" * 10_000])
def test_a_verdict_that_cannot_be_read_is_one(data: bytes) -> None:
    async def scenario(life: Life) -> None:
        life.disk.make_directory("state")
        file = life.disk.create(PATH)
        file.pwrite(data, 0)
        file.close()
        assert (await life.again()).watch.trouble == UNREADABLE

    simulate(scenario)


def test_a_disk_that_is_not_there_is_trouble_for_so_long() -> None:
    async def scenario(life: Life) -> None:
        life.disk.rename("chunks", "away")
        await life.watch.look()
        assert "not there" in life.watch.trouble
        assert not life.disk.exists(PATH), "it says nothing of the disk itself"
        life.disk.rename("away", "chunks")
        await life.watch.look()
        assert life.watch.trouble == ""

    simulate(scenario)


def test_a_disk_that_rots_in_silence_is_trouble() -> None:
    async def scenario(life: Life) -> None:
        for number in range(SILENT_MAX):
            life.watch.harmed(f"chunks/{number}", "it is damaged")
        assert life.watch.trouble

    simulate(scenario)
