"""Cutting: the chunks of a checkpoint, where they begin, and files that change while they are read."""

import hashlib
import io
import zipfile
from collections.abc import Iterator

import pytest

from checkpoint_kits import KIB, MIB, Tree, noise, safetensors, text, write_file, write_tree
from roost.checkpoints.cutting import Cutter, reread
from roost.checkpoints.holding import Changed, Holding
from roost.checkpoints.scan import Scan, scan
from roost.codec.manifest import FileEntry
from roost.core.errors import DiskFault, NotFound
from roost.testing.disk import MemoryDisk

BUFFER_BYTES = 8 * MIB


def cutter_of(disk: MemoryDisk, found: Scan, *, chunk_max: int = 8 * MIB) -> Cutter:
    return Cutter(Holding(disk, found), found, chunk_max=chunk_max)


def cut(tree: Tree | bytes, *, chunk_max: int = 8 * MIB) -> tuple[list[tuple[bytes, int]], list[FileEntry]]:
    """(bytes, width) of every chunk, and the entries."""
    disk = MemoryDisk()
    write_tree(disk, "top", tree)
    cutter = cutter_of(disk, scan(disk, "top"), chunk_max=chunk_max)
    return list(chunks_of(cutter)), cutter.entries


def chunks_of(cutter: Cutter) -> Iterator[tuple[bytes, int]]:
    buffer = memoryview(bytearray(BUFFER_BYTES))
    while cuts := cutter.next_window(buffer):
        yield from ((bytes(c.plain), c.width) for c in cuts)


def lengths(tree: Tree | bytes, **how: int) -> list[int]:
    return [len(data) for data, _ in cut(tree, **how)[0]]


def test_the_chunks_are_the_stream_and_the_hashes_those_of_the_files() -> None:
    tree: Tree = {
        "a.bin": noise(9 * MIB, 1), "b.safetensors": safetensors({"w": noise(2 * MIB, 2), "b": noise(10 * KIB, 3)}),
        "c": b"", "d": None, "d/e.json": text(700), "l": "c", "z": noise(MIB - 1, 4),
    }  # fmt: skip
    chunks, entries = cut(tree)
    files = [content for _, content in sorted(tree.items()) if isinstance(content, bytes)]
    assert b"".join(data for data, _ in chunks) == b"".join(files)
    assert [(e.path, e.kind, e.size) for e in entries] == [
        (path, "f", len(c)) if isinstance(c, bytes) else (path, "l" if c else "d", 0)
        for path, c in sorted(tree.items())
    ]
    assert all(
        e.sha256 == (hashlib.sha256(c).digest() if isinstance(c, bytes) else b"")
        for e, (_, c) in zip(entries, sorted(tree.items()), strict=True)
    )


def test_small_files_are_packed_in_order_up_to_4_mib_and_never_with_a_large_one() -> None:
    tree = {f"f{n}": noise(900 * KIB, n) for n in range(6)}
    assert lengths(tree) == [4 * 900 * KIB, 2 * 900 * KIB]
    assert lengths({"a": b"1", "b": safetensors({"w": noise(2 * MIB)}), "c": b"3"})[0] == 1
    assert lengths({"a": b"1", "b": safetensors({"w": noise(2 * MIB)}), "c": b"3"})[-1] == 1
    assert lengths({}) == []
    assert lengths({"a": b"", "b": b""}) == []


def test_safetensors_are_cut_at_their_tensors_with_the_width_of_their_type() -> None:
    data = safetensors({"a": noise(9 * MIB, 1), "b": noise(MIB, 2), "c": noise(4 * KIB, 3), "d": noise(2 * KIB, 4)})
    header = 8 + int.from_bytes(data[:8], "little")
    assert [(len(c), w) for c, w in cut(data)[0]] == [
        (header, 1), (8 * MIB, 2), (MIB, 2), (MIB, 2), (6 * KIB, 2),
    ]  # fmt: skip


def test_a_safetensors_file_whose_header_lies_is_cut_by_its_content() -> None:
    data = safetensors({"a": noise(3 * MIB, 1)})
    assert len(lengths(data[:-1])) >= 1
    assert lengths(data)[1:] == [3 * MIB]
    assert lengths(data[:-1])[0] >= 256 * KIB
    assert b"".join(c for c, _ in cut(data + b"x")[0]) == data + b"x"


