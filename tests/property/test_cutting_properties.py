"""Whatever a folder holds: its chunks partition its stream, and each can be had from the files again."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from checkpoint_kits import KIB, MIB, Tree, noise, safetensors, text, write_tree
from roost.checkpoints.cutting import Cutter, reread
from roost.checkpoints.holding import Holding
from roost.checkpoints.scan import scan
from roost.testing.disk import MemoryDisk

SIZES = st.one_of(st.integers(0, 3000), st.integers(60 * KIB, 70 * KIB), st.integers(MIB - 2, MIB + 2))
PLAIN = st.builds(lambda make, size, seed: make(size, seed), st.sampled_from([noise, text]), SIZES, st.integers(0, 3))
TENSORS = st.builds(
    lambda sizes: safetensors({f"t{n}": noise(2 * size, n) for n, size in enumerate(sizes)}),
    st.lists(st.integers(0, 40 * KIB), max_size=4),
)
TREES = st.lists(st.one_of(PLAIN, TENSORS), max_size=6)


@given(TREES, st.sampled_from([4 * KIB, 64 * KIB, MIB, 8 * MIB]))
def test_the_chunks_partition_the_stream_and_reread_gives_each_back(files: list[bytes], chunk_max: int) -> None:
    disk = MemoryDisk()
    tree: Tree = {f"f{n}": data for n, data in enumerate(files)}
    write_tree(disk, "top", tree)
    found = scan(disk, "top")
    cutter = Cutter(Holding(disk, found), found, chunk_max=chunk_max)
    buffer = memoryview(bytearray(8 * MIB))
    stream = b"".join(files)
    offset = 0
    while cuts := cutter.next_window(buffer):
        for cut in cuts:
            plain = bytes(cut.plain)
            assert 1 <= len(plain) <= chunk_max
            assert stream[offset : offset + len(plain)] == plain
            again = bytearray(len(plain))
            reread(Holding(disk, found), found, offset, memoryview(again))
            assert again == plain
            offset += len(plain)
    assert offset == len(stream)
    assert [e.sha256 for e in cutter.entries] == [hashlib.sha256(data).digest() for data in files]
