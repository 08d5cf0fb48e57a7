"""Every message that two peers exchange, as msgspec structs: what is asked, what is answered, and how large it may be.

Ids travel as concatenated 32-byte digests, sets of them as bitmaps (bit i, least significant first, in byte i // 8).
A request may announce a body and so may an answer; a body's length is always known in advance and bounded by
`request_body_bytes` and `answer_body_bytes_max`. Kinds that this release does not know do not decode, and are errors.
What a type's bounds cannot say (whole ids, versions in order) its `__post_init__` checks, also while decoding.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

import msgspec

from roost.core.checkpoint import CHUNK_BYTES_MAX, MANIFEST_BYTES_MAX
from roost.core.ids import DIGEST_BYTES, ObjectId, RecordId

PROTOCOL = 1
PROTOCOL_MIN = 1

IDS_MAX = 16_384
OBJECT_BYTES_MAX = CHUNK_BYTES_MAX + 64 * 1024
RECORD_BYTES_MAX = MANIFEST_BYTES_MAX
RECORD_IDS_BODY_MAX = 64 * 1024 * 1024

Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Ids: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=IDS_MAX * DIGEST_BYTES)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=1024)]
NodeName: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
NodeIdText: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


def _require_whole_ids(ids: bytes) -> None:
    if len(ids) % DIGEST_BYTES:
        raise ValueError(f"ids are not a multiple of {DIGEST_BYTES} bytes")


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The first frame in each direction. `cluster` is the SHA-256 of the authority's certificate (empty when a joiner
    has none yet); `authority` is that certificate, sent only to a joiner, who checks it against its token's hash."""

    protocol: Count
    protocol_min: Count
    software: Text
    cluster: Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
    authority: Annotated[bytes, msgspec.Meta(max_length=4096)] = b""

    def __post_init__(self) -> None:
        if self.protocol_min > self.protocol:
            raise ValueError("the oldest protocol spoken is newer than the newest")
        if len(self.cluster) not in (0, DIGEST_BYTES):
            raise ValueError(f"a cluster's digest has {DIGEST_BYTES} bytes")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asks of a server."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a server says in the end."""


class Ping(Request, tag="ping", frozen=True):
    """Are you there?"""


class Pong(Answer, tag="pong", frozen=True):
    """I am here, and have been for so many seconds."""

    running_s: Seconds


class Have(Request, tag="have", frozen=True):
    """Which of these objects are here, whole as far as the file system knows? With `reserve`, those that are stay for
    an hour of the node's running time even if nothing names them."""

    ids: Ids
    reserve: bool = False

    def __post_init__(self) -> None:
        _require_whole_ids(self.ids)


class Holding(Answer, tag="holding", frozen=True):
    """Bit i: the i-th id asked for is here."""

    present: Annotated[bytes, msgspec.Meta(max_length=IDS_MAX // 8)]


class Put(Request, tag="put", frozen=True):
    """Keep this object durably. The server says *proceed* and takes the body, or answers `Stored(already=True)`."""

    object_id: Digest
    length: Annotated[int, msgspec.Meta(ge=0, le=OBJECT_BYTES_MAX)]


class Stored(Answer, tag="stored", frozen=True):
    """The object is here, fsynced, its directory too, and reserved."""

    already: bool


class Get(Request, tag="get", frozen=True):
    """Send this object. The body ends with an error when its bytes turn out not to be what the id says."""

    object_id: Digest


class Sending(Answer, tag="sending", frozen=True):
    """The body follows."""

    length: Count


class PassOn(Request, tag="pass-on", frozen=True):
    """Put these objects of yours on node `to`, one after the other, and say how each went."""

    ids: Annotated[bytes, msgspec.Meta(max_length=64 * DIGEST_BYTES)]
    to: NodeIdText

    def __post_init__(self) -> None:
        _require_whole_ids(self.ids)


class PassedOn(Answer, tag="passed-on", frozen=True):
    """Per id, in order: the empty string, or the error's code."""

    problems: Annotated[list[Text], msgspec.Meta(max_length=64)]


class Commit(Request, tag="commit", frozen=True):
    """The body is a manifest; `counted` marks, in the order of its distinct objects, those counted on this node."""

    length: Annotated[int, msgspec.Meta(ge=1, le=MANIFEST_BYTES_MAX)]
    counted: Annotated[bytes, msgspec.Meta(max_length=512 * 1024)]


class Committed(Answer, tag="committed", frozen=True):
    """Empty `missing`: the manifest is durable here and all counted objects are too. Else up to `IDS_MAX` of the
    counted ids that are absent, and nothing was written."""

    missing: Ids

    def __post_init__(self) -> None:
        _require_whole_ids(self.missing)


class RecordDigests(Request, tag="record-digests", frozen=True):
    """A digest of the record set, by the first byte of the record ids."""


class Digests(Answer, tag="digests", frozen=True):
    """256 digests of 8 bytes each: the first 8 bytes of the SHA-256 of that bucket's sorted ids; zeros when empty."""

    buckets: Annotated[bytes, msgspec.Meta(min_length=2048, max_length=2048)]


class RecordIds(Request, tag="record-ids", frozen=True):
    """All record ids in these buckets, as the answer's body."""

    buckets: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=255)]], msgspec.Meta(max_length=256)]


