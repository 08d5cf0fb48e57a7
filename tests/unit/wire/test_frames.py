"""The header of a frame: every field that can be wrong is refused before anything is read or allocated."""

import struct

import pytest

from roost.core.errors import ProtocolError
from roost.wire.frames import PAYLOAD_BYTES, Header, Kind, RemoteProtocolError, pack_header, unpack_header


@pytest.mark.parametrize("kind", Kind)
def test_a_header_survives_the_trip_at_the_bounds_of_its_kind(kind: Kind) -> None:
    for length in PAYLOAD_BYTES[kind]:
        for request_id in (0,) if kind is Kind.HELLO else (1, 2**32 - 1):
            assert unpack_header(pack_header(kind, request_id, length)) == Header(kind, request_id, length)


def test_the_layout_is_the_documented_one() -> None:
    assert pack_header(Kind.DATA, 0x01020304, 0x00080000).hex() == "040000000102030400080000"


@pytest.mark.parametrize("kind", Kind)
def test_a_length_outside_the_bounds_of_its_kind_is_refused(kind: Kind) -> None:
    shortest, longest = PAYLOAD_BYTES[kind]
    for length in {longest + 1, 2**32 - 1, shortest - 1} - {-1}:
        with pytest.raises(RemoteProtocolError, match=kind.name):
            unpack_header(pack_header(kind, 0 if kind is Kind.HELLO else 1, length))


@pytest.mark.parametrize("number", [0, *range(10, 256)])
def test_an_unknown_kind_is_refused(number: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"unknown kind {number}"):
        unpack_header(struct.pack(">BBHII", number, 0, 0, 1, 0))


@pytest.mark.parametrize("bit", range(24))
def test_a_reserved_bit_is_refused(bit: int) -> None:
    with pytest.raises(RemoteProtocolError, match="reserved"):
        unpack_header(struct.pack(">II", Kind.PROCEED << 24 | 1 << bit, 1) + bytes(4))


@pytest.mark.parametrize("kind", Kind)
def test_only_hello_has_the_request_id_zero(kind: Kind) -> None:
    with pytest.raises(RemoteProtocolError, match="request id"):
        unpack_header(pack_header(kind, 1 if kind is Kind.HELLO else 0, PAYLOAD_BYTES[kind][1]))


def test_the_error_tells_whose_fault_it_is_and_what_to_do() -> None:
    with pytest.raises(ProtocolError) as raised:
        unpack_header(b"GET / HTTP/1")
    assert raised.value.code == "protocol"
    assert raised.value.hint
