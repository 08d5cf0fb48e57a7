"""For any bytes the header parser answers or raises Failed, and it accepts what the real library accepts."""

import json
import struct
from typing import Any

import numpy as np
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from roost.codec.safetensors import header_length, parse_header
from roost.core.errors import Failed

DTYPES = [np.uint8, np.int16, np.float16, np.float32, np.float64, np.int64, np.bool_]
NUMBERS = st.one_of(st.integers(-2, 20), st.integers(), st.booleans(), st.floats(), st.none())
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["U8", "F32", "F4", "BF16", "", 3, None]),
        "shape": st.one_of(st.lists(NUMBERS, max_size=3), NUMBERS),
        "data_offsets": st.one_of(st.lists(NUMBERS, max_size=3), NUMBERS),
        "more": st.text(max_size=3),
    },
)


def accepts(header: bytes, *, file_bytes: int) -> bool:
    try:
        parsed = parse_header(header, file_bytes=file_bytes)
    except Failed:
        return False
    position = parsed.header_bytes
    for span in parsed.tensors:
        assert span.begin == position <= span.end
        position = span.end
    assert position == file_bytes
    return True


def library_accepts(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return False
    return True


@given(
    tensors=st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)),
        max_size=6,
    )
)
def test_what_the_library_writes_is_read(tensors: dict[str, tuple[Any, list[int]]]) -> None:
    data = save({name: np.zeros(shape, dtype) for name, (dtype, shape) in tensors.items()})
    length = header_length(data[:8])
    assert length is not None
    parsed = parse_header(data[:length], file_bytes=len(data))
    assert {s.name: s.end - s.begin for s in parsed.tensors} == {
        name: np.zeros(shape, dtype).nbytes for name, (dtype, shape) in tensors.items()
    }


@given(header=st.binary(max_size=200), file_bytes=st.integers(0, 400))
def test_any_bytes_are_answered_or_refused(header: bytes, file_bytes: int) -> None:
    header_length(header[:8])
    accepts(header, file_bytes=file_bytes)
    accepts(struct.pack("<Q", len(header)) + header, file_bytes=file_bytes)
    accepts(struct.pack("<Q", len(header) + 2) + b"{" + header + b"}", file_bytes=file_bytes)


@given(text=st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), st.one_of(ENTRIES, NUMBERS), max_size=3),
       data_bytes=st.integers(0, 24))  # fmt: skip
def test_any_json_is_answered_or_refused(text: dict[str, Any], data_bytes: int) -> None:
    encoded = json.dumps(text).encode()
    header = struct.pack("<Q", len(encoded)) + encoded
    accepts(header, file_bytes=len(header) + data_bytes)


@given(
    edges=st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 1), st.integers(-1, 1)), max_size=5),
    dtype=st.sampled_from(["U8", "F16", "F32", "F4", "F6_E2M3"]),
    more=st.integers(-1, 1),
)
def test_it_judges_sizes_and_offsets_as_the_library_does(
    edges: list[tuple[int, int, int]], dtype: str, more: int
) -> None:
    """Tensors nearly in place: each may be moved by a byte, or be a byte too long."""
    bits = {"U8": 8, "F16": 16, "F32": 32, "F4": 4, "F6_E2M3": 6}[dtype]
    entries: dict[str, Any] = {}
    position = 0
    for i, (elements, moved, longer) in enumerate(edges):
        begin = position + (moved if i % 3 == 2 else 0)
        end = begin + elements * bits // 8 + (longer if i % 2 else 0)
        entries[f"t{i}"] = {"dtype": dtype, "shape": [elements], "data_offsets": [begin, end]}
        position = max(0, end)
    encoded = json.dumps(entries).encode()
    header = struct.pack("<Q", len(encoded)) + encoded
    data = header + bytes(max(0, position + more))
    assert accepts(header, file_bytes=len(data)) == library_accepts(data)


@given(data=st.data())
def test_a_flipped_byte_never_raises_anything_else(data: st.DataObject) -> None:
    whole = bytearray(save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(5, np.uint8)}, metadata={"x": "y"}))
    length = header_length(bytes(whole[:8]))
    assert length is not None
    at = data.draw(st.integers(0, length - 1))
    whole[at] = data.draw(st.integers(0, 255))
    accepts(bytes(whole[:length]), file_bytes=len(whole))
