"""Every kind of fault happens when it is let happen, does what its name says, and is noted when somebody felt it, and
not before: what excuses a failure in a run is a fault that was there."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest

from roost.core.checkpoint import Redundancy
from roost.core.errors import RoostError
from roost.core.ids import ObjectId
from roost.testing.cluster import SimNode
from roost.testing.loop import run_simulated
from roost.wire.messages import Ping
from sim.checkpoints import Maker
from sim.deeds import Deeds
from sim.disks import file_on, names_on, object_path, objects_on
from sim.people import Office, Person
from sim.weather import Weather
from sim.world import World

SEED = 0
"""Four nodes, each on a machine of its own."""
BUSY_S = 120.0
STRIKES_MAX = 5
"""A disk that has room for what comes is not felt to be full, and so on."""
TWO = Redundancy.parse("2")


class Fixed:
    """A fixed run: four nodes, and a person who stores, gathers and never dies of it."""

    def __init__(self) -> None:
        self.world = World(SEED)
        self.world.echo.steady = 0.0
        self.weather = Weather(self.world)
        self.office = Office(self.world)
        self.deeds = Deeds(self.world, self.office)
        self.maker = Maker(self.world.chance("checkpoints"))
        self.person = Person(0)
        self.stored = 0

    async def begin(self) -> None:
        cluster = self.world.cluster
        assert len(cluster.nodes) == 4
        for node in cluster.nodes:
            cluster.introduce(node.disk, [other for other in cluster.nodes if other is not node])
            cluster.start(node)
        assert await cluster.until(lambda: all(node.ready for node in cluster.nodes), within_s=60)
        cluster.introduce(self.person.home, cluster.nodes)
        await self.keep()
        assert not self.world.happened

    async def keep(self) -> None:
        """Store something new and gather it."""
        self.stored += 1
        await self.deeds.store(self.person, f"busy/{self.stored}", self.maker.tree(), TWO)
        await self.deeds.gather(self.person, f"busy/{self.stored}")

    async def busy(self, until: Callable[[], bool]) -> bool:
        """Store and gather until that holds; whether it came to."""
        end = self.world.loop.time() + BUSY_S
        while not until() and self.world.loop.time() < end:
            await self.keep()
            await asyncio.sleep(1.0)
        return until()

    def striking(self, kind: str, node: SimNode) -> "asyncio.Task[None]":
        """A fault that begins now."""

        async def strike() -> None:
            await self.weather.kinds[kind](node)

        return asyncio.create_task(strike(), name=kind)

    async def strike(self, kind: str, node: SimNode, until: Callable[[], bool]) -> None:
        """Let a fault happen to a node of which something is wanted meanwhile, a few times, until that holds."""
        strikes = 0
        while not until() and strikes < STRIKES_MAX:
            strikes += 1
            await self._strike_once(kind, node, until)

    async def _strike_once(self, kind: str, node: SimNode, until: Callable[[], bool]) -> None:
        striking = self.striking(kind, node)
        await self.busy(lambda: until() or striking.done())
        striking.cancel()

    async def took(self, node: SimNode) -> float:
        """How long the node takes to answer the person, in seconds, also when that ends with an error."""
        assert self.person.running is not None
        process, session = self.person.running
        began = self.world.loop.time()

        async def ask() -> None:
            try:
                await session.links.call(node.node_id, Ping())
            except RoostError:
                return

        await asyncio.wait([process.spawn(ask(), name="ask")])
        return self.world.loop.time() - began


def play(scenario: Callable[[Fixed, SimNode], Awaitable[None]]) -> None:
    """Play a scenario in a fixed run, with the node that faults are to hit."""

    async def main() -> None:
        fixed = Fixed()
        await fixed.begin()
        await scenario(fixed, fixed.world.cluster.nodes[1])
        assert not fixed.world.bugs

    run_simulated(main(), seconds_max=3000)


KINDS = (
    "power", "power in a write", "power at a step", "kill", "kill at a step", "death", "freeze", "clock", "partition",
    "one way", "maze", "slow line", "late", "twice", "slow disk", "full", "read-only", "disk error", "flip",
    "flip in a record", "lies",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person's process and disk are well: what goes wrong is the fault that is tried."""
    monkeypatch.setattr("sim.people.MORTAL", 0.0)
    monkeypatch.setattr("sim.deeds.AILING", 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_is_felt_and_noted(kind: str) -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        assert set(fixed.weather.kinds) == set(KINDS)
        await fixed.strike(kind, node, lambda: bool(fixed.world.happened))
        assert fixed.world.happened == {kind}

    play(scenario)


@pytest.mark.parametrize("kind", ["power", "power in a write", "power at a step", "kill", "kill at a step", "death"])
def test_a_process_that_died_is_another_one_when_it_is_back(kind: str) -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        before = node.process
        assert before is not None
        striking = fixed.striking(kind, node)
        assert await fixed.busy(lambda: before.dead)
        await striking
        assert node.gone if kind == "death" else node.process is not before
        assert node.up is (kind != "death")

    play(scenario)


@pytest.mark.parametrize(("kind", "least_s"), [("late", 0.1), ("slow line", 0.01), ("freeze", 0.1)])
def test_what_is_slow_takes_longer(kind: str, least_s: float) -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        before = await fixed.took(node)
        striking = fixed.striking(kind, node)
        await asyncio.sleep(0.001)
        assert await fixed.took(node) > max(least_s, before)
        await striking

    play(scenario)


def test_a_link_is_cut_in_one_direction_only() -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        net = fixed.world.cluster.world
        striking = fixed.striking("one way", node)
        await asyncio.sleep(0.001)
        hosts = net.living()
        cut = [(a, b) for a in hosts for b in hosts if not net.is_open(a, b)]
        assert len(cut) == 1
        [(source, target)] = cut
        assert (source.name, net.is_open(target, source)) == (node.name, True)
        await striking
        assert net.is_open(source, target)

    play(scenario)


def test_a_clock_jumps() -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        assert node.process is not None
        runtime, loop = node.process.runtime, fixed.world.loop
        off = runtime.wall() - loop.time()
        striking = fixed.striking("clock", node)
        await asyncio.sleep(0.001)
        assert abs(runtime.wall() - loop.time() - off) > 1000
        await striking

    play(scenario)


@pytest.mark.parametrize("kind", ["flip", "flip in a record"])
def test_bits_turn_at_rest(kind: str) -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        assert _bad(node) == 0
        await fixed.weather.kinds[kind](node)
        assert _bad(node) > 0

    play(scenario)


def test_a_disk_lies() -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        harmed: list[str] = []
        note = node.disk.on_harm
        assert note is not None

        def harm(path: str) -> None:
            harmed.append(path)
            note(path)

        node.disk.on_harm = harm
        await fixed.strike("lies", node, lambda: bool(harmed))
        assert harmed, "other bytes are there than were written"
        assert "lies" in fixed.world.happened

    play(scenario)


def test_requests_of_every_kind_come_twice() -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        fixed.world.echo.steady = 1.0
        await fixed.keep()
        await asyncio.sleep(30)
        assert not fixed.world.happened, "what comes twice is no excuse"
        assert {f"twice: {kind}" for kind in ("Have", "Put", "PassOn", "Commit")} <= fixed.world.covered
        fixed.world.check()

    play(scenario)


def test_a_fault_that_nobody_feels_is_not_noted() -> None:
    async def scenario(fixed: Fixed, node: SimNode) -> None:
        here = objects_on(node.disk)
        absent = ObjectId(bytes(32))
        assert absent not in here
        node.disk.failing.add(object_path(absent))
        await fixed.keep()
        assert not fixed.world.happened

    play(scenario)


def _bad(node: SimNode) -> int:
    """How many of its objects and records are not what their names say."""
    paths = [object_path(i) for i in objects_on(node.disk)] + [f"records/{n}" for n in names_on(node.disk, "records")]
    files = {path.rpartition("/")[2].partition(".")[0]: file_on(node.disk, path) for path in paths}
    return sum(data is not None and hashlib.sha256(data).hexdigest() != name for name, data in files.items())
