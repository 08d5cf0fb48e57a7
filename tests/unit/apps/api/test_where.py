"""The map of a version's copies: a strip a node, small however many chunks there are."""

from msgspec.structs import replace

from cli_stand_in import SHOWN
from roost.apps.api.where import copy_map
from roost.client import ChunkRow, Shown


def shown(*holders: tuple[str, ...]) -> Shown:
    """A version with a chunk of 10 bytes for each tuple of holders."""
    chunks = tuple(
        ChunkRow(f"{index:064x}", 10, nodes, dict.fromkeys(nodes, f"2025-01-0{1 + index % 9}T00:00:00Z"))
        for index, nodes in enumerate(holders)
    )
    return replace(SHOWN, chunks=chunks)


def test_each_node_has_a_strip_of_what_it_has() -> None:
    drawn = copy_map(shown(("a", "b"), ("a",), (), ("b",)))
    assert (drawn.chunks, drawn.files, drawn.fewest, drawn.nowhere) == (4, 1, (2, 1, 0, 1), 1)
    a, b = drawn.nodes
    assert (a.node, a.chunks, a.bytes, a.parts) == ("a", 2, 20, (100, 100, 0, 0))
    assert (b.parts, b.verified_at) == ((100, 0, 0, 100), "2025-01-01T00:00:00Z")


def test_many_chunks_are_drawn_as_few_parts() -> None:
    drawn = copy_map(shown(*[("a",) if index % 4 else () for index in range(1000)]), parts_max=10)
    assert drawn.nodes[0].parts == (75,) * 10
    assert drawn.fewest == (0,) * 10
    assert drawn.nowhere == 250


def test_an_empty_version_has_no_parts() -> None:
    drawn = copy_map(shown())
    assert (drawn.chunks, drawn.fewest, drawn.nodes) == (0, (), ())
