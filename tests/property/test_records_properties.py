"""Records under hypothesis: there and back, one spelling only, and nothing but our own errors for any bytes."""

import hashlib
from itertools import accumulate

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from record_specimens import GOOD, directory, file, link, manifest, raw, write
from roost.codec.manifest import Chunk, ChunkTable, Manifest
from roost.codec.records import (
    KEEP_S_MAX,
    STANDINGS,
    MemberRecord,
    Record,
    Revoked,
    SealedAuthority,
    Standing,
    Tombstone,
    decode_record,
    encode_record,
    record_id,
)
from roost.codec.tree import FileEntry, path_problem, target_problem, tree_problem
from roost.core.errors import Damaged, RoostError, Unsupported

digests = st.binary(min_size=32, max_size=32)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8)
parts = words.filter(lambda part: part not in (".", ".."))
names = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9-]{1,8}){0,2}", fullmatch=True)
seqs = st.integers(1, 10**18 - 1)
seconds = st.integers(0, 253_402_300_799)


@st.composite
def trees(draw: st.DrawFn) -> list[FileEntry]:
    """A good tree: any paths, but none below a file."""
    paths = draw(st.sets(st.lists(parts, min_size=1, max_size=3).map("/".join), max_size=8))
    above = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
    entries = []
    for path in sorted(paths | draw(st.sets(st.sampled_from(sorted(above)))) if above else sorted(paths)):
        kind = "d" if path in above else draw(st.sampled_from("fdl"))
        mode = draw(st.integers(0, 0o7777))
        mtime = draw(st.integers(-(1 << 63), (1 << 63) - 1))
        size = draw(st.integers(0, 300)) if kind == "f" else 0
        digest = (draw(digests) if size else hashlib.sha256().digest()) if kind == "f" else b""
        entries.append(FileEntry(path, kind, mode, mtime, size, digest, draw(parts) if kind == "l" else ""))
    return entries


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    files = draw(trees())
    left = sum(entry.size for entry in files)
    chunks = []
    while left:
        length = draw(st.integers(1, left))
        left -= length
        plain, codec = draw(digests), draw(st.integers(0, 1))
        stored = draw(st.integers(1, length)) if codec else length
        chunks.append(Chunk(draw(digests) if codec else plain, plain, length, stored, codec))  # type: ignore[arg-type]
    return manifest(files, chunks, name=draw(names), seq=draw(seqs), stored_at=draw(seconds), source=draw(words))


node_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
tombstones = st.builds(
    Tombstone, format=st.just(1), name=names, manifest=digests, seq=seqs, at=seconds,
    keep_s=st.integers(0, KEEP_S_MAX),
)  # fmt: skip
standings = st.builds(
    Standing, format=st.just(1), node_id=node_ids, seq=seqs, state=st.sampled_from(STANDINGS), at=seconds
)
revocations = st.builds(Revoked, format=st.just(1), node_id=node_ids, fingerprint=digests, at=seconds)
seals = st.builds(
    SealedAuthority, format=st.just(1), authority=digests, salt=st.binary(min_size=16, max_size=16), proof=digests,
    sealed=st.binary(min_size=1, max_size=4096), at=seconds,
)  # fmt: skip
members = st.builds(
    MemberRecord,
    format=st.just(1),
    node_id=node_ids,
    seq=seqs,
    name=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=64),
    machine=st.binary(min_size=16, max_size=16).map(bytes.hex),
    capacity=st.integers(0, (1 << 63) - 1),
    addresses=st.lists(st.builds("{}:{}".format, st.ip_addresses(v=4), st.integers(1, 65535)), max_size=8),
    storage=st.booleans(),
    certificate=st.binary(min_size=1, max_size=500),
    signature=st.binary(min_size=64, max_size=64),
)


def read_or_refuse(data: bytes) -> Record | None:
    """The record, or None when it is refused in one of the two ways that are allowed."""
    try:
        return decode_record(data)
    except (Damaged, Unsupported):
        return None


@given(manifests() | tombstones | members | standings | revocations | seals)
def test_records_go_there_and_back_by_one_spelling(record: Record) -> None:
    data = encode_record(record)
    assert decode_record(data) == record
    assert encode_record(decode_record(data)) == data


