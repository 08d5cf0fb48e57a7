"""What every operation on checkpoints starts with: who is here, reached at once, and what they know, exchanged."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

from roost.chunks.remote import RemoteChunkStore
from roost.cluster.exchange import exchange
from roost.cluster.records import RecordSet
from roost.core.checkpoint import Redundancy
from roost.core.cluster import View
from roost.core.errors import NotAdmitted, ProtocolError, RoostError, Stalled, Unreachable
from roost.core.ids import NodeId, ObjectId
from roost.core.runtime import Runtime
from roost.net.links import Links
from roost.wire.messages import PassedOn, PassOn

PATIENCE_S = 1.0
LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Survey:
    """Who answered and has exchanged records with us, and why the others did not. `view` is the view afterwards."""

    view: View
    reached: frozenset[NodeId]
    problems: dict[NodeId, RoostError] = field(default_factory=dict)

    def complete(self, losses: int) -> bool:
        """Whether so many members were reached that no committed version can be unknown to all of them."""
        return len(self.reached) >= max(1, len(self.view.storage) - losses)

    def name(self, node: NodeId) -> str:
        """The node's name for people."""
        member = self.view.member(node)
        return member.name if member else node[:8]

    def require_any(self) -> None:
        """Raises NotAdmitted when the members refuse us, Unreachable when none answered."""
        if self.reached:
            return
        for error in self.problems.values():
            if isinstance(error, NotAdmitted):
                raise error
        names = ", ".join(self.name(node) for node in self.problems) or "none is known"
        raise Unreachable(
            f"no node of the cluster can be reached ({names})",
            hint="start them with: roost start  (or: roost join, on their machines)",
        )


@dataclass(frozen=True, slots=True)
class Peers:
    """The cluster as one process sees it, handed to every operation."""

    runtime: Runtime
    links: Links
    view: Callable[[], View]
    records: RecordSet
    remembered: Callable[[], Iterable[NodeId]] = tuple
    """Nodes that answered once: where the record set is lost, they bring it back."""
    seek: Callable[[Collection[NodeId]], Awaitable[None]] | None = None
    """Looks, for a moment, where members are that do not answer where they were."""

    def store(self, node: NodeId) -> RemoteChunkStore:
        """The chunk store of another node."""
        return RemoteChunkStore(self.runtime, self.links, node)

    async def pass_on(self, object_id: ObjectId, *, holder: NodeId, target: NodeId) -> str:
        """Have `holder` put its copy of an object on `target`. The empty string when that is done, else the code of
        the error: *not-found* and *integrity* are of the holder's own copy, all others of the target. Raises what the
        call to the holder raises."""
        answer = await self.links.call(holder, PassOn(object_id, target))
        if not isinstance(answer, PassedOn) or len(answer.problems) != 1:
            raise ProtocolError(f"node {holder[:8]} answered pass-on with nonsense")
        return answer.problems[0]

    async def survey(self, *, enough: Redundancy) -> Survey:
        """Reach all storage members at once and exchange records with each.

        Who is slow gets 1 s of patience, then as much time, 5 s in all, as it takes until all but
        `enough.losses` members have answered: a frozen machine does not hold up the rest. If too few have in the end,
        the others are sought and dialled once more, for they may have moved.
        """
        reached: set[NodeId] = set()
        problems: dict[NodeId, RoostError] = {}
        await self._rounds(enough.losses, reached, problems)
        if self.seek is not None and len(reached) < max(1, len(self.view().storage) - enough.losses):
            silent = {node for node, error in problems.items() if isinstance(error, Unreachable)}
            await self.seek(silent)
            for node in silent:
                del problems[node]
            await self._rounds(enough.losses, reached, problems)
        storage = {m.node_id for m in self.view().storage}
        return Survey(
            self.view(),
            frozenset(reached & storage),
            {node: error for node, error in problems.items() if node in storage or not storage},
        )

    async def _rounds(self, losses: int, reached: set[NodeId], problems: dict[NodeId, RoostError]) -> None:
        while todo := self._dialled() - reached - problems.keys():
            await self._round(todo, losses, reached, problems)

    def _dialled(self) -> set[NodeId]:
        """The storage members, and the remembered nodes of which no record is known (more may be known after them)."""
        view = self.view()
        strangers = {node for node in self.remembered() if view.member(node) is None}
        return {m.node_id for m in view.storage} | strangers

    async def _round(
        self, nodes: set[NodeId], losses: int, reached: set[NodeId], problems: dict[NodeId, RoostError]
    ) -> None:
        tasks = {node: asyncio.create_task(self._meet(node)) for node in sorted(nodes)}
        try:
            await self._wait(tasks, losses)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.wait(tasks.values())
        for node, task in tasks.items():
            error = Stalled(f"node {node[:8]} did not answer in time") if task.cancelled() else task.exception()
            if error is None:
                reached.add(node)
            elif isinstance(error, RoostError):
                problems[node] = error
            else:
                raise error

    async def _meet(self, node: NodeId) -> None:
        await exchange(self.links, node, self.records)

    async def _wait(self, tasks: dict[NodeId, asyncio.Task[None]], losses: int) -> None:
        _, waiting = await asyncio.wait(tasks.values(), timeout=PATIENCE_S)
        deadline = self.runtime.now() + LIMIT_S - PATIENCE_S
        while waiting and self.runtime.now() < deadline:
            met = sum(1 for task in tasks.values() if task.done() and not task.cancelled() and not task.exception())
            if met and met >= len(tasks) - losses:
                return
            _, waiting = await asyncio.wait(
                waiting, timeout=deadline - self.runtime.now(), return_when=asyncio.FIRST_COMPLETED
            )
