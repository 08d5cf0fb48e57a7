"""Draining empties a node: what it keeps is copied to others, and when everything is, it leaves.

The steward copies; here it is decided whether the node may leave, by asking everybody now: all that it holds and
something names that is live, or was removed and can be brought back, must be on as many machines as asked among those
that stay, are well, and have all records.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.inventory import Inventory
from roost.checkpoints.peers import Peers
from roost.checkpoints.recoverable import can_come_back
from roost.checkpoints.repair import Ground
from roost.cluster.exchange import Exchanged, exchange
from roost.codec.records import Standing, decode_record, encode_record
from roost.core.errors import RoostError
from roost.core.ids import NodeId

EXCHANGE_LIMIT_S = 60.0
SILENT = "it does not answer"
UNREADABLE = "not all records of what is stored can be read now"
TOO_FEW = "too few other machines answer and are well"
LACKING = "not everything on it is kept by enough others yet"
STAYS = "it is not being drained any more"


@dataclass(frozen=True, slots=True)
class Emptying:
    """How far a node that is being drained is: `objects` are on it that are needed, `left` of them, of
    `bytes_left` in all, are not kept by enough others; `why` it cannot leave now, empty when it has left."""

    node: NodeId
    objects: int
    left: int
    bytes_left: int
    why: str


async def set_standing(records: Catalogue, node: NodeId, state: str, *, at: int) -> None:
    """Write down how `node` stands from now on."""
    known = [decode_record(data) for data in await records.of_kind(Standing)]
    seq = max((record.seq for record in known if isinstance(record, Standing) and record.node_id == node), default=0)
    await records.add(encode_record(Standing(node_id=node, seq=seq + 1, state=state, at=at)))


async def exchange_all(peers: Peers, nodes: Collection[NodeId]) -> frozenset[NodeId]:
    """Exchange records with `nodes`; those that have all of ours then. A node that lacks a manifest must not be given
    its objects: nothing would name them there."""
    return (await _meet_all(peers, nodes)).ready


@dataclass(frozen=True, slots=True)
class _Met:
    """Who has all of our records now; and whether any of those who were met has one that could not be had, but such as
    this release does not know."""

    ready: frozenset[NodeId]
    lacking: bool


async def _meet_all(peers: Peers, nodes: Collection[NodeId]) -> _Met:
    async def one(node: NodeId) -> Exchanged | None:
        try:
            async with peers.runtime.timeout(EXCHANGE_LIMIT_S):
                return await exchange(peers.links, node, peers.records)
        except (RoostError, TimeoutError):
            return None

    async with asyncio.TaskGroup() as group:
        tasks = {node: group.create_task(one(node)) for node in sorted(nodes)}
    met = {node: moved for node, task in tasks.items() if (moved := task.result()) is not None}
    ready = frozenset(node for node, moved in met.items() if not moved.unsent)
    return _Met(ready, any(moved.lacking > moved.unsupported for moved in met.values()))


async def try_to_leave(
    peers: Peers, catalogue: Catalogue, inventory: Inventory, node: NodeId, *, reached: Collection[NodeId],
    ground: Ground,
) -> str:  # fmt: skip
    """Let `node`, which is draining, leave if nothing is lost by that; else why not, in words.

    Its own records come first, so that what was stored on it this moment is known: once it has heard that it is being
    drained it commits to nothing, so all that it ever will is there to be had in a second exchange. Then everybody who
    stays learns them. The copies that stay are reserved while they are counted.
    """
    for _ in range(2):
        own = await _meet_all(peers, [node])
        if node not in own.ready:
            return SILENT
    met = await _meet_all(peers, ground.able & set(reached))
    keepers = met.ready
    removed = await can_come_back(peers, catalogue, reached)
    await inventory.refresh(peers.view(), removed=removed)
    if own.lacking or met.lacking or inventory.unreadable:
        return UNREADABLE
    most = max((version.redundancy.copies for version in inventory.versions), default=0)
    if len(ground.machines(keepers)) < most:
        return TOO_FEW
    if why := await _all_kept(peers, inventory, node, keepers, ground):
        return why
    member = peers.view().member(node)
    if member is None or not member.draining:
        return STAYS
    await set_standing(catalogue, node, "left", at=int(peers.runtime.wall()))
    await exchange_all(peers, keepers)
    await exchange_all(peers, [node])
    return ""


async def _all_kept(
    peers: Peers, inventory: Inventory, node: NodeId, keepers: Collection[NodeId], ground: Ground
) -> str:
    for part in inventory.slices():
        wanted = inventory.wanted(part)
        held, problems = await ask_all_have(peers, [node], sorted(wanted))
        if problems:
            return SILENT
        ids = [object_id for object_id, nodes in held.items() if nodes]
        kept, _ = await ask_all_have(peers, sorted(keepers), ids, reserve=True)
        if any(len(ground.machines(kept[i])) < wanted[i].need.copies for i in ids):
            return LACKING
    return ""
