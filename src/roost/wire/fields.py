"""What messages are made of: the bounded types of their fields, and how ids and flags are packed.

Ids travel as concatenated 32-byte digests, sets of them as bitmaps (bit i, least significant first, in byte i // 8).
"""

from typing import Annotated, TypeAlias

import msgspec

from roost.core.checkpoint import CHUNK_BYTES_MAX, MANIFEST_BYTES_MAX
from roost.core.ids import DIGEST_BYTES, ObjectId, RecordId

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


def require_whole_ids(ids: bytes) -> None:
    """ValueError unless `ids` is made of whole digests."""
    if len(ids) % DIGEST_BYTES:
        raise ValueError(f"ids are not a multiple of {DIGEST_BYTES} bytes")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a client asks of a server. `operation` is the id of what it is asked for, so that one store or gather can be
    followed through the logs of all machines; absent where there is none."""

    operation: Annotated[bytes, msgspec.Meta(max_length=16)] | msgspec.UnsetType = msgspec.UNSET


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a server says in the end."""


class NodeSeen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """How one node stands in another's eyes. `state` is a `roost.core.cluster.NodeState`; `heard_s` how many seconds
    ago it was last heard of, -1 when never; `address` where it last answered, or empty; `trouble` what is wrong with
    it, in words."""

    node_id: NodeIdText
    state: Text
    heard_s: float
    address: Text
    trouble: Text


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
