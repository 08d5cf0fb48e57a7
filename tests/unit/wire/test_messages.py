"""The messages: what each announces, what answers it, and what of them the document tells."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from roost.core.ids import ObjectId
from roost.wire.fields import join_ids, pack_bits, split_ids, unpack_bits
from roost.wire.messages import (
    ANSWER_TO,
    AnyAnswer,
    AnyRequest,
    Hello,
    PassOn,
    Pong,
    Put,
    answer_body_bytes,
    answer_body_bytes_max,
    request_body_bytes,
)
from wire_specimens import ANSWERS, NODE, REQUESTS, A, B


def test_every_request_has_its_answer() -> None:
    assert set(ANSWER_TO) == set(get_args(AnyRequest))
    assert set(ANSWER_TO.values()) == set(get_args(AnyAnswer))


def test_no_request_has_a_body_both_ways_and_bodies_follow_where_they_may() -> None:
    for request in REQUESTS.values():
        assert request_body_bytes(request) is None or answer_body_bytes_max(request) is None
        sends = any(answer_body_bytes(a) is not None for a in ANSWERS.values() if type(a) is ANSWER_TO[type(request)])
        assert sends is (answer_body_bytes_max(request) is not None)


def test_there_is_a_specimen_of_every_message_under_its_tag() -> None:
    assert {type(r) for r in REQUESTS.values()} == set(get_args(AnyRequest))
    assert {type(a) for a in ANSWERS.values()} == set(get_args(AnyAnswer))
    for tag, message in (REQUESTS | ANSWERS).items():
        assert message.__struct_config__.tag == tag


def test_the_document_tells_of_every_message_and_its_fields() -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if line.startswith("| `")}
    for tag, message in (REQUESTS | ANSWERS).items():
        for field in message.__struct_fields__:
            if field != "operation":  # of every request, so it is told once
                assert f"`{field}`" in rows[tag], (tag, field)
    for field in Hello.__struct_fields__:
        assert f"| `{field}`" in text


def test_ids_are_whole_or_refused() -> None:
    assert split_ids(join_ids([ObjectId(A), ObjectId(B)])) == [A, B]
    with pytest.raises(ValueError, match="multiple"):
        split_ids(A[1:])
    with pytest.raises(ValueError, match="multiple"):
        PassOn(A[1:], NODE)


def test_bitmaps_have_exactly_their_bits() -> None:
    flags = [True, False, False, True, False, False, False, False, True]
    assert pack_bits(flags) == b"\x09\x01"
    assert unpack_bits(pack_bits(flags), 9) == flags
    assert unpack_bits(b"", 0) == []
    with pytest.raises(ValueError, match="length"):
        unpack_bits(b"\x00\x00", 8)


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_time_is_not_negative_and_is_a_number(value: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Pong(value)), type=Pong)


def test_a_put_of_more_than_an_object_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Put(A, 2**40)), type=Put)
