"""Delivery brings objects onto as many machines as they need: uploaded once, passed on by the nodes, topped up where
something failed on the way.

Everything here is progress only; what counts is what the nodes answer to the commit.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from roost.checkpoints.load import Loads, unless_overtaken
from roost.checkpoints.peers import Peers
from roost.checkpoints.placement import Chooser
from roost.checkpoints.progress import Progress
from roost.core.errors import BY_CODE, Damaged, DiskFault, NoSpace, NotFound, RoostError, Unreachable, first_of
from roost.core.ids import NodeId, ObjectId
from roost.net.body import Body
from roost.wire.messages import Ping

PASSING_MAX = 16
TOP_UP_AT_ONCE = 4
SUSPICION_S = 2.0
REVIVALS_MAX = 3
REVIVAL_S = 5.0
OBJECT_BYTES = 4 * 1024 * 1024
"""What an object of unknown size is taken for."""

Pieces = Sequence[memoryview | bytes]
Remake = Callable[[ObjectId], AbstractAsyncContextManager[Pieces | None]]
"""Gives the bytes of an object once more, or None when they cannot be had."""


class Nowhere(RoostError):
    """No node is left that takes a copy of something; `room.why_nowhere` says why."""

    def __init__(self) -> None:
        super().__init__("no node is left that takes a copy")


class SentInVain(RoostError):
    """All bytes of an object went to a node that then failed, and they are at hand no more: to be made again."""

    def __init__(self) -> None:
        super().__init__("a node failed after it was sent an object")


@asynccontextmanager
async def from_holders_only(object_id: ObjectId) -> AsyncIterator[Pieces | None]:
    """The `Remake` of an operation that has no bytes of its own."""
    yield None


async def ask_all_have(
    peers: Peers, nodes: Sequence[NodeId], ids: Sequence[ObjectId], *, reserve: bool = False
) -> tuple[dict[ObjectId, set[NodeId]], dict[NodeId, RoostError]]:
    """Who of `nodes` has which of `ids`, asked of all at once; and who did not answer, and why."""
    holders: dict[ObjectId, set[NodeId]] = {i: set() for i in ids}
    problems: dict[NodeId, RoostError] = {}

    async def one(node: NodeId) -> None:
        try:
            found = await peers.store(node).have(ids, reserve=reserve)
        except RoostError as error:
            problems[node] = error
            return
        for i, present in zip(ids, found, strict=True):
            if present:
                holders[i].add(node)

    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(one(node))
    return holders, problems


class _Out:
    """An object's pieces on their way out. Once all are, `sent` is told, if anybody wants it, and they are gone."""

    def __init__(self, sent: Callable[[], None] | None) -> None:
        self._sent = sent
        self._gone = False

    def body(self, pieces: Pieces) -> Body:
        """The pieces as a body to send."""
        body = Body.of(*pieces)
        return body if self._sent is None else Body(body.length, self._slices(body), self._held())

    async def _slices(self, body: Body) -> AsyncIterator[memoryview]:
        async for view in body.slices:
            yield view
        self._gone = True  # the next one was asked for: the last is out

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        yield
        if self._gone and self._sent is not None:
            self._sent()

    def require_pieces(self) -> None:
        """SentInVain when they are gone."""
        if self._gone:
            raise SentInVain


