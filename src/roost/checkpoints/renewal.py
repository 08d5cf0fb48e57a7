"""Renewal: while an operation runs, what it counts on stays reserved on the nodes, however long it takes.

A node keeps what was put or asked for an hour of its running time although nothing names it; the version that is being
made does so only at its commit.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from roost.checkpoints.delivery import Delivery
from roost.core.errors import RoostError
from roost.core.ids import NodeId, ObjectId

RENEW_EVERY_S = 20 * 60.0
"""A third of the hour: two renewals in a row may fail."""


@contextlib.asynccontextmanager
async def renewing(delivery: Delivery, *, every_s: float = RENEW_EVERY_S) -> AsyncIterator[None]:
    """Until the block ends, renew every `every_s` of running time what `delivery` believes to be on the nodes."""
    task = asyncio.create_task(_keep_renewing(delivery, every_s))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # it ends by itself only by a bug of ours, which is told


async def _keep_renewing(delivery: Delivery, every_s: float) -> None:
    while True:
        await delivery.peers.runtime.sleep(every_s)
        await renew(delivery)


async def renew(delivery: Delivery) -> dict[NodeId, RoostError]:
    """Reserve all objects on their holders anew, each holder asked in batches. What a holder says it has no more is
    held by it no more; who did not answer is returned, with why."""
    problems: dict[NodeId, RoostError] = {}
    by_node: dict[NodeId, list[ObjectId]] = {}
    for object_id in list(delivery.holders):
        for node in delivery.of(object_id):
            by_node.setdefault(node, []).append(object_id)

    async def one(node: NodeId, ids: list[ObjectId]) -> None:
        try:
            here = await delivery.peers.store(node).have(ids, reserve=True)
        except RoostError as error:
            problems[node] = error
            return
        for object_id, present in zip(ids, here, strict=True):
            if not present:
                delivery.holders[object_id].discard(node)

    async with asyncio.TaskGroup() as group:
        for node, ids in sorted(by_node.items()):
            group.create_task(one(node, ids))
    return problems
