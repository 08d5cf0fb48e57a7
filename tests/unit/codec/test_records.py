"""Records as bytes: kinds, canonical form, refusals, and what a member signs."""

import msgspec
import pytest

from record_specimens import GOOD, MANIFEST, MEMBER, TOMBSTONE, replaced, write
from roost.codec.manifest import Manifest
from roost.codec.records import (
    MemberRecord,
    Record,
    Tombstone,
    decode_record,
    encode_record,
    kind_of,
    member_signing_bytes,
)
from roost.core.errors import Damaged, Failed, Unsupported


@pytest.mark.parametrize("record", GOOD.values(), ids=lambda record: kind_of(type(record)))
def test_a_record_goes_there_and_back(record: Record) -> None:
    data = encode_record(record)
    assert decode_record(data) == record
    assert decode_record(memoryview(data)) == record
    assert encode_record(decode_record(data)) == data


def test_kinds_by_class() -> None:
    assert [kind_of(kind) for kind in (Manifest, Tombstone, MemberRecord)] == ["manifest", "tombstone", "member"]


@pytest.mark.parametrize("record", GOOD.values(), ids=lambda record: kind_of(type(record)))
def test_kind_and_format_stand_first(record: Record) -> None:
    kind = kind_of(type(record)).encode()
    head = b"\xa4kind" + bytes([0xA0 + len(kind)]) + kind + b"\xa6format\x01"
    assert encode_record(record)[1:].startswith(head)


@pytest.mark.parametrize("record", GOOD.values(), ids=lambda record: kind_of(type(record)))
def test_every_beginning_of_a_record_is_damaged(record: Record) -> None:
    data = encode_record(record)
    for length in range(len(data)):
        with pytest.raises(Damaged):
            decode_record(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        write({"kind": "pin", "format": 1}),
        write({"kind": "manifest", "format": 2, "anything": [1, {"a": 2}]}),
        write({"kind": "sealed-authority", "format": 9, **{f"field{i:02}": i for i in range(40)}}),
    ],
)
def test_records_of_a_newer_release_are_unsupported_and_say_what_to_do(data: bytes) -> None:
    with pytest.raises(Unsupported) as raised:
        decode_record(data)
    assert "update Roost" in raised.value.hint


def test_deep_and_huge_claims_cost_nothing() -> None:
    head = encode_record(TOMBSTONE)[: -len(b"\xa2at\xce....")]
    for claim in (b"\x91" * 50_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        with pytest.raises(Damaged):
            decode_record(head + b"\xa2at" + claim)
    files = write(MANIFEST).index(b"\xa5files") + len(b"\xa5files")
    for claim in (b"\xdd\xff\xff\xff\xff", b"\xdd\x00\x0f\x42\x40", b"\x91" * 50_000):
        with pytest.raises(Damaged):
            decode_record(write(MANIFEST)[:files] + claim)


def test_a_small_record_may_not_be_large() -> None:
    with pytest.raises(Damaged, match="longer than 65,536"):
        decode_record(encode_record(TOMBSTONE) + bytes(70_000))


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (msgspec.structs.replace(TOMBSTONE, manifest=b""), "not a record id"),
        (msgspec.structs.replace(TOMBSTONE, format=2), "format is 2"),
        (msgspec.structs.replace(MEMBER, signature=b""), "signature"),
        (msgspec.structs.replace(MEMBER, addresses=["x"]), "not an address"),
        (msgspec.structs.replace(MANIFEST, tree=bytes(32)), "tree digest"),
        (msgspec.structs.replace(MANIFEST, source="\udcff"), "UTF-8"),
    ],
)
def test_what_could_not_be_read_is_not_written(record: Record, says: str) -> None:
    with pytest.raises(Failed, match=says):
        encode_record(record)


def test_the_signature_covers_everything_but_itself() -> None:
    signed = member_signing_bytes(MEMBER)
    assert member_signing_bytes(MEMBER.signed(bytes(64))) == signed
    changes = {
        "node_id": "f" * 32,
        "seq": 4,
        "name": "other",
        "machine": "0" * 32,
        "capacity": 1,
        "addresses": ["10.0.0.1:1"],
        "storage": False,
        "certificate": b"other",
    }
    assert set(changes) | {"format", "signature"} == set(MEMBER.__struct_fields__)
    for field, value in changes.items():
        assert member_signing_bytes(msgspec.structs.replace(MEMBER, **{field: value})) != signed, field


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:7400", "pi.local:7400", "ノード.local:7400"]
)
def test_addresses_that_a_member_may_have(address: str) -> None:
    record = msgspec.structs.replace(MEMBER, addresses=[address])
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("address", ["", ":1", "h", "h:", "h:0", "h:65536", "h:+1", "h:01", "::1:80", "[h]:1", "h\n:1"])
def test_addresses_that_no_member_may_have(address: str) -> None:
    with pytest.raises(Damaged, match="is not an address"):
        decode_record(replaced(MEMBER, addresses=[address]))
