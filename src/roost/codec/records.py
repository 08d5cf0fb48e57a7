"""Records: small immutable facts in canonical msgpack, named by the SHA-256 of their bytes.

A record is one msgpack map, its keys in a fixed order: ``kind``, ``format``, then the fields of its kind. Canonical
means that there is one spelling only: bytes that decode to a record but are not what encoding it gives are damaged.
A record that is read has passed every rule of its kind, but for signatures, which the cluster layer checks.

A change of meaning, a new field included, is a new `format` of the kind; unknown kinds and formats are `Unsupported`,
never skipped over in silence. See docs/format.md.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import msgspec

from roost.codec.manifest import Manifest, manifest_problem, name_problem, seq_problem, wall_problem
from roost.codec.tree import shown
from roost.core.checkpoint import MANIFEST_BYTES_MAX
from roost.core.cluster import Address
from roost.core.errors import Damaged, Failed, Unsupported, UsageError
from roost.core.ids import DIGEST_BYTES, RecordId, parse_node_id

FORMAT = 1
"""The newest format of every kind."""

SMALL_RECORD_BYTES_MAX = 64 * 1024
"""Bytes of a record that is not a manifest."""
ADDRESSES_MAX = 64
ADDRESS_CHARACTERS_MAX = 300
NODE_NAME_CHARACTERS_MAX = 64
CERTIFICATE_BYTES_MAX = 4096
SIGNATURE_BYTES = 64
SALT_BYTES = 16
SEALED_BYTES_MAX = 4096
KEEP_S_MAX = 100 * 366 * 86_400
_CAPACITY_LIMIT = 1 << 63


class Tombstone(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="tombstone"
):  # fmt: skip
    """The version `seq` of the checkpoint `name`, whose manifest this is, was removed `at` (Unix seconds, display). For
    `keep_s` seconds of a node's running time it can be brought back; of several tombstones the shortest counts."""

    format: int = FORMAT
    name: str
    manifest: bytes
    seq: int
    at: int
    keep_s: int


class MemberRecord(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="member"
):  # fmt: skip
    """What a node says of itself, signed with its key: the highest `seq` counts.

    `machine` is what burns down with it; `capacity` is in bytes; `addresses` are ``HOST:PORT``; `storage` is False for
    machines that only store and gather; `certificate` is the node's own, in DER; `signature` is by its Ed25519 key over
    `member_signing_bytes`.
    """

    format: int = FORMAT
    node_id: str
    seq: int
    name: str
    machine: str
    capacity: int
    addresses: Annotated[list[str], msgspec.Meta(max_length=ADDRESSES_MAX)]
    storage: bool
    certificate: bytes
    signature: bytes

    def signed(self, signature: bytes) -> "MemberRecord":
        """The same with this signature."""
        return msgspec.structs.replace(self, signature=signature)


class Standing(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="standing"
):  # fmt: skip
    """How a node stands in the cluster, as a person decided: the highest `seq` of a node counts, and without any it is
    *staying*. `state` is one of `STANDINGS`; `at` is in Unix seconds, for display."""

    format: int = FORMAT
    node_id: str
    seq: int
    state: str
    at: int


class Revoked(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="revoked"
):  # fmt: skip
    """The certificate with this `fingerprint` (SHA-256 of its DER), of node `node_id`, is of no use any more."""

    format: int = FORMAT
    node_id: str
    fingerprint: bytes
    at: int


class SealedAuthority(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sealed-authority"
):  # fmt: skip
    """The authority's key, sealed under the recovery code. `authority` is the SHA-256 of its certificate, `proof` the
    SHA-256 of what only the code's holder can show; see `roost.security.recovery`."""

    format: int = FORMAT
    authority: bytes
    salt: bytes
    proof: bytes
    sealed: bytes
    at: int


STANDINGS = ("staying", "draining", "left")

ABOUT_MEMBERS = (MemberRecord, Standing, Revoked)
"""The kinds of records that make the view."""

