"""A scrub that is asked for: every node reads back all that it holds, slice by slice, at the speed of its disk.

The asker only steers and shows what it waits for; the nodes do the work, all at once, and put what is damaged into
quarantine. A node that fails in the middle is named, and the others go on.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.core.errors import ProtocolError, RoostError
from roost.core.ids import NodeId
from roost.wire.fields import split_ids
from roost.wire.messages import Scrub, Scrubbed

SLICE_S = 2.0
"""How long a node reads before it tells how far it came."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What one node read: so many objects, and so many bytes (of records too); the ids of those that were damaged; and
    why it did not come to the end, if it did not."""

    node: NodeId
    objects: int = 0
    read_bytes: int = 0
    damaged: tuple[bytes, ...] = ()
    problem: RoostError | None = None


async def scrub_now(peers: Peers, survey: Survey, nodes: Sequence[NodeId], progress: Progress) -> list[ReadBack]:
    """Let each of `nodes` read back everything; what each found, in the order of `nodes`. Raises nothing for what a
    node does."""
    progress.enter("asking the nodes what they hold")
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(_expect(peers, node, progress))
    progress.enter("the nodes read back what they hold")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_scrub(peers, survey.name(node), node, progress)) for node in nodes]
    return [task.result() for task in tasks]


async def _expect(peers: Peers, node: NodeId, progress: Progress) -> None:
    try:
        progress.bytes_total += (await peers.store(node).space()).used
    except RoostError:
        return  # it is asked again at once, and what it answers then is told


async def _scrub(peers: Peers, name: str, node: NodeId, progress: Progress) -> ReadBack:
    found = ReadBack(node)
    after = b""
    progress.begin_wait(name)
    try:
        while True:
            told = await _slice(peers, node, after)
            progress.advance(told.bytes)
            found = replace(
                found, objects=found.objects + told.objects, read_bytes=found.read_bytes + told.bytes,
                damaged=found.damaged + tuple(split_ids(told.damaged)),
            )  # fmt: skip
            if not told.reached:
                return found
            after = told.reached
    except RoostError as error:
        return replace(found, problem=error)
    finally:
        progress.end_wait(name)


async def _slice(peers: Peers, node: NodeId, after: bytes) -> Scrubbed:
    told = await peers.links.call(node, Scrub(after, SLICE_S))
    if not isinstance(told, Scrubbed) or (told.reached and told.reached <= after) or len(told.damaged) % 32:
        raise ProtocolError(f"node {node[:8]} answered scrub with nonsense", hint="bring it to this release of roost")
    return told
