"""One run of the simulator: a cluster, what its people do, what befalls it, and at the end what must be true.

Everything is drawn from one seed. The trace of two runs of one seed is the same, to the last step of the loop.
"""

import asyncio
import gc
import hashlib
import random
from dataclasses import dataclass

from roost.testing.cluster import SimNode
from roost.testing.loop import SimulatedLoop, run_simulated
from roost.testing.network import Line
from sim.checkpoints import Maker, Tree
from sim.coordinators import Coordinator
from sim.deeds import Deeds
from sim.ending import Ending
from sim.identities import member
from sim.ledger import Violation
from sim.people import Office, Person
from sim.upkeep import Upkeep
from sim.weather import Weather
from sim.world import World

RUN_LIMIT_S = 6000.0
STEPS_MAX = 1_500_000
FORM_LIMIT_S = 90.0
PEOPLE = 2
ADMIN = 3
NAMES = ("run/step-1", "run/step-2", "other")
KEPT_S = (0, 0, 10, 600)
"""For how long what is removed can be brought back."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: the digest of its trace, its trace, and what it covered."""

    digest: str
    trace: tuple[str, ...]
    covered: frozenset[str]
    longest_s: float
    steps: int
    nothing_listed: bool


class Failure(AssertionError):
    """A run in which a promise was broken; says how to see it again."""


def run(seed: int) -> Outcome:
    """Run the story of `seed`; Failure when a promise is broken in it."""
    state = random.getstate()
    gc.disable()  # thousands of small objects that all die at the end: collected once, after the run
    random.seed(f"{seed} backoff")  # stamina draws the jitter of its retries from here
    worlds: list[World] = []

    async def main() -> Outcome:
        worlds.append(World(seed))
        return await Story(worlds[0]).run()

    try:
        return run_simulated(main(), seconds_max=RUN_LIMIT_S, steps_max=STEPS_MAX)
    except BaseException as error:  # supervised: every way to fail is told with the line that replays it
        trace = worlds[0].trace if worlds else []
        tail = "\n".join(trace[-25:])
        first = _first(error)
        again = f"again: .venv/bin/pytest tests/sim --seed {seed}"
        raise Failure(f"{type(first).__name__}: {first}\n{tail}\n{again}") from first
    finally:
        random.setstate(state)
        gc.enable()


