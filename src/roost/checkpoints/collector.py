"""The collector of one node: frees what nothing needs any more, every hour and on request, and says what has to wait.

`collect` decides; here the facts are gathered and the decision is carried out, so that

* every member that is alive has exchanged its records with us first, and nothing is amiss with ours;
* each object is checked again and removed under the guard that `have`, `put` and `commit` take, in small batches;
* a manifest that arrives meanwhile protects what it names from the moment at which it is kept (`learn`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from roost.checkpoints.ages import Ages
from roost.checkpoints.collect import Blockers, Periods, Plan, Removal, Unneeded, in_words, plan, why_it_waits
from roost.checkpoints.collect_requests import Begun, CollectRequests, patience
from roost.checkpoints.references import References
from roost.checkpoints.surplus import REMOVED_AT_ONCE, Dropper, keep_handler
from roost.chunks.disk import DiskChunkStore
from roost.cluster.exchange import exchange
from roost.cluster.records import DiskRecords
from roost.codec.manifest import Manifest
from roost.codec.records import Record
from roost.core.cluster import View
from roost.core.errors import ProtocolError, RoostError
from roost.core.ids import NodeId, ObjectId, RecordId
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.net.links import Links
from roost.net.server import Call, Handlers, Reply
from roost.wire.fields import IDS_MAX, join_ids, split_ids
from roost.wire.messages import Ages as AgesAnswer
from roost.wire.messages import Collect, Collected, GetAges, Keep

MET_AT_ONCE = 8
MEETING_LIMIT_S = 60.0
AGES_A_TICK = 25_000
"""With more ages than these, some 1 MiB, they are saved with each pass only."""
JITTER = 0.1
SETTLE_S = 10.0
WAITING_TOLD = 16
TEXT_MAX = 1024

Alive = Callable[[], Awaitable[Collection[NodeId]]]
"""Tells the members that are alive, at least those that serve; whether or not this node is among them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass came to: what was planned and has to wait, and what went (of a dry run: would go)."""

    plan: Plan
    objects: int
    bytes: int


def _not_awaited() -> None:
    """Nobody asked for this pass."""


class Collector:
    """The collector of node `own`. `learn` must hear of every record that is kept, and `load` comes before all else.
    `trouble` says why this node's copies should not be relied on."""

    def __init__(
        self, runtime: Runtime, disk: Disk, store: DiskChunkStore, records: DiskRecords, links: Links, *, own: NodeId,
        view: Callable[[], View], alive: Alive, periods: Periods = Periods(),  # noqa: B008  # frozen
        trouble: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._store = store
        self._records = records
        self._links = links
        self._own = own
        self._view = view
        self._alive = alive
        self._periods = periods
        self._trouble = trouble
        self._begun = runtime.now()
        self._turn = asyncio.Lock()
        self._requests = CollectRequests(self._make)
        self._moved = self._requests.moved
        self._disturbed = asyncio.Event()
        self.ages = Ages(disk, runtime, disturbed=self._disturbed.set)
        self._references = References(runtime, records, self.ages)
        self._dropper = Dropper(runtime, store, self._references, links, view, own, self._begun, periods)
        self._status = "has not looked yet"
        self._unsaved = ""

    @property
    def status(self) -> str:
        """How the collection stands, in words."""
        return f"{self._unsaved}{self._status}"[:TEXT_MAX]

    async def load(self) -> None:
        """Remember the ages of former lives, and from now on hear of what is touched."""
        await self.ages.load()
        self._store.touched = self.ages.touch

    def learn(self, record_id: RecordId, record: Record) -> None:
        """A record is here from now on."""
        self._references.learn(record_id, record)

    def handlers(self) -> Handlers:
        """What a node serves with its collector."""
        keep = keep_handler(self._store, self._references, view=self._view, trouble=self._trouble)
        return {Collect: self._collect, Keep: keep, GetAges: self._get_ages}

    async def run(self) -> None:
        """Make a pass every hour and save the ages meanwhile, for ever. A pass that fails is made again soon."""
        due = self._in(self._periods.retry_s)
        while True:
            await self._pause(min(self._periods.save_s, due - self._runtime.now()))
            self._disturbed.clear()
            if self._runtime.now() >= due:
                due = self._in(self._periods.retry_s if await self._fails() else self._periods.every_s)
            elif len(self.ages) <= AGES_A_TICK:
                async with self._turn:
                    await self._save()

    def _in(self, seconds: float) -> float:
        return self._runtime.now() + seconds * (1 - JITTER + 2 * JITTER * self._runtime.random())

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until a little after something was touched that is taken for old on the disk."""
        try:
            async with self._runtime.timeout(max(0.0, seconds)):
                await self._disturbed.wait()
        except TimeoutError:
            return
        await self._runtime.sleep(min(SETTLE_S, self._periods.save_s))

    async def _save(self) -> None:
        """Save the ages; a disk that refuses keeps the old ones, which only delays."""
        try:
            await self.ages.save()
            self._unsaved = ""
        except RoostError as error:
            self._unsaved = f"ages cannot be noted ({error.message}); "

    async def _fails(self) -> bool:
        """Make a pass; whether it was blocked or failed."""
        try:
            return bool((await self.collect()).plan.blocked)
        except RoostError:
            return True

    async def close(self) -> None:
        """End the passes that were asked for; the store and the links are not used any more after this."""
        await self._requests.close()

    # -- a pass ----------------------------------------------------------------------------------------------------

    async def collect(self, *, dry_run: bool = False, begun: Begun = _not_awaited) -> Outcome:
        """Free what may go now; with `dry_run` only say what that would be. `begun` is called when the passes before it
        have ended. DiskFault when this disk does not do what is asked of it; what went until then is gone."""
        async with self._turn:
            begun()
            try:
                outcome = await self._pass(dry_run)
            except RoostError as error:
                if not dry_run:
                    self._status = f"failed: {error.message}"
                raise
            finally:
                self._references.done()
            if not dry_run:
                self._status = in_words(outcome.plan, objects=outcome.objects, freed=outcome.bytes)
                await self._save()
            return outcome

    async def _pass(self, dry_run: bool) -> Outcome:
        alive = sorted(set(await self._alive()) - {self._own})
        blocked = (await self._blockers(alive)).reason
        if blocked:
            return Outcome(Plan((), 0, (), blocked), 0, 0)
        async with patience(self._runtime, self._moved):
            await self._hear_ages(alive)
        try:
            found = await self._references.unneeded(self._store.ids(), self._moved)
        except RoostError as error:
            return Outcome(Plan((), 0, (), Blockers(unread=error.message).reason), 0, 0)
        self.ages.follow(found.keys())
        decided = plan(self._facts(found), up_s=self._up_s, periods=self._periods)
        gone, freed = (len(decided.go), decided.bytes) if dry_run else await self._remove(sorted(decided.go), found)
        dropped = await self._dropper.drop(alive, self._moved, dry_run=dry_run)
        decided = replace(decided, waiting=decided.waiting + dropped.waiting)
        return Outcome(decided, gone + dropped.objects, freed + dropped.bytes)

    @property
    def _up_s(self) -> float:
        return self._runtime.now() - self._begun

    def _facts(self, found: Mapping[ObjectId, Removal | None]) -> Iterator[Unneeded]:
        return (self._fact(object_id, removal) for object_id, removal in found.items())

    def _fact(self, object_id: ObjectId, removal: Removal | None) -> Unneeded:
        return Unneeded(
            object_id, self._store.size_of(object_id) or 0, removal, self.ages.untouched_s(object_id),
            self._store.reserved(object_id),
        )  # fmt: skip

    async def _remove(self, ids: Sequence[ObjectId], found: Mapping[ObjectId, Removal | None]) -> tuple[int, int]:
        """Check again and remove; so many objects and bytes went. Neighbours share a directory, so in their order."""
        gone = freed = 0
        for begin in range(0, len(ids), REMOVED_AT_ONCE):
            async with self._store.guard():
                some = [i for i in ids[begin : begin + REMOVED_AT_ONCE] if self._may_go(i, found[i])]
                freed += await self._store.remove(some)
                gone += sum(self._store.size_of(object_id) is None for object_id in some)
            self._moved(1)
        return gone, freed

    def _may_go(self, object_id: ObjectId, removal: Removal | None) -> bool:
        """Whether what was decided still holds; the guard is held."""
        return self._references.still_unneeded(object_id) and not why_it_waits(
            self._fact(object_id, removal), up_s=self._up_s, periods=self._periods
        )

    # -- what comes before -----------------------------------------------------------------------------------------

    async def _blockers(self, alive: Collection[NodeId]) -> Blockers:
        """Exchange records with all who are alive, and say what speaks against a pass."""
        unmet: dict[str, str] = {}
        lacking: dict[str, int] = {}
        places = asyncio.Semaphore(MET_AT_ONCE)

        async def meet(node: NodeId) -> None:
            name = self._name(node)
            async with places:
                try:
                    async with self._runtime.timeout(MEETING_LIMIT_S):
                        met = await exchange(self._links, node, self._records)
                except TimeoutError:
                    unmet[name] = f"not within {MEETING_LIMIT_S:.0f} s"
                except RoostError as error:
                    unmet[name] = error.message
                else:
                    if met.lacking:
                        lacking[name] = met.lacking

        async with patience(self._runtime, self._moved), asyncio.TaskGroup() as group:
            for node in alive:
                group.create_task(meet(node))
        unread = ""
        try:
            await self._references.load(self._moved)
        except RoostError as error:
            unread = error.message
        known = [member for member in self._view().members if member.node_id != self._own]
        return Blockers(
            store=await self._store.problem(), unread=unread, wanted=len(self._records.wanted),
            unknown=len(self._records.unknown), unmet=unmet, lacking=lacking,
            alone=not known and self._store.objects > 0 and not self._records.ids_of(Manifest),
        )  # fmt: skip

    def _name(self, node: NodeId) -> str:
        member = self._view().member(node)
        return member.name if member else node[:8]

    async def _hear_ages(self, alive: Iterable[NodeId]) -> None:
        """Ask the members for how long they have known the tombstones whose age still matters here."""
        waiting = self._references.undecided()
        for node in alive if waiting else ():
            for begin in range(0, len(waiting), IDS_MAX):
                some = waiting[begin : begin + IDS_MAX]
                try:
                    answer = await self._links.call(node, GetAges(join_ids(some)))
                    if not isinstance(answer, AgesAnswer) or len(answer.seconds) != len(some):
                        raise ProtocolError(f"node {node[:8]} told ages of another number than asked for")
                except RoostError:
                    break  # one that tells no ages makes nothing older
                self.ages.hear_tombstones(some, answer.seconds)

    async def _make(self, dry_run: bool, begun: Begun) -> Outcome:
        return await self.collect(dry_run=dry_run, begun=begun)

    # -- what a node serves ----------------------------------------------------------------------------------------

    async def _collect(self, call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Collect)
        outcome = await self._requests.answer(call, dry_run=request.dry_run)
        waiting = [str(waiting)[:TEXT_MAX] for waiting in outcome.plan.waiting[:WAITING_TOLD]]
        return Reply(Collected(outcome.objects, outcome.bytes, waiting, outcome.plan.blocked[:TEXT_MAX]))

    async def _get_ages(self, call: Call) -> Reply:
        request = call.request
        assert isinstance(request, GetAges)
        return Reply(AgesAnswer([int(self.ages.tombstone_s(RecordId(i))) for i in split_ids(request.ids)]))
