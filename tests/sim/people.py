"""People with machines of their own, who do things to the cluster, whose processes can die at any await of that, and
whose disks can be full or fail."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from roost.client.session import Session
from roost.core.errors import NoSpace, RoostError
from roost.security.identity import Identity
from roost.testing.cluster import BLOCK_BYTES
from roost.testing.disk import MemoryDisk, Operation
from roost.testing.process import SimProcess
from sim.identities import member
from sim.ledger import Violation
from sim.world import World

T = TypeVar("T")

OPERATION_LIMIT_S = 60.0
"""No operation on so little data takes longer, whatever happens meanwhile."""
QUICK_LIMIT_S = 40.0
"""Nor longer than this where nodes are frozen, cut off or dead, but none is slow."""
SLOW = frozenset(("slow disk", "slow line", "late"))
MORTAL = 0.15
"""So many of the operations in which a process may die get a step at which it does; many of those end before it."""
STEPS_MAX = 3000
"""How far away that step is at most: what a store takes is some thousand, and what it waits for is among the first."""
CLOSE_LIMIT_S = 5.0
TASKS_LEFT_S = 5.0

Work = Callable[[Session, SimProcess], Awaitable[T]]


class Person:
    """A machine with a home and a disk for sources and targets, over all the processes that run there. `felt` are the
    faults of that disk that it came to feel since it `ails`."""

    def __init__(self, number: int) -> None:
        self.name = f"client-{number}"
        self.identity: Identity = member(15 - number, machine=100 + number)
        self.address = f"10.0.2.{1 + number}"
        self.home = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.files = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.running: tuple[SimProcess, Session] | None = None
        self.felt: set[str] = set()
        self.made = 0

    def ail(self, chance: random.Random) -> None:
        """Let the disk for targets get full, or fail from some change on."""
        self.felt.clear()
        self.files.on_fault = self.felt.add
        if chance.random() < 0.5:
            space = self.files.space()
            self.files.bytes_max = space.total - space.free + chance.randrange(300_000)
        else:
            self._fail_after(chance.choice((1, 10, 100)) + chance.randrange(10))
        self.felt.clear()

    def _fail_after(self, changes: int) -> None:
        files, end = self.files, self.files.operations + changes

        def change(operation: Operation) -> None:
            if files.operations >= end:
                files.failing.add("")

        files.on_change = change

    def heal(self) -> None:
        """End that."""
        self.files.bytes_max, self.files.on_change = None, None
        self.files.failing.clear()

    def fresh(self, word: str) -> str:
        """A name that is not on its disk yet."""
        self.made += 1
        return f"{word}-{self.made}"


class Office:
    """Where people do things: runs their work in their processes, lets them die of it now and then, and watches that it
    ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("office")

    async def operate(
        self, person: Person, what: str, work: Work[T], *, mortal: bool = True, limit_s: float = OPERATION_LIMIT_S
    ) -> T | RoostError | None:
        """Run `work` in a process of `person`, which may die meanwhile unless it is not `mortal`; its result, its
        error, or None when the process died."""
        world = self._world
        began = world.loop.time()
        process, session = await self._process_of(person)
        steps = self._steps_to_live() if mortal else None
        strike = process.before_step(steps, partial(self._die, person, process, what)) if steps else None
        task = process.spawn(_begun(work, session, process), name=what)
        await asyncio.wait([task], timeout=limit_s)
        took = world.loop.time() - began
        if strike is not None:
            strike.call_off()
        if not task.done():
            process.die()
            await asyncio.wait([task], timeout=1.0)
            raise Violation(f"{what} is not done after {limit_s:.0f} s")
        if process.dead:
            return None
        world.longest_s = max(world.longest_s, took)
        if took > QUICK_LIMIT_S and limit_s == OPERATION_LIMIT_S and not world.happened & SLOW:
            raise Violation(f"{what} took {took:.0f} s, and nothing was slow")
        error = task.exception()
        if isinstance(error, RoostError):
            world.tell(f"{what}: {error!r} after {took:.2f} s")
            return error
        result = task.result()
        world.tell(f"{what}: done after {took:.2f} s")
        return result

    def allow(self, what: str, deed: str, error: RoostError, *kinds: type[RoostError]) -> None:
        """Violation unless it failed as it may: as nothing does while nothing went wrong."""
        world = self._world
        world.covered.add(f"{deed}: {type(error).__name__}")
        if isinstance(error, NoSpace):
            allowed = NoSpace in kinds and "full" in world.happened
        else:
            allowed = isinstance(error, kinds) and world.troubled
        if not allowed:
            raise Violation(f"{what}: {error!r} after {sorted(world.happened)}")

    def _steps_to_live(self) -> int | None:
        """After how many steps the process dies, more often early than late; None: not of this."""
        return round(STEPS_MAX ** self._chance.random()) if self._chance.random() < MORTAL else None

    def _die(self, person: Person, process: SimProcess, what: str) -> None:
        """The process dies, of kill -9 or because its machine loses its power."""
        killed = self._chance.random() < 0.3
        self._world.tell(f"{person.name} {'is killed' if killed else 'loses its power'} during {what}")
        self._world.covered.add("client died")
        process.die(silent=False if killed else None)
        for disk in ("home", "files"):
            left: MemoryDisk = getattr(person, disk)
            setattr(person, disk, left.kill() if killed else left.crash(self._chance))

    async def _process_of(self, person: Person) -> tuple[SimProcess, Session]:
        """The person's process, which goes on from one thing to the next, or a new one, which knows nothing but what
        its home remembers."""
        if person.running is not None and (person.running[0].dead or self._chance.random() < 0.25):
            await self.leave(person)
        if person.running is None:
            cluster = self._world.cluster
            person.running = await cluster.client(person.name, person.identity, person.address, person.home)
            process, session = person.running
            self._world.echo.wrap(session.links, process)
        return person.running

    async def leave(self, person: Person) -> None:
        """End the person's process as a program ends; nothing of it may stay behind."""
        if person.running is None:
            return
        process, session = person.running
        person.running = None
        self._world.echo.end(process)
        if process.dead:
            return
        closing = process.spawn(session.close(), name=f"{person.name} ends")
        await asyncio.wait([closing], timeout=CLOSE_LIMIT_S)
        if not closing.done():
            raise Violation(f"{person.name} cannot end: closing its session takes more than {CLOSE_LIMIT_S:.0f} s")
        if not await self._world.cluster.until(lambda: process.tasks == 0, within_s=TASKS_LEFT_S):
            raise Violation(f"{person.name} has ended and left {process.tasks} tasks: {process.task_names()}")
        process.die(silent=False)
        person.home = person.home.kill()


async def _begun(work: Work[T], session: Session, process: SimProcess) -> T:
    """The work, which is not begun before its task takes its first step: the process may die right before that."""
    return await work(session, process)
