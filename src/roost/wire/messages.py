"""Every message that two peers exchange, as msgspec structs: what is asked, what is answered, and how large it may be.

A request may announce a body and so may an answer; a body's length is always known in advance and bounded by
`request_body_bytes` and `answer_body_bytes_max`. Kinds that this release does not know do not decode, and are errors.
What a type's bounds cannot say (whole ids, versions in order) its `__post_init__` checks, also while decoding.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

import msgspec

from roost.core.checkpoint import MANIFEST_BYTES_MAX
from roost.core.ids import DIGEST_BYTES
from roost.wire.admission import Admitted, Join, Pair, Paired, Prove, Proved, Recover, Sealed
from roost.wire.fields import (
    IDS_MAX,
    OBJECT_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORD_IDS_BODY_MAX,
    Answer,
    Count,
    Digest,
    Ids,
    NodeIdText,
    NodeName,
    NodeSeen,
    Request,
    Seconds,
    Text,
    require_whole_ids,
)
from roost.wire.observing import METRICS_BYTES_MAX, GetMetrics, Report, Reported

PROTOCOL = 1
PROTOCOL_MIN = 1

Formats: TypeAlias = Annotated[dict[Annotated[str, msgspec.Meta(max_length=32)], Count], msgspec.Meta(max_length=64)]


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The first frame in each direction. `cluster` is the SHA-256 of the authority's certificate (empty when a joiner
    has none yet); `authority` is that certificate, sent only to a joiner, who checks it against its token's hash.
    `instance` is drawn anew by each process that serves as a node; empty for all others. `formats` tells the newest
    format of each kind of durable thing (``record``, ``manifest``) that is read and written; older releases do not."""

    protocol: Count
    protocol_min: Count
    software: Text
    cluster: Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
    authority: Annotated[bytes, msgspec.Meta(max_length=4096)] = b""
    instance: Annotated[bytes, msgspec.Meta(max_length=16)] = b""
    formats: Formats | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.protocol_min > self.protocol:
            raise ValueError("the oldest protocol spoken is newer than the newest")
        if len(self.cluster) not in (0, DIGEST_BYTES):
            raise ValueError(f"a cluster's digest has {DIGEST_BYTES} bytes")


class Ping(Request, tag="ping", frozen=True):
    """Are you there?"""


class Pong(Answer, tag="pong", frozen=True):
    """I am here, and have been for so many seconds. `damaged_total` counts the bad copies found meanwhile; `trouble`
    says why I should be given nothing to keep; empty when I am well."""

    running_s: Seconds
    damaged_total: Count = 0
    trouble: Text = ""


class GetNodes(Request, tag="get-nodes", frozen=True):
    """How do the storage members stand, as far as you know?"""


class Nodes(Answer, tag="nodes", frozen=True):
    """Every storage member, sorted by its id."""

    seen: Annotated[list[NodeSeen], msgspec.Meta(max_length=2048)]


class Have(Request, tag="have", frozen=True):
    """Which of these objects are here, whole as far as the file system knows? With `reserve`, those that are stay for
    an hour of the node's running time even if nothing names them."""

    ids: Ids
    reserve: bool = False

    def __post_init__(self) -> None:
        require_whole_ids(self.ids)


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
        require_whole_ids(self.ids)


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
        require_whole_ids(self.missing)


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
        require_whole_ids(self.ids)


class Verified(Answer, tag="verified", frozen=True):
    """One byte per id, in order: 0 good, 1 absent, 2 damaged (and now in quarantine)."""

    states: Annotated[bytes, msgspec.Meta(max_length=1024)]


class GetVerified(Request, tag="get-verified", frozen=True):
    """When did you last find your copies of these objects good?"""

    ids: Ids

    def __post_init__(self) -> None:
        require_whole_ids(self.ids)


class LastVerified(Answer, tag="last-verified", frozen=True):
    """Per id, in order: Unix seconds (by the node's clock) when the copy was last whole, read or written; 0 when it is
    not here."""

    times: Annotated[list[Count], msgspec.Meta(max_length=IDS_MAX)]