Record: TypeAlias = Manifest | Tombstone | MemberRecord | Standing | Revoked | SealedAuthority

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[str, msgspec.msgpack.Decoder[Record]] = {
    "manifest": msgspec.msgpack.Decoder(Manifest),
    "tombstone": msgspec.msgpack.Decoder(Tombstone),
    "member": msgspec.msgpack.Decoder(MemberRecord),
    "standing": msgspec.msgpack.Decoder(Standing),
    "revoked": msgspec.msgpack.Decoder(Revoked),
    "sealed-authority": msgspec.msgpack.Decoder(SealedAuthority),
}
KINDS = frozenset(_DECODERS)
"""The kinds that this release knows."""

_KIND = re.compile(rb"(?:[\x80-\x8f]|\xde[\x00-\xff]{2})\xa4kind([\xa1-\xbf])")
_FORMAT = re.compile(rb"\xa6format([\x01-\x7f])")
_HEAD_BYTES_MAX = 64
_WORD = re.compile(r"[a-z][a-z0-9-]*\Z")
_HEX32 = re.compile(r"[0-9a-f]{32}\Z")


def record_id(data: bytes | memoryview) -> RecordId:
    """The id of the record whose bytes these are."""
    return RecordId(hashlib.sha256(data).digest())


def kind_of(record: type[Any]) -> str:
    """The ``kind`` under which a class of records is written."""
    return str(record.__struct_config__.tag)


KINDS_ABOUT_MEMBERS = frozenset(kind_of(record) for record in ABOUT_MEMBERS)


def encode_record(record: Record) -> bytes:
    """The record's bytes: the same for the same record, always. Failed when it breaks a rule or a limit; what this
    returns, `decode_record` reads."""
    kind = kind_of(type(record))
    try:
        problem = _problem(record)
        data = b"" if problem else _ENCODER.encode(record)
    except UnicodeEncodeError:
        problem = "it holds text that has no UTF-8"
    if problem:
        raise Failed(f"this {kind} cannot be recorded: {problem}")
    if len(data) > _bytes_max(kind):
        raise Failed(
            f"this {kind} cannot be recorded: it has {len(data):,} bytes, the limit is {_bytes_max(kind):,}",
            hint="store parts of the checkpoint under names of their own" if kind == "manifest" else "",
        )
    return data