@dataclass(slots=True)
class Delivery:
    """One operation's objects on their way. `holders` is who is believed to have what."""

    peers: Peers
    chooser: Chooser
    wanted: int
    progress: Progress
    holders: dict[ObjectId, set[NodeId]] = field(default_factory=dict)
    bytes_sent: int = 0
    _loads: Loads = field(default_factory=Loads)
    _sizes: dict[ObjectId, int] = field(default_factory=dict)
    _sourceless: set[tuple[ObjectId, NodeId]] = field(default_factory=set)
    """Who passed an object on in vain, or has no good copy of it: it is not asked again, whatever it says of new puts;
    what is still short then we send ourselves, and so see whose fault it is."""
    _passing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PASSING_MAX))
    _silent: set[NodeId] = field(default_factory=set)
    """Who was passed over because it could not be reached."""
    _reviving: asyncio.Lock = field(default_factory=asyncio.Lock)
    _revivals: int = 0

    def of(self, object_id: ObjectId) -> set[NodeId]:
        """The live holders of an object, as far as is known."""
        known = self.holders.setdefault(object_id, set())
        return {node for node in known if self.chooser.alive(node)}

    def lost(self, object_id: ObjectId, node: NodeId) -> None:
        """`node` turned out not to have the object. Whoever said that it does, or passed it on there, is not asked to
        pass it on again."""
        self._sourceless |= {(object_id, holder) for holder in self.holders[object_id]}
        self.holders[object_id].discard(node)

    def copies(self, object_id: ObjectId) -> int:
        return self.chooser.distinct(self.of(object_id))

    def _keeping(self, object_id: ObjectId) -> set[NodeId]:
        return self.chooser.keeping(self.of(object_id))

    def _next_target(self, object_id: ObjectId, but: set[NodeId]) -> NodeId | None:
        held = self.of(object_id)
        candidates = [node for node in self.chooser.candidates(object_id, held) if node not in but]
        if candidates:
            now = self.peers.runtime.now()
            return self._loads.best_first(candidates, self._sizes.get(object_id, OBJECT_BYTES), now=now)[0]
        if len(self._keeping(object_id)) < self.wanted:
            return next((node for node in self.chooser.spare(object_id, held) if node not in but), None)
        return None

    async def upload(
        self, object_id: ObjectId, pieces: Pieces, *, sent: Callable[[], None] | None = None
    ) -> NodeId | None:
        """Put the object on the next node of its line that takes it, and return that node; None when none does.

        On return the pieces may be reused; with `sent` as soon as that is called: the last byte is out, and only the
        node's word is missing, which has a disk to wait for. SentInVain when it then fails. A node that fails or is
        full is passed over from then on.
        """
        length = self._sizes[object_id] = sum(len(piece) for piece in pieces)
        out = _Out(sent)
        slow: set[NodeId] = set()
        while True:
            node = self._next_target(object_id, slow)
            if node is None:
                if slow:
                    slow.clear()
                    continue
                if await self._revive():
                    continue
                return None
            try:
                with self._busy(node, object_id):
                    putting = self.peers.store(node).put(object_id, out.body(pieces))
                    new = await unless_overtaken(putting, self._overtaken(node, object_id, slow))
            except RoostError as error:
                self._blame(node, error)
                out.require_pieces()
                continue
            if new is None:
                out.require_pieces()
                slow.add(node)
                continue
            if new:
                self.bytes_sent += length
                self.progress.bytes_moved += length
            self.holders.setdefault(object_id, set()).add(node)
            return node

    async def spread(self, object_id: ObjectId) -> bool:
        """Have holders pass the object on until it has enough copies; False when it is still short, because no holder
        could reach a node that may take it."""
        tried: set[tuple[NodeId, NodeId]] = set()
        async with self._passing:
            while self.copies(object_id) < self.wanted and len(self._keeping(object_id)) < self.wanted:
                pair = self._next_pair(object_id, tried)
                if pair is None:
                    return False
                tried.add(pair)
                await self._pass_on(object_id, *pair)
        return self.copies(object_id) >= self.wanted

    def _next_pair(self, object_id: ObjectId, tried: set[tuple[NodeId, NodeId]]) -> tuple[NodeId, NodeId] | None:
        held = sorted(self.of(object_id))
        unreached: set[NodeId] = set()
        while True:
            target = self._next_target(object_id, unreached)
            if target is None:
                return None
            for holder in reversed(held):
                if (holder, target) not in tried and (object_id, holder) not in self._sourceless:
                    return holder, target
            unreached.add(target)

    async def _pass_on(self, object_id: ObjectId, holder: NodeId, target: NodeId) -> None:
        name = self.name(target)
        try:
            with self._busy(target, object_id):
                passing = self.peers.pass_on(object_id, holder=holder, target=target)
                problem = await unless_overtaken(passing, self._overtaken(target, object_id, set()))
        except RoostError as error:
            self._blame(holder, error)
            return
        if problem is None:
            return  # another takes its place
        if not problem:
            self.holders[object_id].add(target)
        elif problem in (NotFound.code, Damaged.code):
            self.holders[object_id].discard(holder)
            self._sourceless.add((object_id, holder))
        elif problem == NoSpace.code:
            self._blame(target, NoSpace(f"{name} is full"))
        elif BY_CODE.get(problem) is Unreachable:
            await self._suspect(target)
        elif problem == DiskFault.code:
            self._blame(target, DiskFault(f"the disk of {name} fails"))
        else:
            self._sourceless.add((object_id, holder))

    def _overtaken(self, node: NodeId, object_id: ObjectId, but: set[NodeId]) -> Callable[[], bool]:
        """Asks whether one of the nodes that could take the object in the place of `node` would be done long before
        it."""

        def overtaken() -> bool:
            held = self.of(object_id) - {node}
            others = [other for other in self.chooser.candidates(object_id, held) if other != node and other not in but]
            size = self._sizes.get(object_id, OBJECT_BYTES)
            slow = self._loads.overtaken(node, others, size, now=self.peers.runtime.now())
            if slow:
                self.progress.note(f"{self.name(node)} is slow: others take what it should have had")
            return slow

        return overtaken

    @contextmanager
    def _busy(self, node: NodeId, object_id: ObjectId) -> Iterator[None]:
        """An object is on its way to `node`: told to who looks on, and counted for the choice of the next."""
        runtime, name, size = self.peers.runtime, self.name(node), self._sizes.get(object_id, OBJECT_BYTES)
        moved = False
        self.progress.begin_wait(name)
        self._loads.begin(node, size, now=runtime.now())
        try:
            yield
            moved = True
        finally:
            self._loads.end(node, size, now=runtime.now(), moved=moved)
            self.progress.end_wait(name)

    async def _suspect(self, node: NodeId) -> None:
        """Another node could not reach `node`: if we cannot either, it is passed over."""
        try:
            async with self.peers.runtime.timeout(SUSPICION_S):
                await self.peers.links.call(node, Ping())
        except TimeoutError:
            self._blame(node, Unreachable(f"{self.name(node)} did not answer within {SUSPICION_S:.0f} s"))
        except RoostError as error:
            self._blame(node, error)

    async def top_up(self, object_ids: Sequence[ObjectId], remake: Remake) -> list[ObjectId]:
        """Bring every object up to the copies wanted, by holders or from its source again; returns those that stay
        short because no node is left to take a copy. Raises what `remake` raises.

        A node that is passed over meanwhile may be one whose copies were counted already: then all are looked at again.
        """
        while True:
            failed = len(self.chooser.failed)
            short = await self._top_up_once(object_ids, remake)
            if len(self.chooser.failed) == failed and not (short and await self._revive()):
                return short

    async def _top_up_once(self, object_ids: Sequence[ObjectId], remake: Remake) -> list[ObjectId]:
        short: list[ObjectId] = []
        todo = iter(object_ids)

        async def work() -> None:
            for object_id in todo:
                if self.copies(object_id) >= self.wanted or await self._complete(object_id, remake):
                    continue
                short.append(object_id)

        broken: RoostError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(TOP_UP_AT_ONCE):
                    group.create_task(work())
        except* RoostError as errors:
            broken = first_of(errors)
        if broken is not None:
            raise broken
        return short

    async def _complete(self, object_id: ObjectId, remake: Remake) -> bool:
        while self.copies(object_id) < self.wanted:
            if self.of(object_id) and await self.spread(object_id):
                return True
            if self._next_target(object_id, set()) is None:
                return False
            async with remake(object_id) as pieces:
                if pieces is None or await self.upload(object_id, pieces) is None:
                    return False
        return True

    async def _revive(self) -> bool:
        """Ask those that were silent once more, now that nobody else is left: it may have been our own network that was
        gone for a moment, or is another than before. Whether one of them answers, and is chosen again; an operation
        asks three times and no more."""
        before, turn = self._silent & self.chooser.failed.keys(), self._revivals
        async with self._reviving:
            if self._revivals != turn or before - self.chooser.failed.keys():  # somebody has asked meanwhile, for all
                return bool(before - self.chooser.failed.keys())
            back: list[NodeId] = []
            while before and not back and self._revivals < REVIVALS_MAX:
                self._revivals += 1
                answers = await self.peers.links.reach(before, within_s=REVIVAL_S)
                back = sorted(node for node, error in answers.items() if error is None)
            for node in back:
                del self.chooser.failed[node]
                self.progress.note(f"{self.name(node)} answers again")
            return bool(back)

    def name(self, node: NodeId) -> str:
        """The node's name for people."""
        member = self.chooser.view.member(node)
        return member.name if member else node[:8]

    def _blame(self, node: NodeId, error: RoostError) -> None:
        if isinstance(error, NoSpace):
            self.chooser.full.add(node)
            self.progress.note(f"{self.name(node)} is full: {error.message}")
        else:
            if isinstance(error, Unreachable):
                self._silent.add(node)
            self.chooser.fail(node, error.message)
            self.progress.note(f"{self.name(node)} is passed over: {error.message}")
