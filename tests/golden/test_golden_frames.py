"""Every frame of protocol 1, byte for byte: what was once written stays readable, and is written the same today."""

from pathlib import Path

import msgspec
import pytest

from roost.wire.frames import HEADER_BYTES, Kind, unpack_header
from roost.wire.messages import AnyAnswer, AnyRequest, Hello, Trouble
from wire_specimens import Specimen, specimens

HERE = Path(__file__).parent
TYPES: dict[Kind, object] = {
    Kind.HELLO: Hello,
    Kind.REQUEST: AnyRequest,
    Kind.ANSWER: AnyAnswer,
    Kind.ERROR: Trouble,
    Kind.END: Trouble,
}


@pytest.mark.parametrize("specimen", specimens(), ids=lambda s: s.name)
def test_golden_frame(specimen: Specimen, request: pytest.FixtureRequest) -> None:
    path = HERE / f"frame_{specimen.name}.bin"
    if request.config.getoption("--rewrite-golden"):
        path.write_bytes(specimen.data)
    golden = path.read_bytes()
    assert golden == specimen.data
    header = unpack_header(golden[:HEADER_BYTES])
    payload = golden[HEADER_BYTES:]
    assert header.kind is specimen.kind
    assert header.length == len(payload)
    if specimen.kind in TYPES and payload:
        decoded = msgspec.msgpack.decode(payload, type=TYPES[specimen.kind])
        assert msgspec.msgpack.encode(decoded) == payload


def test_there_is_no_golden_frame_without_a_specimen() -> None:
    assert {path.name for path in HERE.glob("frame_*.bin")} == {f"frame_{s.name}.bin" for s in specimens()}
