"""The samples behind the charts: what is kept of space, throughput and failures, for how long, and what is new."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from cli_stand_in import NODE
from roost.apps.api.series import COARSE_KEPT, FINE_KEPT, NODES_MAX, Series
from roost.client import NodeRow
from roost.core.errors import Unreachable


@dataclass
class Operation:
    id: str
    state: str = "running"
    bytes_done: int = 0


@dataclass
class World:
    """What a series looks at."""

    nodes: list[NodeRow] = field(default_factory=lambda: [NODE])
    operations: list[Operation] = field(default_factory=list)
    at: float = 1_000_000.0
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.series = Series(nodes=self.rows, operations=lambda: self.operations, wall=lambda: self.at)

    async def rows(self) -> Sequence[NodeRow]:
        if self.error is not None:
            raise self.error
        return self.nodes

    def sample(self, count: int = 1, *, every_s: float = 10.0) -> None:
        async def main() -> None:
            for _ in range(count):
                await self.series.sample()
                self.at += every_s

        asyncio.run(main())


def test_a_sample_tells_of_space_and_of_what_runs() -> None:
    world = World([NODE, replace(NODE, id="1" * 32, name="pi-2", bytes_used=5, bytes_free=None)])
    world.operations = [Operation("1"), Operation("2"), Operation("3", "done", 7)]
    world.sample()
    found = world.series.since(0)
    assert (found.at, found.rate, found.running, found.used, found.free) == ((1_000_000,), (0.0,), (2,), (10,), (20,))
    assert [(row.node, row.used, row.free) for row in found.nodes] == [
        ("pi-1", (10,), (20,)),
        ("pi-2", (None,), (None,)),
    ]


def test_throughput_is_all_that_moved_since_the_sample_before() -> None:
    world = World()
    world.operations = [Operation("before", "done", 5000), Operation("1", bytes_done=100)]
    world.sample()
    world.operations = [Operation("before", "done", 5000), Operation("1", bytes_done=300), Operation("2", "done", 1000)]
    world.sample()
    world.operations = [Operation("1", bytes_done=200)]  # it began anew
    world.sample()
    assert world.series.since(0).rate == (0.0, 120.0, 0.0)


def test_only_what_is_new_since_then_is_answered() -> None:
    world = World()
    world.sample(3)
    assert world.series.since(1_000_000).at == (1_000_010, 1_000_020)
    assert world.series.since(1_000_020).at == ()


def test_failures_are_counted_once_when_they_are_new() -> None:
    world = World()
    world.operations = [Operation("old", "failed")]
    world.sample()
    world.operations += [Operation("1", "failed"), Operation("2", "done")]
    world.sample()
    world.sample()
    world.nodes = [replace(NODE, state="down", damaged_total=None)]
    world.sample()
    world.nodes = [replace(NODE, damaged_total=2)]
    world.sample()
    world.nodes = [replace(NODE, damaged_total=5)]
    world.sample()
    world.nodes = [replace(NODE, damaged_total=1)]  # it was started again
    world.sample()
    assert world.series.since(0).failures == (0, 1, 0, 1, 0, 3, 1)


def test_two_hours_are_kept_fine_and_a_week_coarse() -> None:
    world = World()
    world.sample(FINE_KEPT + 60)
    found = world.series.since(0)
    fine = [at for at in found.at if at >= found.at[-1] - (FINE_KEPT - 1) * 10]
    assert len(fine) == FINE_KEPT
    assert 1 <= len(found.at) - FINE_KEPT <= 2
    assert list(found.at) == sorted(set(found.at))
    world.sample(COARSE_KEPT + 100, every_s=300.0)
    assert len(world.series._coarse) == COARSE_KEPT


def test_of_many_nodes_only_some_are_kept_one_by_one() -> None:
    world = World([replace(NODE, id=f"{number:032x}", name=f"n{number}") for number in range(NODES_MAX + 10)])
    world.sample()
    found = world.series.since(0)
    assert len(found.nodes) == NODES_MAX
    assert found.used == ((NODES_MAX + 10) * 10,)


def test_a_node_that_comes_later_was_not_known_before() -> None:
    world = World()
    world.sample()
    world.nodes = [NODE, replace(NODE, id="1" * 32, name="pi-2")]
    world.sample()
    world.nodes = [replace(NODE, state="left"), replace(NODE, id="1" * 32, name="pi-2")]
    world.sample()
    rows = {row.node: row.used for row in world.series.since(0).nodes}
    assert rows == {"pi-1": (10, 10, None), "pi-2": (None, 10, 10)}


def test_nobody_answering_and_a_bug_leave_it_running() -> None:
    world = World(error=Unreachable("nobody"))
    world.sample()
    assert world.series.since(0).used == (0,)
    world.error = ZeroDivisionError("a bug")
    rounds = 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        world.error = None
        world.at += 10
        if rounds == 3:
            raise asyncio.CancelledError

    async def main() -> None:
        await asyncio.gather(world.series.run(sleep), return_exceptions=True)

    asyncio.run(main())
    assert (rounds, len(world.series.since(0).at)) == (3, 3)
