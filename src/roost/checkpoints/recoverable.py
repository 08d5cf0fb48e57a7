"""Which removed versions can still be brought back, as the nodes know it: by their running time, by no wall clock."""

import asyncio
from collections.abc import Collection

from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.collect import Removal
from roost.checkpoints.peers import Peers
from roost.codec.records import Tombstone, decode_record, record_id
from roost.core.errors import RoostError
from roost.core.ids import NodeId, RecordId
from roost.wire.fields import IDS_MAX, join_ids
from roost.wire.messages import Ages, GetAges

ANSWER_LIMIT_S = 5.0


async def can_come_back(peers: Peers, catalogue: Catalogue, nodes: Collection[NodeId]) -> frozenset[RecordId]:
    """The manifests that were removed, and of which the time is not over that they are kept for. Of what `nodes` say of
    a tombstone's age the largest counts, as it does among them; who does not answer makes nothing older."""
    tombstones: dict[RecordId, Tombstone] = {}
    for data in await catalogue.of_kind(Tombstone):
        tombstone = await peers.runtime.in_thread(decode_record, data)
        assert isinstance(tombstone, Tombstone)
        tombstones[record_id(data)] = tombstone
    ids = sorted(record for record, tombstone in tombstones.items() if tombstone.keep_s)
    ages: dict[RecordId, int] = dict.fromkeys(tombstones, 0)

    async def ask(node: NodeId) -> None:
        for begin in range(0, len(ids), IDS_MAX):
            some = ids[begin : begin + IDS_MAX]
            try:
                async with peers.runtime.timeout(ANSWER_LIMIT_S):
                    answer = await peers.links.call(node, GetAges(join_ids(some)))
            except (RoostError, TimeoutError):
                return
            if isinstance(answer, Ages) and len(answer.seconds) == len(some):
                ages.update({i: max(ages[i], age_s) for i, age_s in zip(some, answer.seconds, strict=True)})

    async with asyncio.TaskGroup() as group:
        for node in sorted(nodes):
            group.create_task(ask(node))
    left: dict[RecordId, Removal] = {}
    for record, tombstone in tombstones.items():
        removal, manifest = Removal.of(age_s=ages[record], keep_s=tombstone.keep_s), RecordId(tombstone.manifest)
        left[manifest] = min(left.get(manifest, removal), removal)
    return frozenset(manifest for manifest, removal in left.items() if removal.left_s > 0)
