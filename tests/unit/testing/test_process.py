"""Unit tests of simulated processes: what belongs to one, and that nothing it does after its death counts."""

import asyncio
import random

from roost.core.cluster import Address
from roost.core.ids import NodeId
from roost.disk.durable import write_durably
from roost.net.stream import Stream
from roost.testing.crash import durable_bytes
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import SimNetwork
from roost.testing.process import SimProcess


def process(world: SimNetwork, number: int, bugs: list[str]) -> SimProcess:
    host = world.host(f"p{number}", NodeId(f"{number:032x}"), bytes(32), f"10.0.0.{number}")
    return SimProcess(host, MemoryDisk(), random.Random(number), crashes=bugs.append)


def test_all_tasks_of_a_process_die_with_it_and_their_cleanup_does_nothing() -> None:
    async def scenario() -> None:
        world, bugs = SimNetwork(random.Random(1)), list[str]()
        one, two = process(world, 1, bugs), process(world, 2, bugs)
        served = asyncio.Event()

        async def serve(stream: Stream) -> None:
            async def inner() -> None:
                served.set()
                try:
                    await asyncio.sleep(1000)
                finally:
                    write_durably(one.disk, "too late", b"x")

            await asyncio.create_task(inner())

        await one.spawn(one.host.listen(Address("10.0.0.1", 7), serve), name="listen")
        await two.spawn(two.host.connect(Address("10.0.0.1", 7), expect=None), name="dial")
        await served.wait()
        assert (one.tasks, two.tasks) == (2, 0)
        one.die()
        await asyncio.sleep(1)
        assert one.tasks == 0
        assert one.disk.kill().contents() == {}
        assert bugs == []

    run_simulated(scenario(), seconds_max=60)


def test_a_power_cut_between_two_changes_of_the_disk_ends_the_process() -> None:
    async def scenario() -> None:
        world, bugs = SimNetwork(random.Random(1)), list[str]()
        one = process(world, 1, bugs)
        heard: list[bool] = []
        one.died = lambda: heard.append(one.host.dead)
        one.disk.stop_after = 2

        async def write() -> None:
            await one.runtime.in_thread(write_durably, one.disk, "file", b"x")

        other = one.spawn(asyncio.sleep(1000), name="other")
        task = one.spawn(write(), name="write")
        await asyncio.wait([other, task], timeout=5)
        assert heard == [True]
        assert other.cancelled()
        assert task.done()
        assert bugs == []

    run_simulated(scenario(), seconds_max=60)


def test_an_error_that_is_none_of_ours_is_told() -> None:
    async def scenario() -> None:
        bugs = list[str]()
        one = process(SimNetwork(random.Random(1)), 1, bugs)

        async def stumble() -> None:
            raise ValueError("a bug")

        await asyncio.wait([one.spawn(stumble(), name="stumbler")])
        assert len(bugs) == 1
        assert "stumbler" in bugs[0]

    run_simulated(scenario(), seconds_max=60)


def test_it_is_known_how_many_tasks_there_were_at_once_and_when_a_slow_disk_held_one_up() -> None:
    async def scenario() -> None:
        one = process(SimNetwork(random.Random(1)), 1, [])
        felt: list[float] = []
        one.speed.felt = lambda: felt.append(asyncio.get_running_loop().time())
        sleeping = [one.spawn(asyncio.sleep(1), name=f"sleeper {number}") for number in range(5)]
        await asyncio.wait(sleeping)
        assert (one.tasks, one.tasks_peak) == (0, 5)
        await one.spawn(one.runtime.in_thread(write_durably, one.disk, "a", b"x"), name="quick")
        await one.spawn(one.runtime.in_thread(one.disk.exists, "a"), name="after it")
        one.speed.sync_s = 0.5
        assert felt == []
        await one.spawn(one.runtime.in_thread(write_durably, one.disk, "b", b"x"), name="slow")
        await one.spawn(one.runtime.in_thread(one.disk.exists, "b"), name="after it")
        assert len(felt) == 1

    run_simulated(scenario(), seconds_max=60)


def test_what_is_durable_is_what_the_worst_power_cut_leaves() -> None:
    disk = MemoryDisk()
    write_durably(disk, "kept", b"whole")
    disk.create("named").close()
    file = disk.open_write("kept")
    file.pwrite(b"W", 0)
    assert durable_bytes(disk._medium, "kept") == b"whole"
    assert durable_bytes(disk._medium, "named") is None
    file.sync()
    disk.sync_directory("")
    assert durable_bytes(disk._medium, "kept") == b"Whole"
    assert durable_bytes(disk._medium, "named") == b""