@settings(max_examples=300)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_any_changed_byte_is_refused_or_makes_another_good_record(name: str, data: st.DataObject) -> None:
    good = bytearray(encode_record(GOOD[name]))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    changed = bytes(good)
    record = read_or_refuse(changed)
    if record is not None:
        assert encode_record(record) == changed
        assert record != GOOD[name]
        assert record_id(changed) != record_id(encode_record(GOOD[name]))


@given(st.sampled_from(sorted(GOOD)), st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=40))
def test_any_splice_is_refused_or_canonical(name: str, begin: int, end: int, middle: bytes) -> None:
    good = encode_record(GOOD[name])
    data = good[: begin % len(good)] + middle + good[end % len(good) :]
    record = read_or_refuse(data)
    assert record is None or encode_record(record) == data


@given(st.binary(max_size=300))
@example(b"\x81\xa4kind\xa3\xff\xff\xff\xa6format\x01")
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    for head in (b"", *(encode_record(record)[:40] for record in GOOD.values())):
        record = read_or_refuse(head + data)
        assert record is None or encode_record(record) == head + data


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=9)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(sorted(GOOD)), values, st.data())
def test_a_field_of_any_type_and_size_raises_nothing_else(name: str, value: object, data: st.DataObject) -> None:
    fields = msgspec.msgpack.decode(encode_record(GOOD[name]))
    field = data.draw(st.sampled_from(sorted(fields.keys() - {"kind", "format"})))
    if field in ("files", "chunks"):
        inner = fields[field] if field == "chunks" else data.draw(st.sampled_from(fields[field]))
        inner[data.draw(st.sampled_from(sorted(inner) if field == "chunks" else range(len(inner))))] = value
    else:
        fields[field] = value
    changed = write(fields)
    record = read_or_refuse(changed)
    assert record is None or encode_record(record) == changed


@given(manifests())
def test_pieces_of_all_chunks_tile_every_file(made: Manifest) -> None:
    layout = made.layout()
    pieces = [(chunk, piece) for chunk in range(len(made.chunks)) for piece in layout.pieces_of(chunk)]
    for index, entry in enumerate(made.files):
        mine = [(chunk, piece) for chunk, piece in pieces if piece.file == index]
        assert [piece.file_offset for _, piece in mine] == list(accumulate((p.length for _, p in mine), initial=0))[:-1]
        assert sum(piece.length for _, piece in mine) == entry.size
        assert [chunk for chunk, _ in mine] == list(layout.chunks_of(index))
    for chunk, length in enumerate(made.chunks.lengths):
        offsets = [(piece.chunk_offset, piece.length) for number, piece in pieces if number == chunk]
        assert [o for o, _ in offsets] == list(accumulate((n for _, n in offsets), initial=0))[:-1]
        assert sum(n for _, n in offsets) == length


def resolve(links: dict[str, str], start: str) -> list[str] | None:
    """Where a kernel that knows these links, and takes every other name for a directory, ends when it opens `start`;
    None when it climbs above the root. Gives up like a kernel after 40 links."""
    at: list[str] = []
    todo = start.split("/")[::-1]
    hops = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if not at:
                return None
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            if "/".join(at) in links:
                hops += 1
                if hops > 40:
                    return at
                todo += links["/".join(at)].split("/")[::-1]
                at.pop()
    return at


steps = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map("/".join)
places = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


@settings(max_examples=300)
@given(st.dictionaries(places, steps, max_size=6))
@example({"d/x": "..", "s": "d", "t": "s/x/.."})
def test_no_links_that_pass_ever_lead_out_of_the_tree(links: dict[str, str]) -> None:
    entries = [link(path, target) for path, target in sorted(links.items())]
    if not tree_problem(entries, shape="directory"):
        assert all(resolve(links, path) is not None for path in links)


@given(st.text(max_size=12) | steps, st.text(max_size=12) | steps)
def test_path_rules_take_any_text(path: str, target: str) -> None:
    if not path_problem(path):
        assert not {"", ".", ".."} & set(path.split("/"))
        if not target_problem(path, target):
            assert resolve({path: target}, path) is not None or ".." in target


@given(st.permutations([directory("a"), file("a/b", 1), link("c", "a/b"), file("d", 2)]))
def test_only_one_order_of_the_entries_is_good(entries: list[FileEntry]) -> None:
    table = ChunkTable.of([raw("x", 3)])
    made = manifest(entries, table)
    if [entry.path for entry in entries] == ["a", "a/b", "c", "d"]:
        assert decode_record(encode_record(made)) == made
    else:
        with pytest.raises(RoostError, match="not in order"):
            decode_record(write(made))
