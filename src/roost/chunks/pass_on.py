"""Putting our own objects on another node: how copies are made without the sender, and how repair makes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from roost.chunks.disk import DiskChunkStore, Moved
from roost.chunks.store import CopyState
from roost.core.errors import Damaged, DiskFault, Failed, NotFound, RoostError
from roost.core.ids import NodeId, ObjectId
from roost.net.body import Body
from roost.net.links import Links
from roost.wire.messages import Put

PASS_ON_MAX = 3
"""Objects on their way to one target at the same time: one bulk link to it stays free for other work."""


@dataclass(slots=True)
class _Target:
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PASS_ON_MAX))
    users: int = 0


class PassOn:
    """Streams objects from our disk to other nodes, a few at a time to each."""

    def __init__(self, store: DiskChunkStore, links: Links) -> None:
        self._store = store
        self._links = links
        self._targets: dict[NodeId, _Target] = {}

    async def pass_on(self, ids: Sequence[ObjectId], to: NodeId, *, moved: Moved) -> list[str]:
        """Put each object on the node `to`, one after the other; `moved` is told of bytes as they go out. Per id, in
        order: the empty string when it is durable there, or the code of what went wrong: ``not-found`` and
        ``integrity`` mean that our own copy is missing or bad, all else that the target did not take it. When the
        target cannot be reached the rest is not tried."""
        problems: list[str] = []
        for object_id in ids:
            try:
                await self.one(object_id, to, moved=moved)
                problems.append("")
            except RoostError as error:
                problems.append(error.code)
                if error.retry:
                    return problems + [error.code] * (len(ids) - len(problems))
            moved(1)
        return problems

    async def one(self, object_id: ObjectId, to: NodeId, *, moved: Moved) -> None:
        """Put one object on the node `to`. NotFound or Damaged: our copy is missing, bad (and in quarantine), or not to
        be read. Failed: it is good, and yet arrived damaged. Else what `Links.call` and the target raise."""
        async with self._place(to):
            try:
                body = await self._store.open_body(object_id)
            except DiskFault as error:
                raise _Unreadable(f"our copy cannot be read: {error.message}", hint=error.hint) from error
            try:
                await self._links.call(to, Put(object_id, body.length), body=_watched(body, moved), bulk=True)
            except (_Unreadable, _Vanished):
                raise
            except NotFound as error:
                raise DiskFault(f"node {to[:8]} has no place for it: {error.message}", hint=error.hint) from error
            except Damaged as error:
                await self._blame(object_id, to, error)

    async def _blame(self, object_id: ObjectId, to: NodeId, error: Damaged) -> None:
        """Find out whose fault a damaged arrival is: ours when our copy, read again, is not good."""
        try:
            [state] = await self._store.verify([object_id])
        except DiskFault as fault:
            raise _Unreadable(f"our copy cannot be read: {fault.message}", hint=fault.hint) from error
        if state is not CopyState.GOOD:
            raise Damaged(f"our copy of object {object_id.hex()} is damaged", hint=error.hint) from error
        raise Failed(
            f"object {object_id.hex()} is good here and arrived damaged at node {to[:8]}",
            hint="the memory of one of the two machines may be failing",
        ) from error

    @contextlib.asynccontextmanager
    async def _place(self, to: NodeId) -> AsyncIterator[None]:
        target = self._targets.setdefault(to, _Target())
        target.users += 1
        try:
            async with target.places:
                yield
        finally:
            target.users -= 1
            if not target.users:
                del self._targets[to]


class _Unreadable(Damaged):
    """Our own disk does not give our copy out: not the target's fault, whatever its disk may say in the same words."""


class _Vanished(NotFound):
    """Our own copy was gone when it was to be sent: not the target's fault either."""


def _watched(body: Body, moved: Moved) -> Body:
    """The same body, telling of each slice when the next one is asked for. `_Unreadable` when our disk fails,
    `_Vanished` when our copy is gone."""

    async def slices() -> AsyncIterator[memoryview]:
        async for piece in body.slices:
            yield piece
            moved(len(piece))

    @contextlib.asynccontextmanager
    async def held() -> AsyncIterator[None]:
        try:
            async with body.opened():
                yield
        except NotFound as error:
            raise _Vanished(error.message, hint=error.hint) from error
        except DiskFault as error:
            raise _Unreadable(f"our copy cannot be read: {error.message}", hint=error.hint) from error

    return Body(body.length, slices(), held())
