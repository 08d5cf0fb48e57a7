"""People with machines of their own, who do things to the cluster, and whose processes can die meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from roost.client.session import Session
from roost.core.errors import RoostError
from roost.security.identity import Identity
from roost.testing.cluster import BLOCK_BYTES
from roost.testing.disk import MemoryDisk
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
CLOSE_LIMIT_S = 5.0
TASKS_LEFT_S = 5.0

Work = Callable[[Session, SimProcess], Awaitable[T]]


class Person:
    """A machine with a home and a disk for sources and targets, over all the processes that run there."""

    def __init__(self, number: int) -> None:
        self.name = f"client-{number}"
        self.identity: Identity = member(15 - number, machine=100 + number)
        self.address = f"10.0.2.{1 + number}"
        self.home = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.files = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.running: tuple[SimProcess, Session] | None = None
        self.made = 0

    def fresh(self, word: str) -> str:
        """A name that is not on its disk yet."""
        self.made += 1
        return f"{word}-{self.made}"


class Office:
    """Where people do things: runs their work in their processes, and watches that it ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("office")

    async def operate(
        self, person: Person, what: str, work: Work[T], *, dies_after_s: float | None = None,
        limit_s: float = OPERATION_LIMIT_S,
    ) -> T | RoostError | None:  # fmt: skip
        """Run `work` in a process of `person`; its result, its error, or None when the process died first."""
        world = self._world
        began = world.loop.time()
        process, session = await self._process_of(person)
        task = process.spawn(_as_task(work(session, process)), name=what)
        await asyncio.wait([task], timeout=limit_s if dies_after_s is None else dies_after_s)
        took = world.loop.time() - began
        if not task.done():
            process.die()
            person.home, person.files = person.home.crash(self._chance), person.files.crash(self._chance)
            await asyncio.wait([task], timeout=1.0)
            if dies_after_s is None:
                raise Violation(f"{what} is not done after {limit_s:.0f} s")
            world.tell(f"{person.name} dies during {what}")
            world.covered.add("client died")
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

    async def _process_of(self, person: Person) -> tuple[SimProcess, Session]:
        """The person's process, which goes on from one thing to the next, or a new one, which knows nothing but what
        its home remembers."""
        if person.running is not None and (person.running[0].dead or self._chance.random() < 0.25):
            await self.leave(person)
        if person.running is None:
            cluster = self._world.cluster
            person.running = await cluster.client(person.name, person.identity, person.address, person.home)
        return person.running

    async def leave(self, person: Person) -> None:
        """End the person's process as a program ends; nothing of it may stay behind."""
        if person.running is None:
            return
        process, session = person.running
        person.running = None
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


def draw_person(chance: random.Random, people: list[Person]) -> list[Person]:
    """One of the people, or now and then all of them."""
    return people if chance.random() < 0.4 else people[:1]


async def _as_task(work: Awaitable[T]) -> T:
    return await work
