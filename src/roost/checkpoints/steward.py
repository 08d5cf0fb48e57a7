"""The steward looks after what is stored: asks who has what, remembers the health, has copies made where they lack, and
lets nodes leave that were emptied.

It only ever adds copies, and data moves from node to node, so two stewards at once do no harm.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace

from roost.checkpoints.budget import Budget
from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.census import Census, take_census
from roost.checkpoints.drain import LACKING, SILENT, Emptying, try_to_leave
from roost.checkpoints.inventory import Inventory
from roost.checkpoints.memory import Memory
from roost.checkpoints.mending import LOOK_EVERY_S, Mender
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.recoverable import can_come_back
from roost.checkpoints.repair import NO_ROOM, NOBODY, Copy, Ground, Observed, Plan, Work, plan
from roost.core.checkpoint import Health, Redundancy, health_of
from roost.core.cluster import View
from roost.core.errors import RoostError, Stalled
from roost.core.ids import NodeId, RecordId
from roost.wire.messages import Ping, Pong

SETTLE_S = 2.0
"""Between looks at least, so that a burst of changes makes one."""
ALL_EVERY_S = 600.0
"""As long as nothing changes, everything is asked for so often only."""
IDLE_ROUNDS_MAX = 3
"""Rounds of a repair without grace in which nothing could be copied, before it ends."""
ANSWER_LIMIT_S = 5.0
EVERYBODY = Redundancy(data=1, parity=0)
"""A survey that leaves nobody behind before its time is over."""

Mending = Callable[[Progress], AbstractAsyncContextManager[object]]


def unseen(progress: Progress) -> AbstractAsyncContextManager[object]:
    """Nobody follows what is mended."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Mended:
    """What one look did. The copies `made`; `plan` is what is still to do, or waits and why; `short` objects have fewer
    good copies than asked. `emptying` tells of the nodes that are being drained, `left` names those that have left."""

    plan: Plan
    made: tuple[Copy, ...]
    short: int
    notes: tuple[str, ...]
    emptying: tuple[Emptying, ...] = ()
    left: tuple[NodeId, ...] = ()

    @property
    def copies(self) -> int:
        return len(self.made)

    @property
    def bytes(self) -> int:
        return sum(copy.bytes for copy in self.made)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a look at everything depends on: while it stays the same, so does what there is to do."""

    view: View
    reached: frozenset[NodeId]
    troubled: Mapping[NodeId, str]
    damaged: Mapping[NodeId, int]
    manifests: frozenset[RecordId]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen, and what there is to do about it."""

    survey: Survey
    census: Census
    ground: Ground
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Settled:
    """When everything was looked at and nothing was to do, or could be done, and what was known then."""

    at: float
    facts: _Facts
    plan: Plan


