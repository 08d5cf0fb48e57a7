"""How much each node has to do for one operation and how fast it has been, and so who would be done first.

Placement knows nothing of a slow cable or card; an operation learns of it as it goes. A node's rate is what it has been
given, finished or not, over the time in which it had something to do: of one that has finished nothing yet, the most
that it can have. So a slow node is known for slow while its first transfers are still under way.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import TypeVar

from roost.core.ids import NodeId

T = TypeVar("T")

SLOWER = 2.0
SLACK_S = 2.0
"""A node keeps its turn while it would take at most SLOWER times as long as the fastest, and SLACK_S more: chance puts
several objects on one node at a time, and where an object should be is worth some waiting."""
FASTEST = 1e9
"""Bytes a second that no node exceeds: so, when nothing is known yet, who has less to do is done first."""
EACH_BYTES = 1024 * 1024
"""What a transfer costs beside its bytes, in bytes: of one small object nobody learns how fast a node is."""
PATIENCE_S = 8.0
"""How often an operation looks whether somebody else would be done sooner than whoever has a transfer. A node that is
silent is known for it by then."""
MEMORY_S = 20.0
"""Busy seconds after which what a node did before counts half: it may have recovered."""


@dataclass(slots=True)
class _Load:
    """Bytes that a node works on, by how many transfers; what it finished, in how many seconds with something to do."""

    bytes: int = 0
    transfers: int = 0
    done: float = 0.0
    busy_s: float = 0.0
    since: float = 0.0


_UNKNOWN = _Load()


class Loads:
    """One operation's nodes. `now` is the runtime's clock, in seconds."""

    def __init__(self) -> None:
        self._loads: dict[NodeId, _Load] = {}

    def begin(self, node: NodeId, size: int, *, now: float) -> None:
        """A transfer of `size` bytes to or from `node` begins; each ends with one `end`."""
        load = self._loads.setdefault(node, _Load())
        if not load.transfers:
            load.since = now
        load.bytes += size + EACH_BYTES
        load.transfers += 1

    def end(self, node: NodeId, size: int, *, now: float, moved: bool) -> None:
        """The transfer ended; `moved` tells whether the bytes went."""
        load = self._loads[node]
        load.busy_s += now - load.since
        load.since = now
        load.bytes -= size + EACH_BYTES
        load.transfers -= 1
        load.done += size + EACH_BYTES if moved else 0
        if load.busy_s > MEMORY_S:
            load.busy_s /= 2
            load.done /= 2

    def expected_s(self, node: NodeId, size: int, *, now: float) -> float:
        """In how many seconds `node` would be done with `size` bytes more."""
        load = self._loads.get(node, _UNKNOWN)
        busy_s = load.busy_s + (now - load.since if load.transfers else 0.0)
        given = load.done + load.bytes
        return (load.bytes + size + EACH_BYTES) * max(busy_s / given if given else 0.0, 1 / FASTEST)

    def best_first(self, nodes: Iterable[NodeId], size: int, *, now: float) -> list[NodeId]:
        """`nodes` in the order they come in, but those that would take much longer than the fastest at the end, the
        least slow of them first."""
        expected = {node: self.expected_s(node, size, now=now) for node in nodes}
        limit = SLOWER * min(expected.values(), default=0.0) + SLACK_S
        in_time = [node for node, seconds in expected.items() if seconds <= limit]
        return in_time + sorted(expected.keys() - in_time, key=lambda node: (expected[node], node))

    def overtaken(self, node: NodeId, others: Iterable[NodeId], size: int, *, now: float) -> bool:
        """Whether one of `others` would be done with `size` bytes long before `node` is with what it has."""
        best = min((self.expected_s(other, size, now=now) for other in others), default=None)
        return best is not None and SLOWER * best + SLACK_S < self.expected_s(node, 0, now=now)


async def unless_overtaken(transfer: Coroutine[object, object, T], overtaken: Callable[[], bool]) -> T | None:
    """What `transfer` returns; None when, after a while, `overtaken` says that it should be made elsewhere: then it was
    cancelled, and has ended. Raises what it raises."""
    task = asyncio.get_running_loop().create_task(transfer)
    try:
        while True:
            done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
            if done:
                return task.result()
            if overtaken():
                return None
    finally:
        await _end(task)


async def _end(task: "asyncio.Task[T]") -> None:
    """Cancel a task and return when it has ended, for it may use its caller's buffers until then; a cancellation
    meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # how it ended when nobody wanted it any more is no news
    if cancelled is not None:
        raise cancelled