def decode_record(data: bytes | memoryview) -> Record:
    """The record that these bytes are. Damaged when they are not exactly what encoding a good record gives;
    Unsupported when their kind or format is not known here. Raises nothing else, whatever the bytes."""
    kind = _kind_and_format(bytes(data[:_HEAD_BYTES_MAX]))
    if len(data) > _bytes_max(kind):
        raise _damaged(kind, f"it is longer than {_bytes_max(kind):,} bytes")
    try:
        record = _DECODERS[kind].decode(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(kind, str(error)[:200]) from None
    if problem := _problem(record):
        raise _damaged(kind, problem)
    if _ENCODER.encode(record) != data:
        raise _damaged(kind, "it is not written in the one canonical way")
    return record


def member_signing_bytes(record: MemberRecord) -> bytes:
    """What a member signs: its record's canonical bytes with an empty signature."""
    return _ENCODER.encode(record.signed(b""))


def _kind_and_format(head: bytes) -> str:
    """The kind, if this release knows it in this format. Both stand first in every record, now and later."""
    found = _KIND.match(head)
    if not found:
        raise _damaged("", "it does not begin as a record does")
    end = found.end() + found[1][0] - 0xA0
    kind = head[found.end() : end].decode("ascii", "replace")
    version = _FORMAT.match(head, end)
    if not version or not _WORD.match(kind):
        raise _damaged("", "it does not begin as a record does")
    if kind not in _DECODERS or version[1][0] > FORMAT:
        raise Unsupported(
            f"a record of kind {kind!r}, format {version[1][0]}, is not known here",
            hint="a newer release wrote it: update Roost on this machine",
        )
    return kind


def _bytes_max(kind: str) -> int:
    return MANIFEST_BYTES_MAX if kind == "manifest" else SMALL_RECORD_BYTES_MAX


def _damaged(kind: str, problem: str) -> Damaged:
    name = f"a {kind} record" if kind else "a record"
    return Damaged(f"{name} is damaged: {problem}", hint="another member may hold a good copy")


def _problem(record: Record) -> str:
    if record.format != FORMAT:
        return f"its format is {record.format}"
    if isinstance(record, Manifest):
        return manifest_problem(record)
    if isinstance(record, Tombstone):
        return _tombstone_problem(record)
    if isinstance(record, MemberRecord):
        return _member_problem(record)
    if isinstance(record, Standing):
        return _standing_problem(record)
    return _revoked_problem(record) if isinstance(record, Revoked) else _sealed_problem(record)


def _tombstone_problem(record: Tombstone) -> str:
    if len(record.manifest) != DIGEST_BYTES:
        return "what it removes is not a record id"
    if not 0 <= record.keep_s <= KEEP_S_MAX:
        return "how long it can be undone is out of range"
    return name_problem(record.name) or seq_problem(record.seq) or wall_problem(record.at)


def _member_problem(record: MemberRecord) -> str:
    name = record.name
    checks: tuple[tuple[bool, str], ...] = (
        (_is_node_id(record.node_id), "its node id is not one"),
        (not seq_problem(record.seq), seq_problem(record.seq)),
        (0 < len(name) <= NODE_NAME_CHARACTERS_MAX and name.isprintable(), f"its name is {shown(name)}"),
        (bool(_HEX32.match(record.machine)), "its machine id is not one"),
        (0 <= record.capacity < _CAPACITY_LIMIT, "its capacity is out of range"),
        (len(record.addresses) <= ADDRESSES_MAX, f"it has more than {ADDRESSES_MAX} addresses"),
        (0 < len(record.certificate) <= CERTIFICATE_BYTES_MAX, "its certificate is empty or too long"),
        (len(record.signature) == SIGNATURE_BYTES, "its signature is not one"),
    )
    wrong = next((problem for good, problem in checks if not good), "")
    if wrong:
        return wrong
    bad = next((text for text in record.addresses if not _is_address(text)), None)
    return "" if bad is None else f"{shown(bad)} is not an address"


def _standing_problem(record: Standing) -> str:
    if not _is_node_id(record.node_id):
        return "its node id is not one"
    if record.state not in STANDINGS:
        return f"its state is {shown(record.state)}"
    return seq_problem(record.seq) or wall_problem(record.at)


def _revoked_problem(record: Revoked) -> str:
    if not _is_node_id(record.node_id):
        return "its node id is not one"
    return _lengths_problem(record.fingerprint) or wall_problem(record.at)


def _sealed_problem(record: SealedAuthority) -> str:
    if len(record.salt) != SALT_BYTES:
        return "its salt is not one"
    if not 0 < len(record.sealed) <= SEALED_BYTES_MAX:
        return "what is sealed is empty or too long"
    return _lengths_problem(record.authority, record.proof) or wall_problem(record.at)


def _lengths_problem(*digests: bytes) -> str:
    return "" if all(len(digest) == DIGEST_BYTES for digest in digests) else "a digest in it is not one"


def _is_node_id(text: str) -> bool:
    return _is_parsed(parse_node_id, text)


def _is_address(text: str) -> bool:
    """Whether `text` is an address as `Address` prints it, one that can be dialled."""
    return (
        len(text) <= ADDRESS_CHARACTERS_MAX
        and text.isprintable()
        and _is_parsed(Address.parse, text)
        and Address.parse(text).port > 0
    )


def _is_parsed(parse: Callable[[str], object], text: str) -> bool:
    """Whether `parse` accepts `text` and prints it just so."""
    try:
        return str(parse(text)) == text
    except UsageError:
        return False
