"""Remove: a tombstone takes a version off every list. Its chunks stay until collection, which is not built yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.peers import Peers, Survey
from roost.codec.manifest import Manifest
from roost.codec.records import Tombstone, encode_record
from roost.core.errors import RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.body import Body
from roost.wire.messages import PutRecord


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

    Raises Unreachable when no node took the tombstones; this machine keeps them all the same, and its next exchange
    with any node tells them.
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
    for node in sorted(survey.reached):
        try:
            for data in tombstones:
                await peers.links.call(node, PutRecord(len(data)), body=Body.of(data), bulk=True)
        except RoostError:
            continue
        took.append(node)
    if not took:
        raise Unreachable(
            "no node took the removal yet",
            hint="it is kept on this machine: the next command that reaches a node hands it on (roost ls, for one)",
        )
    return Removed(tuple(v for v, _ in versions), tuple(took), len(took) == len(survey.view.storage))
