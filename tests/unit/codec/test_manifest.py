"""The manifest as a value: the stream of files and chunks, what it finds, and what its rules let through."""

import hashlib
import subprocess
import sys

import pytest

from record_specimens import CHUNKS, FILES, MANIFEST, directory, file, link, manifest, planes, raw
from roost.codec import planes as planes_codec
from roost.codec.manifest import (
    CODEC_PLANES,
    CODEC_RAW,
    Chunk,
    ChunkTable,
    FileEntry,
    Manifest,
    Piece,
    dedup_index,
    manifest_problem,
    tree_digest,
)
from roost.codec.records import decode_record, encode_record, record_id
from roost.codec.tree import links_problem, path_problem, target_problem
from roost.core.checkpoint import CHUNK_BYTES_MAX, FILES_MAX
from roost.core.errors import Failed
from roost.core.ids import RecordId


def test_the_codec_numbers_are_those_of_the_planes() -> None:
    assert (CODEC_RAW, CODEC_PLANES) == (planes_codec.RAW, planes_codec.PLANES)


def test_reading_manifests_loads_neither_numpy_nor_zstandard() -> None:
    code = "import sys, roost.codec.records; print({'numpy', 'zstandard', 'fastcdc'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_a_table_gives_back_the_chunks_it_was_made_of() -> None:
    table = ChunkTable.of(CHUNKS)
    assert list(table) == CHUNKS
    assert len(table) == len(CHUNKS)
    assert table.id_of(1) == CHUNKS[1].object_id


def test_objects_are_distinct_in_order_of_first_appearance() -> None:
    a, b, c = raw("a", 10), raw("b", 20), raw("c", 30)
    several = manifest([file("x", 120)], [b, a, b, c, a, c])
    assert several.objects() == [b.object_id, a.object_id, c.object_id]
    assert several.object_bytes() == {b.object_id: 20, a.object_id: 10, c.object_id: 30}
    assert list(several.object_bytes()) == several.objects()


def test_offsets_of_files_and_chunks_on_the_stream() -> None:
    files = [directory("a"), file("a/b", 10), file("c", 0), link("d", "c"), file("e", 5)]
    several = manifest(files, [raw("1", 8), raw("2", 7)])
    assert list(several.file_offsets()) == [0, 0, 10, 10, 10, 15]
    assert list(several.chunks.offsets()) == [0, 8, 15]
    assert several.bytes_total == 15


def test_pieces_of_a_chunk_skip_what_has_no_bytes() -> None:
    files = [directory("a"), file("a/b", 10), file("c", 0), link("d", "c"), file("e", 5), file("f", 1), file("g", 0)]
    layout = manifest(files, [raw("1", 8), raw("2", 7), raw("3", 1)]).layout()
    assert list(layout.pieces_of(0)) == [Piece(1, 0, 8, 0)]
    assert list(layout.pieces_of(1)) == [Piece(1, 8, 2, 0), Piece(4, 0, 5, 2)]
    assert list(layout.pieces_of(2)) == [Piece(5, 0, 1, 0)]
    with pytest.raises(IndexError):
        list(layout.pieces_of(3))


def test_chunks_of_a_file_and_of_a_range() -> None:
    files = [file("a", 10), file("b", 0), file("c", 5), file("d", 1)]
    layout = manifest(files, [raw("1", 8), raw("2", 7), raw("3", 1)]).layout()
    assert [list(layout.chunks_of(i)) for i in range(4)] == [[0, 1], [], [1], [2]]
    assert list(layout.chunks_in(7, 9)) == [0, 1]
    assert list(layout.chunks_in(8, 15)) == [1]
    assert list(layout.chunks_in(3, 3)) == []


def test_what_is_known_to_be_stored_prefers_the_first_manifest() -> None:
    new = planes("same", 100, 50)
    old = Chunk(raw("same", 100).object_id, new.plain, 100, 100, CODEC_RAW)
    only_old = raw("other", 5)
    index = dedup_index([manifest([file("a", 100)], [new]), manifest([file("a", 105)], [old, only_old])])
    assert index == {new.plain: new, only_old.plain: only_old}


def test_the_version_of_a_manifest() -> None:
    assert MANIFEST.version_of(RecordId(bytes.fromhex("a1b2c3" + "00" * 29))) == "7-a1b2c3"


def test_a_tree_digest_tells_everything_apart_but_mtimes() -> None:
    base = [file("a", 3), link("b", "a")]
    digest = tree_digest(base, shape="directory")
    moved = [FileEntry(e.path, e.kind, e.mode, 0, e.size, e.sha256, e.target) for e in base]
    assert tree_digest(moved, shape="directory") == digest
    others = [
        [file("a", 3, mode=0o600), base[1]],
        [file("a", 4), base[1]],
        [file("c", 3), base[1]],
        [base[0], link("b", "c")],
        [base[0]],
        [FileEntry("a", "f", 0o644, 0, 3, bytes(32)), base[1]],
    ]
    assert len({digest, *(tree_digest(entries, shape="directory") for entries in others)}) == len(others) + 1
    assert tree_digest(base[:1], shape="file") != tree_digest(base[:1], shape="directory")