class GetRecord(Request, tag="get-record", frozen=True):
    """One record's bytes, as the answer's body."""

    record_id: Digest


class PutRecord(Request, tag="put-record", frozen=True):
    """Keep this record (the body) durably."""

    length: Annotated[int, msgspec.Meta(ge=1, le=RECORD_BYTES_MAX)]


class RecordKept(Answer, tag="record-kept", frozen=True):
    """The record is durable here; `new` when it was not before."""

    new: bool


class Verify(Request, tag="verify", frozen=True):
    """Read these objects back and hash them; damaged ones go to quarantine."""

    ids: Annotated[bytes, msgspec.Meta(max_length=1024 * DIGEST_BYTES)]

    def __post_init__(self) -> None:
        _require_whole_ids(self.ids)


class Verified(Answer, tag="verified", frozen=True):
    """One byte per id, in order: 0 good, 1 absent, 2 damaged (and now in quarantine)."""

    states: Annotated[bytes, msgspec.Meta(max_length=1024)]


class GetStatus(Request, tag="get-status", frozen=True):
    """How are you?"""


class Status(Answer, tag="status", frozen=True):
    """How the node is: bytes are of objects, `bytes_free` with its reserve taken off."""

    node_id: NodeIdText
    name: NodeName
    software: Text
    running_s: Seconds
    objects: Count
    bytes_used: Count
    bytes_free: Count
    records: Count
    quarantined: Count
    damaged_total: Count
    pid: Count
    home: Annotated[str, msgspec.Meta(max_length=4096)]


class Join(Request, tag="join", frozen=True):
    """Admit me: the token's secret and a PKCS #10 request (DER) that proves my key. The only request that a peer
    without a certificate may make."""

    secret: Annotated[bytes, msgspec.Meta(max_length=64)]
    request: Annotated[bytes, msgspec.Meta(max_length=2048)]


class Admitted(Answer, tag="admitted", frozen=True):
    """My certificate under the cluster's authority; the member records follow by record exchange."""

    certificate: Annotated[bytes, msgspec.Meta(max_length=4096)]
    cluster_name: Text


AnyRequest: TypeAlias = (
    Ping | Have | Put | Get | PassOn | Commit | RecordDigests | RecordIds | GetRecord | PutRecord | Verify | GetStatus
    | Join
)  # fmt: skip
AnyAnswer: TypeAlias = (
    Pong | Holding | Stored | Sending | PassedOn | Committed | Digests | RecordKept | Verified | Status | Admitted
)  # fmt: skip


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """An error on its way to the peer: `code` is one of `roost.core.errors.BY_CODE`. Its bounds keep every trouble
    under 16 KiB, whatever characters it holds."""

    code: Annotated[str, msgspec.Meta(max_length=64)]
    message: Annotated[str, msgspec.Meta(max_length=2048)]
    hint: Annotated[str, msgspec.Meta(max_length=1024)] = ""


ANSWER_TO: Mapping[type[AnyRequest], type[AnyAnswer]] = MappingProxyType({
    Ping: Pong, Have: Holding, Put: Stored, Get: Sending, PassOn: PassedOn, Commit: Committed, RecordDigests: Digests,
    RecordIds: Sending, GetRecord: Sending, PutRecord: RecordKept, Verify: Verified, GetStatus: Status, Join: Admitted,
})  # fmt: skip
"""The one kind of answer that each kind of request has."""


def request_body_bytes(request: AnyRequest) -> int | None:
    """The length of the body that this request announces, or None when its kind has none."""
    return request.length if isinstance(request, Put | Commit | PutRecord) else None


def answer_body_bytes(answer: AnyAnswer) -> int | None:
    """The length of the body that follows this answer, or None when its kind has none."""
    return answer.length if isinstance(answer, Sending) else None


def answer_body_bytes_max(request: AnyRequest) -> int | None:
    """The longest body that may follow the answer to `request`, or None when it has none."""
    if isinstance(request, Get):
        return OBJECT_BYTES_MAX
    if isinstance(request, GetRecord):
        return RECORD_BYTES_MAX
    if isinstance(request, RecordIds):
        return RECORD_IDS_BODY_MAX
    return None


def join_ids(ids: "list[ObjectId] | list[RecordId]") -> bytes:
    """Ids as they travel."""
    return b"".join(ids)


def split_ids(joined: bytes) -> list[bytes]:
    """The ids that `join_ids` joined; ValueError when the length is not a multiple of 32."""
    if len(joined) % DIGEST_BYTES:
        raise ValueError("ids are not a multiple of 32 bytes")
    return [joined[i : i + DIGEST_BYTES] for i in range(0, len(joined), DIGEST_BYTES)]


def pack_bits(flags: list[bool]) -> bytes:
    """Flags as a bitmap, least significant bit first."""
    packed = bytearray((len(flags) + 7) // 8)
    for i, flag in enumerate(flags):
        if flag:
            packed[i >> 3] |= 1 << (i & 7)
    return bytes(packed)


def unpack_bits(packed: bytes, count: int) -> list[bool]:
    """The first `count` flags of a bitmap; ValueError when it has not exactly the bytes for them."""
    if len(packed) != (count + 7) // 8:
        raise ValueError("a bitmap of the wrong length")
    return [bool(packed[i >> 3] >> (i & 7) & 1) for i in range(count)]