class Scrub(Request, tag="scrub", frozen=True):
    """Read your objects with ids above `after` back, in order, for some `seconds`; before the first (`after` is empty)
    all records too. Damaged ones go to quarantine."""

    after: Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=60)]

    def __post_init__(self) -> None:
        if len(self.after) not in (0, DIGEST_BYTES):
            raise ValueError(f"a place in a scrub is an id of {DIGEST_BYTES} bytes")


class Scrubbed(Answer, tag="scrubbed", frozen=True):
    """How far it came: the last id that was read; empty when all were. `damaged` holds the ids (of objects and records)
    that were not good, up to 1,024."""

    reached: Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)]
    damaged: Annotated[bytes, msgspec.Meta(max_length=1024 * DIGEST_BYTES)]
    objects: Count
    bytes: Count


class GetAges(Request, tag="get-ages", frozen=True):
    """How long have you known these records?"""

    ids: Ids

    def __post_init__(self) -> None:
        require_whole_ids(self.ids)


class Ages(Answer, tag="ages", frozen=True):
    """Per id, in order: seconds of the node's running time since it first had the record; 0 when it has not."""

    seconds: Annotated[list[Count], msgspec.Meta(max_length=IDS_MAX)]


class Keep(Request, tag="keep", frozen=True):
    """You belong to those who should have these objects, by the view with digest `view`, and these live manifests name
    them: do you hold them all, and will you keep them for an hour? I am about to drop my copies."""

    ids: Annotated[bytes, msgspec.Meta(max_length=1024 * DIGEST_BYTES)]
    manifests: Annotated[bytes, msgspec.Meta(max_length=1024 * DIGEST_BYTES)]
    view: Digest

    def __post_init__(self) -> None:
        require_whole_ids(self.ids)
        require_whole_ids(self.manifests)


class Keeping(Answer, tag="keeping", frozen=True):
    """Bit i: the i-th id asked for is here, whole as far as the file system knows, named by a live manifest that is
    here durably, and stays for an hour of running time. No bit is set when the view is another one."""

    kept: Annotated[bytes, msgspec.Meta(max_length=128)]


class Collect(Request, tag="collect", frozen=True):
    """Free what nothing needs any more, now; with `dry_run` only say what that would be."""

    dry_run: bool = False


class Collected(Answer, tag="collected", frozen=True):
    """What was (or would be) freed; `waiting` says in words what has to wait and why, `blocked` why nothing at all
    could be freed; empty when it could."""

    objects: Count
    bytes: Count
    waiting: Annotated[list[Text], msgspec.Meta(max_length=16)]
    blocked: Text


class GetStatus(Request, tag="get-status", frozen=True):
    """How are you?"""


class Status(Answer, tag="status", frozen=True):
    """How the node is: bytes are of objects, `bytes_free` with its reserve taken off; `trouble` why it should be given
    nothing; `scrub` and `collection` how these stand, in words."""

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
    trouble: Text = ""
    scrub: Text = ""
    collection: Text = ""


class GetClock(Request, tag="get-clock", frozen=True):
    """What does your clock say?"""


class Clock(Answer, tag="clock", frozen=True):
    """The machine's clock, in seconds since 1970. It may be wrong, and decides nothing."""

    wall_s: Seconds


AnyRequest: TypeAlias = (
    Ping | Have | Put | Get | PassOn | Commit | RecordDigests | RecordIds | GetRecord | PutRecord | Verify | GetStatus
    | Join | GetNodes | GetVerified | Scrub | GetAges | Keep | Collect | Recover | Pair | Prove
    | GetClock | GetMetrics | Report
)  # fmt: skip
AnyAnswer: TypeAlias = (
    Pong | Holding | Stored | Sending | PassedOn | Committed | Digests | RecordKept | Verified | Status | Admitted
    | Nodes | LastVerified | Scrubbed | Ages | Keeping | Collected | Sealed | Paired | Proved
    | Clock | Reported
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
    GetNodes: Nodes, GetVerified: LastVerified, Scrub: Scrubbed, GetAges: Ages, Keep: Keeping, Collect: Collected,
    Recover: Sealed, Pair: Paired, Prove: Proved, GetClock: Clock, GetMetrics: Sending, Report: Reported,
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
    if isinstance(request, GetMetrics):
        return METRICS_BYTES_MAX
    return None