def _first(error: BaseException) -> BaseException:
    """The error itself, or the first that a group holds."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class Story:
    """What happens in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cluster = world.cluster
        self._chance = world.chance("story")
        self._weather = Weather(world)
        self._office = Office(world)
        self._deeds = Deeds(world, self._office)
        self._upkeep = Upkeep(world, self._office)
        self._maker = Maker(world.chance("checkpoints"))
        self._people = [Person(number) for number in range(PEOPLE)]
        self._admin = Person(ADMIN)
        self._coordinators = [Coordinator(world, number) for number in range(world.setting.coordinators)]
        self._joined = 0
        count, wanted = len(world.setting.identities), [str(r) for r in world.setting.redundancies]
        world.tell(f"{count} nodes, redundancy {wanted}, {self._weather.climate}, {world.setting.periods}")

    async def run(self) -> Outcome:
        """The whole story."""
        await self._begin()
        for _ in range(self._chance.choice((2, 3, 4))):
            await self._round()
        await self._weather.clear()
        await Ending(self._world, self._office, self._deeds).run()
        for person in (*self._people, self._admin):
            await self._office.leave(person)
        self._check()
        return self._outcome()

    async def _begin(self) -> None:
        """The cluster forms: all know one node, and learn of the others from it."""
        nodes = self._cluster.nodes
        for node in nodes:
            self._cluster.introduce(node.disk, nodes[:1] if node.number else [])
            self._cluster.start(node)
        if not await self._cluster.until(lambda: all(self._sees_all(n) for n in nodes), within_s=FORM_LIMIT_S):
            raise Violation("the cluster did not form")
        machines: list[Person | Coordinator] = [*self._people, self._admin, *self._coordinators]
        for machine in machines:
            known = self._chance.sample(nodes, self._chance.randrange(1, len(nodes) + 1))
            self._cluster.introduce(machine.home, known)
        for coordinator in self._coordinators:
            coordinator.start()

    def _sees_all(self, node: SimNode) -> bool:
        return node.node is not None and len(node.node.membership.view.storage) == len(self._cluster.nodes)

    async def _round(self) -> None:
        """One or two things that people do at once, and what befalls the cluster meanwhile."""
        self._weather.brew()
        people = self._people if self._chance.random() < 0.4 else self._people[:1]
        same = self._maker.tree()
        hasty = self._world.setting.hasty
        duel = self._past_name() if self._chance.random() < (0.5 if hasty else 0.2) else None
        async with asyncio.TaskGroup() as group:
            if duel is not None:
                group.create_task(self._free(self._people[0], duel))
                group.create_task(self._store_again(self._people[1], duel))
            else:
                for person in people:
                    group.create_task(self._turn(person, same if self._chance.random() < 0.3 else None))
            if self._chance.random() < 0.3:
                group.create_task(self._change_the_cluster())
            if self._coordinators and self._chance.random() < 0.25:
                group.create_task(self._chance.choice(self._coordinators).die_at_a_step(self._chance))
        self._check()
        await asyncio.sleep(self._chance.choice((0.0, 0.5, 5.0, 20.0, 70.0)))

    def _past_name(self) -> str | None:
        """A name under which something was stored."""
        names = sorted({attempt.name for attempt in self._world.ledger.attempts if attempt.claim is not None})
        return self._chance.choice(names) if names else None

    async def _turn(self, person: Person, tree: Tree | None) -> None:
        name = self._chance.choice(NAMES)
        past = list(self._world.ledger.trees_of(name))
        drawn = self._chance.random()
        if past and drawn < 0.25:
            await self._deeds.gather(person, name)
        elif past and drawn < 0.45:
            await self._take_away(person, name)
        elif past and drawn < 0.5:
            await self._upkeep.repair(person)
        elif past and drawn < 0.6:
            await self._upkeep.scatter(person, name)
            await self._upkeep.collect(person)
        else:
            await self._keep(person, name, tree or self._draw_tree(past))

    def _draw_tree(self, past: list[Tree]) -> Tree:
        """A new tree, the next step of an old one, or an old one."""
        drawn = self._chance.random()
        if past and drawn < 0.2:
            return past[-1]
        return self._maker.next_step(past[-1]) if past and drawn < 0.7 else self._maker.tree()

    async def _keep(self, person: Person, name: str, tree: Tree) -> None:
        """Store, and store again should we die of it, perhaps, and perhaps gather."""
        redundancy = self._chance.choice(self._world.setting.redundancies)
        ended = await self._deeds.store(person, name, tree, redundancy)
        if not ended and self._chance.random() < 0.7:
            self._world.covered.add("stored again after a crash")
            await self._deeds.store(person, name, tree, redundancy)
        if self._chance.random() < 0.5:
            await self._deeds.gather(person, name)

    async def _take_away(self, person: Person, name: str) -> None:
        """Remove, and perhaps think better of it."""
        await self._deeds.remove(person, name, keep_s=self._chance.choice(KEPT_S))
        if self._chance.random() < 0.4:
            await asyncio.sleep(self._chance.choice((0.0, 2.0, 30.0)))
            await self._deeds.undelete(person, name)
        if self._chance.random() < 0.4:
            await self._upkeep.collect(person)

    async def _free(self, person: Person, name: str) -> None:
        """Remove, and collect again and again, while somebody else stores the same content."""
        await self._deeds.remove(person, name, keep_s=0)
        for _ in range(self._chance.choice((1, 3, 8))):
            await self._upkeep.collect(person)
            await asyncio.sleep(self._chance.choice((0.0, 0.3, 3.0)))

    async def _store_again(self, person: Person, name: str) -> None:
        """Store what is being removed, or the step after it, perhaps under another name, and often so slowly that what
        is counted on is not reserved any more at the commit."""
        past = list(self._world.ledger.trees_of(name))
        if self._chance.random() < 0.7:
            self._slow_down(person)
        await asyncio.sleep(10 ** self._chance.uniform(-2, 0.5))
        tree = past[-1] if self._chance.random() < 0.4 else self._maker.next_step(past[-1])
        redundancy = self._chance.choice(self._world.setting.redundancies)
        await self._deeds.store(person, self._chance.choice(NAMES), tree, redundancy)

    def _slow_down(self, person: Person) -> None:
        """Put a person on a slow line, for good."""
        delay_s = self._chance.choice((0.1, 0.4))
        line = Line((0.01, delay_s), self._chance.choice((25_000, 100_000)), cause="slow line")
        self._world.tell(f"{person.name} is on a slow line")
        for node in self._cluster.nodes:
            self._cluster.world.set_line_by_name(person.name, node.name, line)

    async def _change_the_cluster(self) -> None:
        """A machine joins, or one is drained."""
        drawn = self._chance.random()
        if drawn < 0.5:
            await self._join()
        elif not self._world.setting.shared and not self._world.draining:
            await self._upkeep.drain(self._admin, self._chance.choice(self._world.surviving()))

    async def _join(self) -> None:
        """Another node is there from now on, on a machine of its own unless all are on one."""
        number = len(self._cluster.nodes)
        single = len({node.identity.machine for node in self._cluster.nodes}) == 1
        node = self._cluster.add(member(number, machine=0 if single else 50 + number))
        self._world.tell(f"{node.name} joins")
        self._world.covered.add("joined")
        known = [other for other in self._world.surviving() if other is not node]
        self._cluster.introduce(node.disk, self._chance.sample(known, min(2, len(known))))
        self._cluster.start(node)

    def _check(self) -> None:
        self._world.check()
        for node in self._cluster.nodes:
            if node.left and node.number not in self._world.draining:
                raise Violation(f"{node.name} ended although nobody drained it: {node.problem!r}")

    def _outcome(self) -> Outcome:
        loop, world = self._world.loop, self._world
        assert isinstance(loop, SimulatedLoop)
        digest = hashlib.sha256("\n".join([*world.trace, str(loop.steps)]).encode())
        for node in self._cluster.nodes:
            for path, data in sorted(node.disk.contents().items()):
                digest.update(f"{path}\0".encode() + (data if isinstance(data, bytes) else data.encode()))
        covered = frozenset(world.covered | world.happened)
        return Outcome(
            digest.hexdigest(), tuple(world.trace), covered, world.longest_s, loop.steps, not world.ledger.listed
        )
