"""Remove: a tombstone takes a version off every list. What only removed versions name is freed by the collectors of the
nodes when it cannot be brought back any more; at once when asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.codec.manifest import Manifest
from roost.codec.records import Tombstone, encode_record
from roost.core.errors import NoSpace, ProtocolError, RoostError, Unreachable
from roost.core.ids import NodeId, ObjectId
from roost.net.body import Body
from roost.wire.messages import Collect, Collected, PutRecord

COLLECT_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Removed:
    """Who has the tombstones durably; the other members learn them by record exchange."""

    versions: tuple[Listed, ...]
    nodes: tuple[NodeId, ...]
    everywhere: bool


async def remove(
    peers: Peers, catalogue: Catalogue, survey: Survey, versions: Sequence[tuple[Listed, Manifest]], *, keep_s: int
) -> Removed:
    """Take `versions` off every list; for `keep_s` seconds of the nodes' running time they can be brought back.

    Raises NoSpace when every node was too full to take the tombstones, Unreachable when none took them for whatever
    reason; this machine keeps them all the same, and its next exchange with any node tells them.
    """
    survey.require_any()
    tombstones: list[bytes] = []
    for listed, manifest in versions:
        tombstone = Tombstone(
            name=manifest.name,
            manifest=listed.manifest,
            seq=manifest.seq,
            at=int(peers.runtime.wall()),
            keep_s=keep_s,
        )
        tombstones.append(encode_record(tombstone))
        await catalogue.add(tombstones[-1])
    took: list[NodeId] = []
    full: list[NodeId] = []
    for node in sorted(survey.reached):
        try:
            for data in tombstones:
                await peers.links.call(node, PutRecord(len(data)), body=Body.of(data), bulk=True)
        except NoSpace:
            full.append(node)
        except RoostError:
            continue
        else:
            took.append(node)
    if not took and len(full) == len(survey.reached):
        raise NoSpace(
            f"no node has room to note the removal: the disks of all {len(full)} that answered are full",
            hint="it is kept on this machine: free a few KiB on each of them by hand, and the next command hands it on "
            "(roost rm NAME --now, which also frees the space)",
        )
    if not took:
        raise Unreachable(
            "no node took the removal yet",
            hint="it is kept on this machine: the next command that reaches a node hands it on (roost ls, for one)",
        )
    return Removed(tuple(v for v, _ in versions), tuple(took), len(took) == len(survey.view.storage))


async def collect_everywhere(peers: Peers, survey: Survey, progress: Progress) -> dict[NodeId, Collected | RoostError]:
    """Have all nodes that were reached free what nothing needs any more, at once; what each did, or why it did not."""

    async def one(node: NodeId) -> Collected | RoostError:
        progress.begin_wait(survey.name(node))
        try:
            async with peers.runtime.timeout(COLLECT_LIMIT_S):
                answer = await peers.links.call(node, Collect())
        except TimeoutError:
            return Unreachable(f"it is not done after {COLLECT_LIMIT_S:.0f} s, and goes on by itself")
        except RoostError as error:
            return error
        finally:
            progress.end_wait(survey.name(node))
        return answer if isinstance(answer, Collected) else ProtocolError("it answered with nonsense")

    async with asyncio.TaskGroup() as group:
        tasks = {node: group.create_task(one(node)) for node in sorted(survey.reached)}
    return {node: task.result() for node, task in tasks.items()}


async def named_by_no_other(catalogue: Catalogue, versions: Sequence[Listed], *, wall: float) -> dict[ObjectId, int]:
    """The objects, with their lengths, that are kept for `versions` alone: that no other version names which is live,
    or was removed and can be brought back at `wall` (seconds since 1970). What is over already keeps nothing."""
    chosen = {listed.manifest for listed in versions}
    alone: dict[ObjectId, int] = {}
    for listed in versions:
        if not _is_over(listed, wall):
            alone |= (await catalogue.manifest(listed.manifest)).object_bytes()
    removed = [listed for listed in await catalogue.list(removed=True) if not _is_over(listed, wall)]
    for listed in (*await catalogue.list(), *removed):
        if listed.manifest not in chosen and alone:
            for object_id in (await catalogue.manifest(listed.manifest)).objects():
                alone.pop(object_id, None)
    return alone


def _is_over(listed: Listed, wall: float) -> bool:
    """Whether the version was removed, and the time is over in which it could be brought back."""
    return listed.kept_until is not None and listed.kept_until <= wall
