"""Where the copies of a version are, small enough to draw: a strip for each node instead of a row for each chunk."""

from collections.abc import Sequence

import msgspec

from roost.client import Shown

PARTS_MAX = 64


class Strip(msgspec.Struct, frozen=True):
    """What one node has of a version: chunks, their bytes at rest, when it last knew the oldest of them to be good, and
    of each of the equal parts of the version how many percent of its chunks."""

    node: str
    chunks: int
    bytes: int
    verified_at: str | None
    parts: tuple[int, ...]


class CopyMap(msgspec.Struct, frozen=True):
    """All strips by name. `chunks` are all there are; `fewest` tells of each part how many copies its least-kept chunk
    has; `nowhere` counts the chunks that no node has."""

    chunks: int
    files: int
    fewest: tuple[int, ...]
    nowhere: int
    nodes: tuple[Strip, ...]


def copy_map(shown: Shown, *, parts_max: int = PARTS_MAX) -> CopyMap:
    """The map of a version in `parts_max` parts, or one a chunk where they are fewer."""
    count = len(shown.chunks)
    parts = min(count, parts_max)
    cuts = [range(count * number // parts, count * (number + 1) // parts) for number in range(parts)]
    names = sorted({node for chunk in shown.chunks for node in chunk.nodes})
    return CopyMap(
        chunks=count,
        files=len(shown.files),
        fewest=tuple(min(len(shown.chunks[index].nodes) for index in cut) for cut in cuts),
        nowhere=sum(1 for chunk in shown.chunks if not chunk.nodes),
        nodes=tuple(_strip(shown, name, cuts) for name in names),
    )


def _strip(shown: Shown, node: str, cuts: Sequence[range]) -> Strip:
    held = [node in chunk.nodes for chunk in shown.chunks]
    times = [chunk.verified_at[node] for chunk in shown.chunks if node in chunk.verified_at]
    return Strip(
        node=node,
        chunks=sum(held),
        bytes=sum(chunk.bytes for chunk, here in zip(shown.chunks, held, strict=True) if here),
        verified_at=min(times, default=None),
        parts=tuple(round(100 * sum(held[cut.start : cut.stop]) / len(cut)) for cut in cuts),
    )
