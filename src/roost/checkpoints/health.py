"""Health is what the nodes' answers say of a version now: how many machines hold each object, and how well.

Only answers count. A member that does not answer keeps nothing as far as health is concerned; but a checkpoint is
called *lost* only when every member answered, and *unknown* when those that did not may hold what is missing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.chunks.store import CopyState
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Health, Redundancy, health_of
from roost.core.cluster import View
from roost.core.errors import RoostError
from roost.core.ids import NodeId, ObjectId

DEEP_BATCH = 64


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of one version. `copies` is the fewest over its objects (of the members that answered);
    `damaged` and `unread` are copies that a deep look found bad or could not read."""

    health: Health
    copies: int
    holders: Mapping[ObjectId, frozenset[NodeId]]
    damaged: tuple[tuple[ObjectId, NodeId], ...] = ()
    deep: bool = False


def assess(
    objects: Sequence[ObjectId], holders: Mapping[ObjectId, frozenset[NodeId]], view: View, redundancy: Redundancy, *,
    complete: bool,
) -> tuple[Health, int]:  # fmt: skip
    """The health that `holders` make, and the fewest machines that hold any object. A version without objects is as
    healthy as its record."""
    copies = min(
        (len({view.domain_of(node) for node in holders.get(i, ())}) for i in objects), default=redundancy.copies
    )
    health = health_of(copies, redundancy)
    if health is Health.LOST and not complete:
        health = Health.UNKNOWN
    return health, copies


async def examine(
    peers: Peers, survey: Survey, manifest: Manifest, progress: Progress, *, deep: bool = False
) -> Findings:
    """Ask all reached nodes for all objects of `manifest`; with `deep` they read each back and hash it."""
    objects = manifest.objects()
    holders, problems = await ask_all_have(peers, sorted(survey.reached), objects)
    damaged: list[tuple[ObjectId, NodeId]] = []
    if deep:
        sizes = manifest.object_bytes()
        progress.bytes_total += sum(sizes[i] * len(nodes) for i, nodes in holders.items())
        progress.enter("the nodes read their copies back")
        await _read_back(peers, survey, holders, problems, damaged, sizes, progress)
    for node, error in problems.items():
        progress.note(f"{survey.name(node)} did not answer: {error.message}")
    known = {i: frozenset(nodes) for i, nodes in holders.items()}
    health, copies = assess(
        objects, known, survey.view, Redundancy.parse(manifest.redundancy),
        complete=not problems and not survey.problems,
    )  # fmt: skip
    return Findings(health, copies, known, tuple(sorted(damaged)), deep)


async def _read_back(
    peers: Peers, survey: Survey, holders: dict[ObjectId, set[NodeId]], problems: dict[NodeId, RoostError],
    damaged: list[tuple[ObjectId, NodeId]], sizes: Mapping[ObjectId, int], progress: Progress,
) -> None:  # fmt: skip
    async def one(node: NodeId, ids: list[ObjectId]) -> None:
        for begin in range(0, len(ids), DEEP_BATCH):
            batch = ids[begin : begin + DEEP_BATCH]
            progress.begin_wait(survey.name(node))
            try:
                states = await peers.store(node).verify(batch)
            except RoostError as error:
                problems[node] = error
                for object_id in ids[begin:]:
                    holders[object_id].discard(node)
                return
            finally:
                progress.end_wait(survey.name(node))
            for object_id, state in zip(batch, states, strict=True):
                if state is not CopyState.GOOD:
                    holders[object_id].discard(node)
                if state is CopyState.DAMAGED:
                    damaged.append((object_id, node))
            progress.advance(sum(sizes[i] for i in batch))

    by_node: dict[NodeId, list[ObjectId]] = {}
    for object_id, nodes in holders.items():
        for node in nodes:
            by_node.setdefault(node, []).append(object_id)
    async with asyncio.TaskGroup() as group:
        for node, ids in sorted(by_node.items()):
            group.create_task(one(node, ids))
