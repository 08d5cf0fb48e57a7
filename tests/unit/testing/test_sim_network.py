"""Unit tests of what only the simulated network does: cuts, crashes, frozen processes, slow lines."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from roost.core.cluster import Address
from roost.core.errors import Unreachable
from roost.core.ids import NodeId
from roost.net.stream import Network, Stream
from roost.testing.loop import run_simulated
from roost.testing.network import Line, SimHost, SimNetwork
from roost.testing.pipe import WINDOW_BYTES

SEEDS = range(5)
PORT = 7400


class World:
    """Two hosts, `a` dialling `b`."""

    def __init__(self, seed: int) -> None:
        self.net = SimNetwork(random.Random(seed))
        self.a, self.b = self.host("a", 1), self.host("b", 2)
        self.accepted: list[Stream] = []

    def host(self, name: str, number: int) -> SimHost:
        return self.net.host(name, NodeId(f"{number:032x}"), bytes([number]) * 32, f"10.0.0.{number}")

    async def accept(self, stream: Stream) -> None:
        self.accepted.append(stream)

    @property
    def address(self) -> Address:
        return Address(self.b.address, PORT)

    async def streams(self) -> tuple[Stream, Stream]:
        await self.b.listen(self.address, self.accept)
        near = await self.a.connect(self.address, expect=NodeId(f"{2:032x}"))
        await asyncio.sleep(0.01)
        return near, self.accepted[-1]


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main(seed: int) -> None:
        await scenario(World(seed))

    for seed in SEEDS:
        run_simulated(main(seed), seconds_max=300)


async def receive(stream: Stream, count: int) -> bytes:
    into = bytearray(count)
    await stream.receive_exactly(memoryview(into))
    return bytes(into)


async def after(seconds: float, task: "asyncio.Task[bytes] | asyncio.Task[None]") -> bool:
    """Whether `task` is done after `seconds`."""
    await asyncio.wait([task], timeout=seconds)
    return task.done()


def test_hosts_are_networks() -> None:
    async def scenario(world: World) -> None:
        network: Network = world.a
        assert network is world.a

    play(scenario)


@pytest.mark.parametrize("both", [True, False])
def test_a_cut_holds_bytes_until_it_is_healed(both: bool) -> None:
    async def scenario(world: World) -> None:
        near, far = await world.streams()
        world.net.cut(world.a, world.b, both=both)
        await near.send([b"held"])
        receiving = asyncio.create_task(receive(far, 4))
        assert not await after(100, receiving)
        await far.send([b"back"])
        answer = asyncio.create_task(receive(near, 4))
        assert await after(1, answer) is not both
        world.net.heal()
        assert await receiving == b"held"
        assert await answer == b"back"

    play(scenario)


def test_without_acknowledgements_a_sender_stops_at_its_window() -> None:
    async def scenario(world: World) -> None:
        near, far = await world.streams()
        world.net.cut(world.b, world.a, both=False)
        sending = asyncio.create_task(near.send([bytes(3 * WINDOW_BYTES)]))
        assert len(await receive(far, WINDOW_BYTES)) == WINDOW_BYTES
        assert not await after(10, sending)
        assert near.bytes_sent == WINDOW_BYTES
        world.net.heal()
        assert len(await receive(far, 2 * WINDOW_BYTES)) == 2 * WINDOW_BYTES
        await sending

    play(scenario)


@pytest.mark.parametrize("direction", ["there", "back", "both"])
def test_nobody_can_be_reached_through_a_cut(direction: str) -> None:
    async def scenario(world: World) -> None:
        await world.b.listen(world.address, world.accept)
        source, target = (world.b, world.a) if direction == "back" else (world.a, world.b)
        world.net.cut(source, target, both=direction == "both")
        begin = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable, match="within 5 s"):
            await world.a.connect(world.address, expect=None)
        assert 5 <= asyncio.get_running_loop().time() - begin < 5.1
        connecting = asyncio.create_task(world.a.connect(world.address, expect=None))
        await asyncio.sleep(1)
        world.net.heal()
        await connecting

    play(scenario)


def test_groups_are_parted() -> None:
    async def scenario(world: World) -> None:
        third = world.host("c", 3)
        world.net.part([world.a], [world.b, third])
        assert not world.net.is_open(world.a, third)
        assert not world.net.is_open(world.b, world.a)
        assert world.net.is_open(world.b, third)

    play(scenario)


def test_a_crashed_process_is_noticed_soon() -> None:
    async def scenario(world: World) -> None:
        near, _ = await world.streams()
        receiving = asyncio.create_task(receive(near, 1))
        world.net.crash(world.b, silent=False)
        assert await after(2.1, receiving)
        with pytest.raises(Unreachable):
            await receiving
        with pytest.raises(Unreachable, match="nobody answers"):
            await world.a.connect(world.address, expect=None)

    play(scenario)


def test_a_dead_machine_says_nothing_until_it_is_back() -> None:
    async def scenario(world: World) -> None:
        near, _ = await world.streams()
        receiving = asyncio.create_task(receive(near, 1))
        world.net.crash(world.b, silent=True)
        sending = asyncio.create_task(near.send([bytes(3 * WINDOW_BYTES)]))
        assert not await after(100, sending)
        assert not receiving.done()
        with pytest.raises(Unreachable, match="within 5 s"):
            await world.a.connect(world.address, expect=None)
        world.b = world.host("b", 2)
        assert await after(2.1, sending)
        for task in (sending, receiving):
            with pytest.raises(Unreachable):
                await task
        near, far = await world.streams()
        await near.send([b"again"])
        assert await receive(far, 5) == b"again"

    play(scenario)


def test_a_crash_ends_the_process_itself() -> None:
    async def scenario(world: World) -> None:
        ended = []

        async def serve(stream: Stream) -> None:
            try:
                await receive(stream, 1)
            except asyncio.CancelledError:
                ended.append("serving")
                raise

        await world.b.listen(world.address, serve)
        dialled = await world.b.connect(world.address, expect=None)
        await asyncio.sleep(0.01)
        world.net.crash(world.b)
        await asyncio.sleep(0)
        assert ended == ["serving"]
        for call in (receive(dialled, 1), world.b.connect(world.address, expect=None)):
            with pytest.raises(Unreachable, match="crashed"):
                await call

    play(scenario)


def test_a_frozen_process_takes_nothing_and_says_nothing() -> None:
    async def scenario(world: World) -> None:
        near, far = await world.streams()
        world.net.freeze(world.b)
        receiving = asyncio.create_task(receive(far, 3 * WINDOW_BYTES))
        speaking = asyncio.create_task(far.send([b"x"]))
        sending = asyncio.create_task(near.send([bytes(3 * WINDOW_BYTES)]))
        assert not await after(100, sending)
        assert near.bytes_sent == WINDOW_BYTES
        assert not receiving.done()
        assert not speaking.done()
        with pytest.raises(Unreachable, match="within 5 s"):
            await world.a.connect(world.address, expect=None)
        world.net.thaw(world.b)
        await asyncio.gather(receiving, sending, speaking)

    play(scenario)


def test_a_line_has_its_speed_and_streams_share_it() -> None:
    async def scenario(world: World) -> None:
        world.net.set_line(world.a, world.b, Line(delay_s=(0.1, 0.1), bytes_per_s=1e6))
        first = await world.streams()
        second = await world.a.connect(world.address, expect=None)
        await asyncio.sleep(0.01)
        begin = asyncio.get_running_loop().time()
        await asyncio.gather(
            first[0].send([bytes(2_000_000)]),
            second.send([bytes(2_000_000)]),
            receive(first[1], 2_000_000),
            receive(world.accepted[-1], 2_000_000),
        )
        assert 4.0 <= asyncio.get_running_loop().time() - begin < 5.0

    play(scenario)


def test_what_holds_or_slows_is_told_of_by_its_cause_when_it_is_felt() -> None:
    async def scenario(world: World) -> None:
        felt: list[str] = []
        near, far = await world.streams()
        world.net.felt = felt.append
        world.net.cut(world.b, world.a, both=False, cause="one way")
        world.net.set_line(world.a, world.b, Line(cause="slow"))
        assert felt == []
        await near.send([b"x"])
        assert await receive(far, 1) == b"x"
        assert set(felt) == {"slow", "one way"}, "the acknowledgement is held"
        world.net.heal()
        felt.clear()
        world.net.freeze(world.b)
        assert felt == []
        waiting = asyncio.create_task(receive(far, 1))
        await asyncio.sleep(1)
        assert felt == ["freeze"]
        world.net.thaw(world.b)
        await near.send([b"y"])
        assert await waiting == b"y"

    play(scenario)


def test_one_seed_is_one_history() -> None:
    async def history(seed: int) -> list[float]:
        world = World(seed)
        near, far = await world.streams()
        data, times = random.Random(seed).randbytes(100_000), []
        sending = asyncio.create_task(near.send([data]))
        for _ in range(10):
            await receive(far, 10_000)
            times.append(asyncio.get_running_loop().time())
        await sending
        return times

    same = [run_simulated(history(3), seconds_max=9) for _ in range(2)]
    assert same[0] == same[1] != run_simulated(history(4), seconds_max=9)