@dataclass(slots=True)
class Steward:
    """One steward. `rate` is in bytes a second (0: none), `grace_s` how long a machine that went down is waited for;
    `mending` is entered while copies are made."""

    peers: Peers
    catalogue: Catalogue
    grace_s: float
    rate: int
    told: Callable[[Mended], None] | None = None
    troubled: Callable[[RoostError], None] | None = None
    mending: Mending = unseen
    chunks: Counter[Health] = field(default_factory=Counter)
    """The distinct objects of all live versions by their health, at the last look at everything."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _inventory: Inventory = field(init=False)
    _memory: Memory = field(init=False)
    _mender: Mender = field(init=False)
    _settled: _Settled | None = None
    _looked_at: float = 0.0
    _unnoted: RoostError | None = None

    def __post_init__(self) -> None:
        self._inventory = Inventory(self.catalogue, self.peers.runtime)
        self._memory = Memory(self.grace_s)
        self._mender = Mender(self.peers, self._memory, Budget(self.rate), self._woken)

    def wake(self) -> None:
        """Something changed: look at everything soon."""
        self._woken.set()

    async def run(self) -> None:
        """Look every minute and when woken, for ever. A look that fails is made again by the next. `told` hears of
        looks that did something, and of what cannot be done when that changes; `troubled` of why a look failed, or
        what it found cannot be noted here, once until that is over or another."""
        runtime = self.peers.runtime
        stuck: list[str] = []
        trouble = ""
        while True:
            sparing = not self._woken.is_set()
            self._woken.clear()
            active = False
            try:
                mended = await self.look(Progress(), sparing=sparing)
            except RoostError as error:
                problem: RoostError | None = error
            else:
                problem = self._unnoted
                active = bool(mended.copies or mended.left)
                before, stuck = stuck, sorted({waiting.reason for waiting in mended.plan.stuck})
                if self.told is not None and (active or stuck != before):
                    self.told(mended)
            if problem is not None and problem.message != trouble and self.troubled is not None:
                self.troubled(problem)
            trouble = problem.message if problem is not None else ""
            await runtime.sleep(SETTLE_S)
            if active:
                continue
            try:
                async with runtime.timeout(self._pause_s() - SETTLE_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _pause_s(self) -> float:
        """Until the next look: a minute, or until the grace of a machine that went or came ends, or two nodes between
        which a copy failed may be tried again."""
        now = self.peers.runtime.now()
        waits = [max(0.0, at - now) + SETTLE_S for at in self._memory.changes_at() if at > self._looked_at]
        return min([LOOK_EVERY_S, *waits])

    async def look(
        self, progress: Progress, *, dry_run: bool = False, at_once: bool = False, sparing: bool = False
    ) -> Mended:
        """Look at everything once and repair what is due; with `at_once` without grace and rate, and repeatedly until
        nothing more can be done. With `sparing` not everything is asked for if all was settled lately and nothing has
        changed. Raises Unreachable when no node answers."""
        made: list[Copy] = []
        idle = 0
        while True:
            progress.enter("asking the nodes what they have")
            survey, facts = await self._meet(progress)
            if sparing and (settled := self._still_settled(facts)) is not None:
                return Mended(settled, (), len(settled.short), tuple(progress.notes))
            seen = await self._see(survey, facts, progress, at_once=at_once)
            if dry_run or not seen.plan.copies:
                break
            async with self.mending(progress):
                done = await self._mender.mend(seen.plan, survey, progress, unlimited=at_once)
            made += done
            idle = 0 if done else idle + 1
            if not at_once or idle == IDLE_ROUNDS_MAX:
                seen = _without(seen, done)
                break
        emptying, left = await self._let_leave(seen, dry_run=dry_run)
        left_out = seen.census.left_out
        if left_out:
            progress.note(f"{left_out.total():,} chunks more are seen to after these")
        short = len(seen.plan.short) + left_out[Work.SHORT] + left_out[Work.LEAVING]
        return Mended(seen.plan, tuple(made), short, tuple(progress.notes), emptying, left)

    # -- seeing --------------------------------------------------------------------------------------------------

    async def _meet(self, progress: Progress) -> tuple[Survey, _Facts]:
        """Who is here, how they are, and what is stored. A node that was reached and then does not say how it is counts
        as not reached."""
        survey = await self.peers.survey(enough=EVERYBODY)
        survey.require_any()
        problems, pongs = dict(survey.problems), dict[NodeId, Pong]()

        async def ask(node: NodeId) -> None:
            try:
                async with self.peers.runtime.timeout(ANSWER_LIMIT_S):
                    answer = await self.peers.links.call(node, Ping())
            except TimeoutError:
                problems[node] = Stalled("it did not say how it is")
            except RoostError as error:
                problems[node] = error
            else:
                if isinstance(answer, Pong):
                    pongs[node] = answer

        async with asyncio.TaskGroup() as group:
            for node in sorted(survey.reached):
                group.create_task(ask(node))
        survey = replace(survey, reached=frozenset(pongs), problems=problems)
        for node, error in sorted(survey.problems.items()):
            progress.note(f"{survey.name(node)} does not answer: {error.message}")
        now = self._looked_at = self.peers.runtime.now()
        members = {member.node_id for member in survey.view.storage}
        running_s = {node: pong.running_s for node, pong in pongs.items()}
        self._memory.note_times(survey.problems, running_s, members, now)
        draining = any(member.draining for member in survey.view.storage)
        removed = await can_come_back(self.peers, self.catalogue, pongs) if draining else ()
        await self._inventory.refresh(survey.view, removed=removed)
        if self._inventory.unreadable:
            progress.note(f"the records of {self._inventory.unreadable:,} versions cannot be read here now")
        troubled = {node: pong.trouble for node, pong in pongs.items() if pong.trouble}
        damaged = {node: pong.damaged_total for node, pong in pongs.items()}
        return survey, _Facts(survey.view, survey.reached, troubled, damaged, self._inventory.manifests)

    def _still_settled(self, facts: _Facts) -> Plan | None:
        """The plan of the last look at everything, if there was nothing to do and nothing has changed since."""
        last = self._settled
        if last is None or last.facts != facts or self.peers.runtime.now() - last.at >= ALL_EVERY_S:
            return None
        return last.plan if all(since <= last.at for since in self._memory.back_since.values()) else None

    async def _see(self, survey: Survey, facts: _Facts, progress: Progress, *, at_once: bool) -> _Seen:
        now = self.peers.runtime.now()
        ground = Ground(survey.view, self._observed(now, facts))
        draining = {member.node_id for member in survey.view.storage if member.draining} & survey.reached
        census = await take_census(self.peers, self._inventory, survey.reached, ground, emptying=draining)
        self._memory.note_silent(census.problems, now)
        self._memory.note_away(census.away, now)
        complete = not census.problems and not survey.problems and not self._inventory.unreadable
        self.chunks = Counter({_known(h, complete=complete): count for h, count in census.chunks.items()})
        await self._note_health(census, progress, complete=complete)
        last_holders = self._memory.last_holders(census.needs, now)
        seen = replace(self._observed(now, facts), holders=census.holders, last_holders=last_holders)
        todo = plan(census.needs, seen, survey.view, grace_s=0.0 if at_once else self.grace_s)
        self._settled = _Settled(now, facts, todo) if self._is_settled(census, todo) else None
        return _Seen(survey, census, Ground(survey.view, seen), todo)

    def _observed(self, now: float, facts: _Facts) -> Observed:
        return Observed(
            now, {}, dict(self._memory.down_since), refusing=frozenset(self._memory.full_until),
            troubled=facts.troubled, back_since=dict(self._memory.back_since),
            failed=frozenset(self._memory.failed_until),
        )  # fmt: skip

    def _is_settled(self, census: Census, todo: Plan) -> bool:
        """Whether time alone changes nothing."""
        waits = self._memory.full_until or self._memory.failed_until or self._inventory.unreadable or census.problems
        leaving = any(not held.left for held in census.held.values())
        lasting = all(waiting.reason in (NOBODY, NO_ROOM) for waiting in todo.waiting)
        return lasting and not (todo.copies or todo.withheld or census.left_out or waits or leaving)

    async def _note_health(self, census: Census, progress: Progress, *, complete: bool) -> None:
        """Remember how each version is, for lists. Only a cache: what cannot be noted holds up no repair."""
        self._unnoted = None
        at = int(self.peers.runtime.wall())
        for version in self._inventory.versions:
            health = _known(health_of(census.copies[version.listed.manifest], version.redundancy), complete=complete)
            try:
                await self.catalogue.note_health(version.listed.manifest, health, at=at, verified_at=None)
            except RoostError as error:
                self._unnoted = error
                progress.note(f"this machine cannot note how the checkpoints are: {error.message}")
                return

    # -- leaving -------------------------------------------------------------------------------------------------

    async def _let_leave(self, seen: _Seen, *, dry_run: bool) -> tuple[tuple[Emptying, ...], tuple[NodeId, ...]]:
        """Let those nodes leave that are being drained and of which nothing is needed any more."""
        emptying: list[Emptying] = []
        left: list[NodeId] = []
        for member in seen.survey.view.storage:
            if not member.draining:
                continue
            node, held = member.node_id, seen.census.held.get(member.node_id)
            if held is None:
                emptying.append(Emptying(node, 0, 0, 0, SILENT))
                continue
            why = _why_not(seen, node) if held.left else ""
            if not why and not dry_run:
                why = await try_to_leave(
                    self.peers, self.catalogue, self._inventory, node, reached=seen.survey.reached, ground=seen.ground
                )
                if not why:
                    left.append(node)
            emptying.append(Emptying(node, held.objects, held.left, held.bytes_left, why))
        return tuple(emptying), tuple(left)


def _known(health: Health, *, complete: bool) -> Health:
    """As far as it is known: who did not answer may have what nobody else has."""
    return Health.UNKNOWN if health is Health.LOST and not complete else health


def _why_not(seen: _Seen, node: NodeId) -> str:
    """Why not all that is on `node` is kept by others."""
    reasons = {w.reason for w in seen.plan.waiting if node in seen.census.holders.get(w.object_id, ())}
    return "; ".join(sorted(reasons)) or LACKING


def _without(seen: _Seen, made: Collection[Copy]) -> _Seen:
    """What is left of a plan after some of its copies were made."""
    done = set(made)
    return replace(seen, plan=replace(seen.plan, copies=tuple(copy for copy in seen.plan.copies if copy not in done)))
