"""Content-defined edges at their real sizes."""

import hashlib

import numpy as np
import pytest

from roost.codec.cdc import AVERAGE_BYTES, MAX_BYTES, MIN_BYTES, ContentEdges


def noise(length: int, *, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def edges_of(data: bytes) -> set[bytes]:
    """The chunks of `data`, as a set."""
    chunks, begin = set(), 0
    for length in ContentEdges().feed(memoryview(data), last=True):
        chunks.add(data[begin : begin + length])
        begin += length
    return chunks


def test_chunks_cover_the_data_within_their_limits() -> None:
    lengths = ContentEdges().feed(memoryview(noise(24 * AVERAGE_BYTES)), last=True)
    assert sum(lengths) == 24 * AVERAGE_BYTES
    assert all(MIN_BYTES <= length <= MAX_BYTES for length in lengths[:-1])
    assert 12 <= len(lengths) <= 60


def test_what_has_no_edges_is_cut_at_the_longest() -> None:
    lengths = ContentEdges().feed(memoryview(bytes(2 * MAX_BYTES + 5)), last=True)
    assert lengths == [MAX_BYTES, MAX_BYTES, 5]


def test_bytes_inserted_early_change_few_chunks() -> None:
    data = noise(16 * AVERAGE_BYTES)
    before = edges_of(data)
    after = edges_of(data[:1000] + b"inserted" + data[1000:])
    assert len(after - before) <= 3
    assert len(before & after) >= len(before) - 3


def test_nothing_is_cut_before_its_end_is_certain() -> None:
    edges = ContentEdges()
    assert edges.feed(memoryview(noise(MAX_BYTES - 1)), last=False) == []
    assert edges.feed(memoryview(b""), last=False) == []
    assert edges.feed(memoryview(b""), last=True) == []
    assert edges.feed(memoryview(b"abc"), last=True) == [3]


def test_a_view_of_wider_items_is_cut_by_bytes() -> None:
    data = memoryview(noise(MAX_BYTES)).cast("I")
    lengths = ContentEdges().feed(data, last=True)
    assert sum(lengths) == MAX_BYTES


def test_edges_stay_where_they_are_from_release_to_release() -> None:
    """Edges that moved would not corrupt anything, but would store every unknown file again."""
    data = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(8192))
    lengths = ContentEdges(minimum=4096, average=16_384, maximum=65_536).feed(memoryview(data), last=True)
    assert lengths[:8] == [18588, 10961, 11520, 42548, 20758, 5524, 16046, 11454]
    assert len(lengths) == 19


@pytest.mark.parametrize("sizes", [(63, 1024, 2048), (512, 256, 2048), (64, 1024, 1000), (0, 0, 0), (1024, 4096, 2048)])
def test_sizes_that_cannot_be_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="chunk sizes"):
        ContentEdges(minimum=sizes[0], average=sizes[1], maximum=sizes[2])
