"""Remove: a tombstone takes a version off every list. Its chunks stay until collection, which is not built yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.peers import Peers, Survey
from roost.cluster.exchange import exchange
from roost.codec.manifest import Manifest
from roost.codec.records import Tombstone, encode_record
from roost.core.errors import RoostError, Unreachable
from roost.core.ids import NodeId


@dataclass(frozen=True, slots=True)
class Removed:
    """Who has the tombstones durably; the other members learn them by record exchange."""

    versions: tuple[Listed, ...]
    nodes: tuple[NodeId, ...]
    everywhere: bool


async def remove(
    peers: Peers, catalogue: Catalogue, survey: Survey, versions: Sequence[tuple[Listed, Manifest]]
) -> Removed:
    """Take `versions` off every list. Raises Unreachable, and nothing is removed for good, when no node took the
    tombstones."""
    survey.require_any()
    for listed, manifest in versions:
        tombstone = Tombstone(
            name=manifest.name, manifest=listed.manifest, seq=manifest.seq, at=int(peers.runtime.wall())
        )
        await catalogue.add(encode_record(tombstone))
    took: list[NodeId] = []
    for node in sorted(survey.reached):
        try:
            await exchange(peers.links, node, catalogue)
        except RoostError:
            continue
        took.append(node)
    if not took:
        raise Unreachable("no node took the removal", hint="run the same command again when the nodes are back")
    return Removed(tuple(v for v, _ in versions), tuple(took), len(took) == len(survey.view.storage))