def test_the_members_of_a_torch_zip_have_their_own_edges() -> None:
    first, second = noise(3 * MIB, 1), noise(2 * MIB, 2)

    def archive(label: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
            zipped.writestr("archive/data.pkl", label)
            zipped.writestr("archive/data/0", first)
            zipped.writestr("archive/data/1", second)
        return file.getvalue()

    chunks = [data for data, _ in cut(archive(b"x"))[0]]
    assert first in chunks
    assert second in chunks
    moved = [data for data, _ in cut(archive(b"another length"))[0]]
    assert {first, second} <= set(chunks) & set(moved)


def test_unknown_bytes_have_content_defined_edges_that_an_insertion_moves_only_nearby() -> None:
    data = noise(20 * MIB, 5)
    before = [c for c, _ in cut(data)[0]]
    after = [c for c, _ in cut(data[: 10 * MIB] + b"inserted" + data[10 * MIB :])[0]]
    assert all(256 * KIB <= len(c) <= 4 * MIB for c in before[:-1])
    assert len(set(before) - set(after)) <= 3


@pytest.mark.parametrize("chunk_max", [64 * KIB, MIB, 3 * MIB])
def test_no_chunk_is_longer_than_asked(chunk_max: int) -> None:
    tree = {"a": noise(9 * MIB), "b": safetensors({"w": noise(5 * MIB)}), "c": text(100), "d": noise(70 * KIB)}
    found = lengths(tree, chunk_max=chunk_max)
    assert max(found) <= chunk_max
    assert sum(found) == sum(len(data) for data in tree.values())


def test_a_file_that_is_written_before_it_is_read_is_changed() -> None:
    for tree in ({"x": noise(100)}, {"x": noise(2 * MIB)}):
        disk = MemoryDisk()
        write_tree(disk, "top", tree)
        found = scan(disk, "top")
        file = disk.open_write("top/x")
        file.pwrite(b"y", 0)
        with pytest.raises(Changed, match="x changed"):
            list(chunks_of(cutter_of(disk, found)))


def test_a_file_that_is_written_while_it_is_read_is_changed() -> None:
    for data in (noise(20 * MIB), safetensors({"a": noise(9 * MIB), "b": noise(9 * MIB)})):
        disk = MemoryDisk()
        write_tree(disk, "top", {"x": data})
        cutter = cutter_of(disk, scan(disk, "top"))
        assert cutter.next_window(memoryview(bytearray(BUFFER_BYTES)))
        disk.open_write("top/x").pwrite(b"y", len(data) - 1)
        with pytest.raises(Changed):
            list(chunks_of(cutter))


def test_a_file_that_shrinks_or_is_replaced_is_changed_and_one_that_is_gone_is_not_found() -> None:
    disk = MemoryDisk()
    write_tree(disk, "top", {"x": noise(2 * MIB)})
    found = scan(disk, "top")
    write_file(disk, "top/x", noise(2 * MIB))
    with pytest.raises(Changed):
        list(chunks_of(cutter_of(disk, found)))
    disk.unlink("top/x")
    with pytest.raises(NotFound):
        list(chunks_of(cutter_of(disk, found)))


def test_a_disk_that_cannot_be_read_is_a_fault_and_closing_lets_go_of_the_file() -> None:
    disk = MemoryDisk(bytes_max=30 * MIB)
    write_tree(disk, "top", {"x": noise(20 * MIB)})
    cutter = cutter_of(disk, scan(disk, "top"))
    buffer = memoryview(bytearray(BUFFER_BYTES))
    assert cutter.next_window(buffer)
    disk.unlink("top/x")
    assert disk.space().free < 20 * MIB
    cutter.close()
    assert disk.space().free == 30 * MIB
    assert cutter.next_window(buffer) == []
    write_file(disk, "top/x", noise(2 * MIB))
    cutter = cutter_of(disk, scan(disk, "top"))
    disk.failing.add("top/x")
    with pytest.raises(DiskFault):
        cutter.next_window(buffer)


def test_reread_gives_any_part_of_the_stream_again() -> None:
    disk = MemoryDisk()
    parts = [noise(1000, 1), b"", noise(500, 2), noise(2000, 3)]
    write_tree(disk, "top", {"a": parts[0], "b": parts[1], "c": None, "c/d": parts[2], "z": parts[3]})
    found = scan(disk, "top")
    stream = b"".join(parts)
    for begin in (0, 1, 999, 1000, 1499, 1500, 3499):
        for length in (0, 1, 501, 2000):
            into = bytearray(min(length, len(stream) - begin))
            reread(Holding(disk, found), found, begin, memoryview(into))
            assert bytes(into) == stream[begin : begin + len(into)]
    with pytest.raises(Changed):
        reread(Holding(disk, found), found, len(stream) - 1, memoryview(bytearray(2)))
    write_file(disk, "top/z", b"short")
    with pytest.raises(Changed):
        reread(Holding(disk, found), found, 1600, memoryview(bytearray(10)))
