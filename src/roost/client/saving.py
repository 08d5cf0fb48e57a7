"""What encoding and sharing chunks saved of one version."""

from collections.abc import Iterable
from typing import NamedTuple

from roost.codec.manifest import Manifest
from roost.core.ids import ObjectId


class Saving(NamedTuple):
    """Bytes of one copy of a version: `distinct` of its chunks that differ, before they were encoded; `encoded` of
    their objects at rest; `shared` of those objects that other versions name too."""

    distinct: int
    encoded: int
    shared: int


def saving_of(manifest: Manifest, relatives: Iterable[Manifest]) -> Saving:
    """What was saved of `manifest`. Of `relatives`, what it probably shares chunks with, it may be one itself."""
    sizes = manifest.object_bytes()
    lengths: dict[bytes, int] = {}
    for index, length in enumerate(manifest.chunks.lengths):
        lengths.setdefault(manifest.chunks.id_of(index), length)
    shared: set[ObjectId] = set()
    for other in relatives:
        if (other.name, other.seq, other.tree) != (manifest.name, manifest.seq, manifest.tree):
            shared.update(object_id for object_id in other.objects() if object_id in sizes)
    return Saving(sum(lengths.values()), sum(sizes.values()), sum(sizes[object_id] for object_id in shared))
