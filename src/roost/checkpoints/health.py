"""Health is what the nodes' answers say of a version now: how many machines hold each object, and how well.

Only answers count. A member that does not answer keeps nothing as far as health is concerned; but a checkpoint is
called *lost* only when every member answered, and *unknown* when those that did not may hold what is missing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.chunks.store import CopyState
from roost.codec.manifest import WALL_SECONDS_MAX, Manifest
from roost.core.checkpoint import Health, Redundancy, health_of
from roost.core.cluster import View
from roost.core.errors import RoostError
from roost.core.ids import NodeId, ObjectId

DEEP_BATCH = 64


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of one version. `copies` is the fewest over its objects (of the members that answered); `damaged`
    are copies that a deep look found bad or could not read; `verified` tells of each copy when its node last knew it to
    be good, having written it or read it back (Unix seconds), if that was asked."""

    health: Health
    copies: int
    holders: Mapping[ObjectId, frozenset[NodeId]]
    damaged: tuple[tuple[ObjectId, NodeId], ...] = ()
    deep: bool = False
    verified: Mapping[ObjectId, Mapping[NodeId, int]] = field(default_factory=dict)

    @property
    def verified_at(self) -> int | None:
        """Since when nothing of this version is older than its last verification: the oldest of the times of all
        copies; None when it was not asked, or there are none."""
        return min((at for times in self.verified.values() for at in times.values()), default=None)


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
    peers: Peers, survey: Survey, manifest: Manifest, progress: Progress, *, deep: bool = False, times: bool = False
) -> Findings:
    """Ask all reached nodes for all objects of `manifest`; with `deep` they read each back and hash it; with `times`
    (and with `deep`) they tell when each copy was last verified."""
    objects = manifest.objects()
    holders, problems = await ask_all_have(peers, sorted(survey.reached), objects)
    damaged: list[tuple[ObjectId, NodeId]] = []
    if deep:
        sizes = manifest.object_bytes()
        progress.bytes_total += sum(sizes[i] * len(nodes) for i, nodes in holders.items())
        progress.enter("the nodes read their copies back")
        await _read_back(peers, survey, holders, problems, damaged, sizes, progress)
    verified = await _ask_verified(peers, holders, problems) if deep or times else {}
    for node, error in problems.items():
        progress.note(f"{survey.name(node)} did not answer: {error.message}")
    known = {i: frozenset(nodes) for i, nodes in holders.items()}
    health, copies = assess(
        objects, known, survey.view, Redundancy.parse(manifest.redundancy),
        complete=not problems and not survey.problems,
    )  # fmt: skip
    return Findings(health, copies, known, tuple(sorted(damaged)), deep, verified)


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

    async with asyncio.TaskGroup() as group:
        for node, ids in _by_node(holders):
            group.create_task(one(node, ids))


async def _ask_verified(
    peers: Peers, holders: dict[ObjectId, set[NodeId]], problems: dict[NodeId, RoostError]
) -> dict[ObjectId, dict[NodeId, int]]:
    """When each copy was last verified, asked from its holder. Who does not answer, or has it no more, holds it no
    more as far as is known here."""
    verified: dict[ObjectId, dict[NodeId, int]] = {object_id: {} for object_id in holders}

    async def one(node: NodeId, ids: list[ObjectId]) -> None:
        try:
            times = await peers.store(node).verified(ids)
        except RoostError as error:
            problems[node] = error
            times = [0] * len(ids)
        for object_id, at in zip(ids, times, strict=True):
            if at:
                verified[object_id][node] = min(at, WALL_SECONDS_MAX)  # a node's clock may be anywhere
            else:
                holders[object_id].discard(node)

    async with asyncio.TaskGroup() as group:
        for node, ids in _by_node(holders):
            group.create_task(one(node, ids))
    return verified


def _by_node(holders: Mapping[ObjectId, set[NodeId]]) -> list[tuple[NodeId, list[ObjectId]]]:
    """Per holder what it holds, sorted by the holder."""
    by_node: dict[NodeId, list[ObjectId]] = {}
    for object_id, nodes in holders.items():
        for node in nodes:
            by_node.setdefault(node, []).append(object_id)
    return sorted(by_node.items())
