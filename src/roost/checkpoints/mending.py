"""Mending makes the copies of a plan, from node to node: a few at once, within the rate, and while the plan is good.

Data never passes through whoever mends.
"""

import asyncio
from dataclasses import dataclass

from roost.checkpoints.budget import Budget
from roost.checkpoints.drain import exchange_all
from roost.checkpoints.memory import Memory
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.repair import Copy, Plan
from roost.core.errors import Damaged, NoSpace, NotFound, RoostError
from roost.core.ids import NodeId

LOOK_EVERY_S = 60.0
"""Between two looks of a steward, and the longest that copies are made by one plan."""
SOON_S = 2.0
"""A wait for the rate that is shorter is made in any case."""
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Mender:
    """Makes copies within `budget`, and remembers in `memory` what went wrong between whom. When `woken` is set the
    plan is out of date."""

    peers: Peers
    memory: Memory
    budget: Budget
    woken: asyncio.Event

    async def mend(self, plan: Plan, survey: Survey, progress: Progress, *, unlimited: bool) -> list[Copy]:
        """Make the copies of the plan in order, a few at once, for a minute at most (or until woken); those made. A
        target first has to hold all manifests, so that what it is given is named there."""
        runtime = self.peers.runtime
        ready = await exchange_all(self.peers, {copy.target for copy in plan.copies})
        for target in sorted({copy.target for copy in plan.copies} - ready):
            progress.note(f"{survey.name(target)} is given nothing: it did not take all records")
        progress.enter("copying from node to node")
        progress.bytes_total = progress.bytes_done + plan.bytes
        end = runtime.now() + LOOK_EVERY_S
        made: list[Copy] = []
        gone: set[NodeId] = set()
        todo = iter(plan.copies)

        async def worker() -> None:
            for copy in todo:
                if copy.target not in ready or copy.target in self.memory.full_until or copy.source in gone:
                    continue
                if (copy.source, copy.target) in self.memory.failed_until:
                    continue
                if not unlimited and not await self._is_paid_for(copy.bytes, end):
                    return
                if await self._copy(survey, copy, gone, progress):
                    made.append(copy)
                if runtime.now() >= end or (self.woken.is_set() and not unlimited):
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
        return made

    async def _is_paid_for(self, count: int, end: float) -> bool:
        """Wait until the rate allows so many bytes; False when that is not before `end`, or somebody woke us: a plan
        gets old."""
        runtime = self.peers.runtime
        now = runtime.now()
        wait_s = self.budget.wait_s(count, now)
        if wait_s <= SOON_S:
            await runtime.sleep(wait_s)
            return True
        try:
            async with runtime.timeout(min(wait_s, max(0.0, end - now))):
                await self.woken.wait()
        except TimeoutError:
            if now + wait_s <= end:
                return True
        self.budget.give_back(count)
        return False

    async def _copy(self, survey: Survey, copy: Copy, gone: set[NodeId], progress: Progress) -> bool:
        """Have one copy made; False when that failed, and then whoever was in the way is left alone for a while. A
        source whose copy turns out not to be good says so when it is asked the next time what it has."""
        source, target = survey.name(copy.source), survey.name(copy.target)
        now = self.peers.runtime.now()
        progress.begin_wait(target)
        try:
            problem = await self.peers.pass_on(copy.object_id, holder=copy.source, target=copy.target)
        except RoostError as error:
            gone.add(copy.source)
            self.memory.note_failure((copy.source, copy.target), now)
            progress.note(f"{source} could not pass on: {error.message}")
            return False
        finally:
            progress.end_wait(target)
        if not problem:
            self.memory.note_copied((copy.source, copy.target))
            progress.advance(copy.bytes)
            return True
        if problem == NoSpace.code:
            self.memory.note_full(copy.target, now)
            progress.note(f"{target} has no room for a chunk of {copy.bytes:,} bytes")
        elif problem in (NotFound.code, Damaged.code):
            progress.note(f"{source} has no good copy of a chunk that it was thought to have")
        else:
            self.memory.note_failure((copy.source, copy.target), now)
            progress.note(f"{target} did not take a chunk from {source} ({problem})")
        return False
