"""One frame: its twelve bytes of header, its kinds, and how long the payload of each kind may be.

The header is big-endian and carries everything that is needed to refuse a frame before a byte is allocated for it:

    offset  bytes  field
    0       1      kind (`Kind`)
    1       1      flags, zero in protocol 1
    2       2      reserved, zero
    4       4      request id (zero in HELLO)
    8       4      length of the payload that follows

A frame is whole or nothing: the payload of a message is one msgpack value without trailing bytes.
"""

import enum
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from roost.core.errors import ProtocolError

HEADER_BYTES = 12
DATA_BYTES_MAX = 1024 * 1024
"""One DATA frame; also the longest payload of any kind."""
MESSAGE_BYTES_MAX = 1024 * 1024
"""One request or answer of an admitted peer."""
GREETING_BYTES_MAX = 16 * 1024
"""A HELLO, a trouble, and anything at all that is received from or by a peer that is not admitted yet."""
BUSY_BYTES = 8
REQUEST_ID_MAX = 2**32 - 1

_HEADER = struct.Struct(">BBHII")
_PROGRESS = struct.Struct(">Q")


class RemoteProtocolError(ProtocolError):
    """The peer did what the protocol forbids. The connection is of no further use: drop it."""


class LocalProtocolError(RuntimeError):
    """This side is about to do what the protocol forbids: a mistake of ours. Nothing was sent or changed."""


class Kind(enum.IntEnum):
    """What a frame is for."""

    HELLO = 1
    REQUEST = 2
    PROCEED = 3
    DATA = 4
    END = 5
    ANSWER = 6
    BUSY = 7
    ERROR = 8
    CANCEL = 9


PAYLOAD_BYTES: Mapping[Kind, tuple[int, int]] = MappingProxyType({
    Kind.HELLO: (1, GREETING_BYTES_MAX),
    Kind.REQUEST: (1, MESSAGE_BYTES_MAX),
    Kind.PROCEED: (0, 0),
    Kind.DATA: (1, DATA_BYTES_MAX),
    Kind.END: (0, GREETING_BYTES_MAX),
    Kind.ANSWER: (1, MESSAGE_BYTES_MAX),
    Kind.BUSY: (BUSY_BYTES, BUSY_BYTES),
    Kind.ERROR: (1, GREETING_BYTES_MAX),
    Kind.CANCEL: (0, 0),
})  # fmt: skip
"""The shortest and the longest payload of each kind."""

_KINDS = {int(kind): (kind, *PAYLOAD_BYTES[kind]) for kind in Kind}


class Header(NamedTuple):
    """A header that has passed every check that needs no memory of earlier frames."""

    kind: Kind
    request_id: int
    length: int


def pack_header(kind: Kind, request_id: int, length: int) -> bytes:
    """The twelve bytes. The caller has checked the values against `PAYLOAD_BYTES` and `REQUEST_ID_MAX`."""
    return _HEADER.pack(kind, 0, 0, request_id, length)


def unpack_header(data: bytes | bytearray | memoryview) -> Header:
    """The header in exactly `HEADER_BYTES` bytes.

    Raises RemoteProtocolError for an unknown kind, a reserved field that is not zero, a length that the kind does not
    allow, or a request id that is zero outside HELLO (or not zero in it).
    """
    number, flags, reserved, request_id, length = _HEADER.unpack(data)
    known = _KINDS.get(number)
    if known is None:
        raise violation(f"a frame of the unknown kind {number}")
    kind, shortest, longest = known
    if flags or reserved:
        raise violation(f"{kind.name} with reserved bits set")
    if not shortest <= length <= longest:
        raise violation(f"{kind.name} of {length} bytes, allowed are {shortest} to {longest}")
    if (request_id == 0) is not (kind is Kind.HELLO):
        raise violation(f"{kind.name} with request id {request_id}")
    return Header(kind, request_id, length)


def pack_progress(progress: int) -> bytes:
    """The payload of BUSY: a counter of 8 bytes."""
    return _PROGRESS.pack(progress)


def unpack_progress(data: bytes | bytearray | memoryview) -> int:
    """The counter in exactly `BUSY_BYTES` bytes."""
    progress: int = _PROGRESS.unpack(data)[0]
    return progress


def violation(what: str) -> RemoteProtocolError:
    """The error for a peer that sent `what`."""
    return RemoteProtocolError(
        f"the peer sent {what}", hint="run the same release of roost on both machines; see: roost nodes"
    )