@pytest.mark.parametrize(
    "path",
    ["a", ".hidden", "..almost", "a..", "...", "a/.b/..c", "C:\\x", "a\nb", "日本/🐦", "a b", "-rf", "~", "x" * 255],
)
def test_odd_paths_that_posix_allows_are_allowed(path: str) -> None:
    assert path_problem(path) == ""
    made = manifest([file(path, 1)], [raw("1", 1)])
    assert decode_record(encode_record(made)) == made


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/", ".", "..", "a/..", "../a", "a/./b", "a//b", "a\0", "x" * 256, "é" * 128, "\ud800"]
)
def test_paths_that_leave_or_break_are_refused(path: str) -> None:
    assert path_problem(path)
    with pytest.raises(Failed):
        encode_record(manifest([file(path, 1)], [raw("1", 1)], tree=bytes(32)))


@pytest.mark.parametrize("target", ["b", "../c", "./../c", "..", "../a/x", "x/../../c", "a/", "...", "..b/../..c"])
def test_targets_that_stay_inside(target: str) -> None:
    assert target_problem("a/link", target) == ""


@pytest.mark.parametrize(
    "target", ["", "/", "/etc", "../..", "x/../../../c", "../../a/link", "a\0b", "x" * 4096, "\udc80"]
)
def test_targets_that_leave(target: str) -> None:
    assert target_problem("a/link", target)


@pytest.mark.parametrize(
    ("links", "good"),
    [
        ([("a/b/s", "../.."), ("t", "a/b/s/../..")], False),
        ([("d/x", ".."), ("s", "d"), ("t", "s/x/..")], False),
        ([("a", "a/..")], False),
        ([("s", "d"), ("t", "s/x")], True),
        ([("s", "d"), ("t", "d/../s")], True),
        ([("s", "d"), ("u/t", "../x/../s")], True),
        ([("a", "b"), ("b", "a")], True),
        ([("a", "..."), ("b", "a/...")], True),
    ],
)
def test_links_that_escape_only_together_are_refused(links: list[tuple[str, str]], good: bool) -> None:
    entries = [link(path, target) for path, target in links]
    assert all(target_problem(path, target) == "" for path, target in links)
    assert (links_problem(entries) == "") is good


def test_an_empty_directory_and_an_empty_file_are_checkpoints() -> None:
    for empty in (manifest([], []), manifest([file("a", 0)], [], shape="file")):
        assert decode_record(encode_record(empty)) == empty
        assert empty.objects() == []


def test_a_file_of_16_tib_is_within_the_limits_and_one_byte_more_is_not() -> None:
    size = 16 * 1024**4
    chunk = planes("zeros", CHUNK_BYTES_MAX, 1000)
    n = 2000
    table = ChunkTable.of([chunk] * n)
    assert manifest_problem(manifest([file("a", n * CHUNK_BYTES_MAX)], table)) == ""
    assert "not as long" in manifest_problem(manifest([file("a", size)], table))
    assert "size is out of range" in manifest_problem(manifest([file("a", size + 1)], []))
    assert "16 TiB" in manifest_problem(manifest([file("a", size), file("b", 1)], []))


def test_too_many_files_are_refused_when_encoding() -> None:
    with pytest.raises(Failed, match="more than 1000000 entries"):
        encode_record(manifest([FILES[0]] * (FILES_MAX + 1), [], tree=bytes(32)))


def large(chunks: int) -> Manifest:
    size = chunks * CHUNK_BYTES_MAX
    columns = bytes(range(256)) * (chunks // 8)
    table = ChunkTable(
        lengths=[CHUNK_BYTES_MAX] * chunks,
        ids=columns,
        plain=columns[::-1],
        stored=[CHUNK_BYTES_MAX * 2 // 3] * chunks,
        codecs=bytes([CODEC_PLANES]) * chunks,
    )
    entry = FileEntry("model.bin", "f", 0o644, 0, size, hashlib.sha256(b"model").digest())
    return manifest([entry], table)


def test_a_manifest_near_the_limit_goes_there_and_back() -> None:
    wide = large(890_000)
    data = encode_record(wide)
    assert 63 << 20 < len(data) <= 64 << 20
    assert decode_record(memoryview(data)) == wide
    assert len(wide.objects()) == 8


def test_a_manifest_over_the_limit_is_refused_with_what_to_do() -> None:
    with pytest.raises(Failed, match="the limit is 67,108,864") as refused:
        encode_record(large(900_000))
    assert "names of their own" in refused.value.hint


def test_the_id_is_the_hash_of_the_bytes() -> None:
    data = encode_record(MANIFEST)
    assert record_id(data) == hashlib.sha256(data).digest() == record_id(memoryview(data))
