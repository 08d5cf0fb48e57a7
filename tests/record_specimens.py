"""One good record of each kind, and one broken one of each damage: what the golden record files are made from."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from roost.codec.manifest import Chunk, ChunkTable, Manifest
from roost.codec.records import MemberRecord, Record, Revoked, SealedAuthority, Standing, Tombstone
from roost.codec.tree import FileEntry, tree_digest
from roost.core.errors import Damaged, RoostError, Unsupported
from roost.core.ids import object_id

SECOND = 1_000_000_000


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def file(path: str, size: int, *, mode: int = 0o644) -> FileEntry:
    digest = hashlib.sha256(path.encode(errors="surrogatepass") if size else b"").digest()
    return FileEntry(path, "f", mode, 1_700_000_000 * SECOND + 123_456_789, size, digest)


def directory(path: str) -> FileEntry:
    return FileEntry(path, "d", 0o755, 1_700_000_000 * SECOND, 0, b"")


def link(path: str, target: str) -> FileEntry:
    return FileEntry(path, "l", 0o777, -SECOND, 0, b"", target)


def raw(text: str, length: int) -> Chunk:
    return Chunk(object_id(text.encode()), sha(text), length, length, 0)


def planes(text: str, length: int, stored: int) -> Chunk:
    return Chunk(object_id(f"at rest: {text}".encode()), sha(text), length, stored, 1)


FILES = [
    directory("Größe"),
    file("Größe/日本.bin", 5_000_000),
    file("config.json", 512, mode=0o600),
    file("empty", 0),
    link("latest", "./Größe/日本.bin"),
    directory("model"),
    link("model/config.json", "../config.json"),
    file("model/model.safetensors", 12_000_000, mode=0o4755),
]
FILES.sort(key=lambda entry: entry.path.encode())
CHUNKS = [
    planes("weights", 8_388_608, 5_600_000),
    raw("noise", 3_000_000),
    planes("weights", 5_000_000 + 512 + 12_000_000 - 8_388_608 - 3_000_000 - 512, 4_000_000),
    raw("tail", 512),
]


def manifest(
    files: list[FileEntry] = FILES, chunks: list[Chunk] | ChunkTable = CHUNKS, **changes: Any
) -> Manifest:  # fmt: skip
    """The golden manifest with other files, chunks or fields. Unless one is given, the tree digest is the right one."""
    fields: dict[str, Any] = {
        "name": "qwen-sft/step-1000",
        "seq": 7,
        "stored_at": 1_700_000_000,
        "redundancy": "2",
        "shape": "directory",
        "source": "workstation:/home/ada/out/step-1000",
        "root_mode": 0 if changes.get("shape") == "file" else 0o2755,
        "root_mtime_ns": 0 if changes.get("shape") == "file" else 1_700_000_001 * SECOND,
        "files": files,
        "chunks": ChunkTable.of(chunks) if isinstance(chunks, list) else chunks,
        **changes,
    }
    if "tree" not in fields:
        fields["tree"] = tree_digest(files, shape=fields["shape"])
    return Manifest(**fields)


MANIFEST = manifest()
TOMBSTONE = Tombstone(name="qwen-sft/step-1000", manifest=sha("a manifest"), seq=7, at=1_700_000_500, keep_s=7 * 86_400)
MEMBER = MemberRecord(
    node_id="0123456789abcdef0123456789abcdef",
    seq=3,
    name="Ada's Pi",
    machine="fedcba9876543210fedcba9876543210",
    capacity=1 << 39,
    addresses=["192.168.1.20:7400", "[fe80::1]:7400"],
    storage=True,
    certificate=bytes(range(256)),
    signature=bytes(range(64)),
)

STANDING = Standing(node_id="0123456789abcdef0123456789abcdef", seq=2, state="draining", at=1_700_000_600)
REVOKED = Revoked(node_id="0123456789abcdef0123456789abcdef", fingerprint=sha("a certificate"), at=1_700_000_700)
SEALED = SealedAuthority(
    authority=sha("an authority"), salt=bytes(range(16)), proof=sha("a proof"), sealed=bytes(range(200)),
    at=1_700_000_800,
)  # fmt: skip

GOOD: dict[str, Record] = {
    "record_manifest_1.bin": MANIFEST,
    "record_member_1.bin": MEMBER,
    "record_tombstone_1.bin": TOMBSTONE,
    "record_standing_1.bin": STANDING,
    "record_revoked_1.bin": REVOKED,
    "record_sealed-authority_1.bin": SEALED,
}


@dataclass(frozen=True)
class Broken:
    """Bytes that are no record, the error that reading them raises, and a part of what it says."""

    data: bytes
    error: type[RoostError]
    says: str


def write(record: Any) -> bytes:
    """Bytes without any check."""
    return msgspec.msgpack.encode(record)


def replaced(record: Record, **changes: Any) -> bytes:
    return write(msgspec.structs.replace(record, **changes))


def files_of(*entries: FileEntry, **changes: Any) -> bytes:
    """A manifest of these entries, all else right, so that they alone are what is wrong."""
    size = sum(entry.size for entry in entries)
    return write(manifest(list(entries), [raw("all", size)] if size else [], **changes))


def table_of(**changes: Any) -> bytes:
    return replaced(MANIFEST, chunks=msgspec.structs.replace(MANIFEST.chunks, **changes))


def broken() -> dict[str, Broken]:
    """All damages, by file name."""
    damages = (*_damaged_bytes(), *_damaged_trees(), *_damaged_fields(), *_damaged_chunks(), *_damaged_small())
    found = {f"record_{name}.bin": Broken(data, error, says) for name, data, error, says in damages}
    assert len(found) == len(damages)
    return found


Damages = Iterator[tuple[str, bytes, type[RoostError], str]]


def _damaged_bytes() -> Damages:
    good = write(TOMBSTONE)
    yield "empty", b"", Damaged, "does not begin as a record"
    yield "noise", bytes(range(7, 100)), Damaged, "does not begin as a record"
    yield "truncated", good[:-1], Damaged, "truncated"
    yield "trailing", good + b"\0", Damaged, "trailing"
    yield "kind_last", write({"format": 1, "kind": "tombstone"}), Damaged, "does not begin as a record"
    yield "kind_unknown", write({"kind": "horoscope", "format": 1}), Unsupported, "horoscope"
    yield "format_newer", replaced(TOMBSTONE, format=2), Unsupported, "format 2"
    yield "format_zero", replaced(TOMBSTONE, format=0), Damaged, "does not begin as a record"
    fields = {"kind": "tombstone", **msgspec.structs.asdict(TOMBSTONE)}
    yield "field_unknown", write({**fields, "more": 1}), Damaged, "unknown field"
    yield "field_missing", write({k: v for k, v in fields.items() if k != "at"}), Damaged, "missing"
    yield "field_type", write({**fields, "seq": 7.0}), Damaged, "float"
    swapped = {**{k: v for k, v in fields.items() if k != "name"}, "name": fields["name"]}
    yield "canonical_order", write(swapped), Damaged, "canonical"
    yield "canonical_integer", good.replace(b"\xa3seq\x07", b"\xa3seq\xcc\x07"), Damaged, "canonical"
    yield "field_twice", b"\x88" + good[1:] + b"\xa3seq\x07", Damaged, "canonical"


def _damaged_trees() -> Damages:
    one = file("a", 1)
    yield "path_empty", files_of(file("", 1)), Damaged, "absolute"
    yield "path_absolute", files_of(file("/etc/passwd", 1)), Damaged, "absolute"
    yield "path_up", files_of(file("a/../../b", 1)), Damaged, "'..'"
    yield "path_dot", files_of(file("./a", 1)), Damaged, "'.'"
    yield "path_slashes", files_of(file("a//b", 1)), Damaged, "part that is empty"
    yield "path_nul", files_of(file("a\0b", 1)), Damaged, "NUL"
    yield "path_part_long", files_of(file("é" * 128, 1)), Damaged, "longer than 255"
    yield "path_long", files_of(file("/".join(["a" * 200] * 21), 1)), Damaged, "longer than 4095"
    yield "path_not_utf8", files_of(file("aXb", 1)).replace(b"aXb", b"a\xffb"), Damaged, "utf-8"
    yield "path_twice", files_of(one, one), Damaged, "twice"
    yield "path_order", files_of(file("b", 1), one), Damaged, "not in order"
    yield "below_file", files_of(one, file("a/b", 1)), Damaged, "below something that is no directory"
    through = files_of(link("a", "b"), file("a-", 1), directory("a/b"), file("a/b/c", 1), directory("b"))
    yield "below_link", through, Damaged, "below something that is no directory"
    yield "target_absolute", files_of(link("a", "/etc/passwd")), Damaged, "target is absolute"
    yield "target_up", files_of(link("a/b", "../../c")), Damaged, "target leaves"
    yield "target_up_late", files_of(link("a", "b/../../c/d")), Damaged, "target leaves"
    yield "target_empty", files_of(link("a", "")), Damaged, "target is empty"
    yield "target_long", files_of(link("a", "b" * 4096)), Damaged, "target is longer"
    yield "target_back", files_of(link("a", "d/l/../.."), link("d/l", "..")), Damaged, "steps back out"
    yield "target_of_file", files_of(msgspec.structs.replace(one, target="b")), Damaged, "has a target"
    yield "mode", files_of(file("a", 1, mode=0o10000)), Damaged, "0o7777"
    yield "mtime", files_of(msgspec.structs.replace(one, mtime_ns=1 << 63)), Damaged, "mtime"
    yield "size_negative", files_of(file("a", 2), file("b", -1)), Damaged, "size is out of range"
    yield "size_of_directory", files_of(msgspec.structs.replace(directory("a"), size=1)), Damaged, "not a file"
    yield "hash_short", files_of(msgspec.structs.replace(one, sha256=b"x" * 31)), Damaged, "SHA-256"
    yield "hash_of_empty", files_of(msgspec.structs.replace(one, size=0)), Damaged, "SHA-256"
    yield "entry_kind", files_of(msgspec.structs.replace(one, kind="p")), Damaged, "kind is 'p'"
    yield "shape", files_of(one, shape="pile"), Damaged, "shape is 'pile'"
    yield "shape_file_of_two", files_of(one, file("b", 1), shape="file"), Damaged, "exactly one file"
    yield "shape_file_below", files_of(file("a/b", 1), shape="file"), Damaged, "exactly one file"


def _damaged_fields() -> Damages:
    yield "tree_digest", replaced(MANIFEST, tree=bytes(32)), Damaged, "tree digest"
    yield "name_up", replaced(MANIFEST, name="a/../b"), Damaged, "not a checkpoint name"
    yield "name_not_nfc", replaced(MANIFEST, name="u\u0308"), Damaged, "NFC"
    yield "seq_zero", replaced(MANIFEST, seq=0), Damaged, "sequence number"
    yield "stored_at", replaced(MANIFEST, stored_at=1 << 40), Damaged, "time is out of range"
    yield "redundancy", replaced(MANIFEST, redundancy="1"), Damaged, "redundancy '1'"
    yield "redundancy_spelt", replaced(MANIFEST, redundancy="02"), Damaged, "redundancy is written '02'"
    yield "root_mode", replaced(MANIFEST, root_mode=0o10000), Damaged, "0o7777"
    yield "root_mtime", replaced(MANIFEST, root_mtime_ns=1 << 63), Damaged, "mtime is out of range"
    yield "root_of_file", files_of(file("a", 1), shape="file", root_mode=1), Damaged, "a directory's mode"
    yield "source_long", replaced(MANIFEST, source="s" * 8193), Damaged, "source"


def _damaged_chunks() -> Damages:
    table = MANIFEST.chunks
    yield "chunks_short", replaced(MANIFEST, chunks=ChunkTable.of(CHUNKS[:-1])), Damaged, "not as long as its files"
    yield "chunk_empty", table_of(lengths=[*table.lengths[:-1], 0]), Damaged, "length of a chunk"
    yield "chunk_long", table_of(lengths=[8_388_609, *table.lengths[1:]]), Damaged, "length of a chunk"
    yield "ids_short", table_of(ids=table.ids[:-1]), Damaged, "columns of digests"
    yield "plain_long", table_of(plain=table.plain + bytes(32)), Damaged, "columns of digests"
    yield "codecs_short", table_of(codecs=table.codecs[:-1]), Damaged, "not equally long"
    yield "stored_short", table_of(stored=table.stored[:-1]), Damaged, "not equally long"
    yield "stored_zero", table_of(stored=[0, *table.stored[1:]]), Damaged, "empty or longer"
    yield "stored_longer", table_of(stored=[table.lengths[0] + 1, *table.stored[1:]]), Damaged, "empty or longer"
    yield "codec_unknown", table_of(codecs=b"\x02" + table.codecs[1:]), Damaged, "unknown codec"
    yield "raw_length", table_of(stored=[*table.stored[:-1], 511]), Damaged, "chunk 3 is raw"
    yield "raw_digest", table_of(ids=bytes(32) + table.ids[32:], codecs=bytes(4)), Damaged, "chunk 0 is raw"


def _damaged_small() -> Damages:
    yield "tombstone_manifest", replaced(TOMBSTONE, manifest=bytes(31)), Damaged, "not a record id"
    yield "tombstone_name", replaced(TOMBSTONE, name=""), Damaged, "not a checkpoint name"
    yield "tombstone_at", replaced(TOMBSTONE, at=-1), Damaged, "time is out of range"
    yield "tombstone_keep", replaced(TOMBSTONE, keep_s=-1), Damaged, "how long it can be undone"
    yield "standing_node_id", replaced(STANDING, node_id="nobody"), Damaged, "node id"
    yield "standing_state", replaced(STANDING, state="asleep"), Damaged, "its state is 'asleep'"
    yield "standing_seq", replaced(STANDING, seq=0), Damaged, "sequence number"
    yield "revoked_node_id", replaced(REVOKED, node_id="A" * 32), Damaged, "node id"
    yield "revoked_fingerprint", replaced(REVOKED, fingerprint=bytes(31)), Damaged, "a digest in it"
    yield "sealed_salt", replaced(SEALED, salt=bytes(15)), Damaged, "salt"
    yield "sealed_empty", replaced(SEALED, sealed=b""), Damaged, "empty or too long"
    yield "sealed_proof", replaced(SEALED, proof=b""), Damaged, "a digest in it"
    yield "sealed_at", replaced(SEALED, at=1 << 40), Damaged, "time is out of range"
    yield "member_node_id", replaced(MEMBER, node_id="../../etc"), Damaged, "node id"
    yield "member_machine", replaced(MEMBER, machine="A" * 32), Damaged, "machine id"
    yield "member_name", replaced(MEMBER, name="a\x1b[2J"), Damaged, "its name is"
    yield "member_capacity", replaced(MEMBER, capacity=1 << 63), Damaged, "capacity"
    yield "member_address", replaced(MEMBER, addresses=["somewhere"]), Damaged, "'somewhere' is not an address"
    yield "member_address_port", replaced(MEMBER, addresses=["h:0"]), Damaged, "'h:0' is not an address"
    yield "member_address_spelt", replaced(MEMBER, addresses=["h:080"]), Damaged, "'h:080' is not an address"
    yield "member_address_digits", replaced(MEMBER, addresses=["h:" + "9" * 5000]), Damaged, "is not an address"
    yield "member_addresses", replaced(MEMBER, addresses=["h:1"] * 65), Damaged, "64"
    yield "member_certificate", replaced(MEMBER, certificate=b""), Damaged, "certificate"
    yield "member_signature", replaced(MEMBER, signature=bytes(63)), Damaged, "signature"
    yield "member_long", replaced(MEMBER, certificate=bytes(1 << 16)), Damaged, "longer than"
