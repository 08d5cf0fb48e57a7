"""The header parser against real safetensors files, and against every way a header can be wrong."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save

from roost.codec.safetensors import DTYPE_BITS, JSON_BYTES_MAX, header_length, parse_header
from roost.core.errors import Failed


def header_of(entries: dict[str, Any] | str | bytes) -> bytes:
    """The header bytes of a file, from JSON or from text that need not be JSON."""
    text = json.dumps(entries) if isinstance(entries, dict) else entries
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded)) + encoded


def tensor(begin: int, end: int, *, dtype: str = "U8", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def refused(header: bytes, *, data_bytes: int = 0) -> str:
    with pytest.raises(Failed) as caught:
        parse_header(header, file_bytes=len(header) + data_bytes)
    assert caught.value.hint
    return caught.value.message


def test_a_real_file_reads_as_the_library_reads_it() -> None:
    tensors: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
        "model.embed": np.arange(300, dtype=np.float32).reshape(30, 10),
        "model.norm": np.ones(7, np.float16),
        "step": np.array(3, np.int64),
        "empty": np.zeros((0, 4), np.uint8),
        "imaginary": np.zeros(3, np.complex64),
        "größe": np.zeros((2, 2), np.bool_),
    }
    data = save(tensors, metadata={"format": "np"})
    length = header_length(data[:8])
    assert length is not None
    header = parse_header(data[:length], file_bytes=len(data))
    assert header.header_bytes == length
    assert {span.name: data[span.begin : span.end] for span in header.tensors} == {
        name: array.tobytes() for name, array in tensors.items()
    }
    assert [span.begin for span in header.tensors] == sorted(span.begin for span in header.tensors)
    assert header.tensors[-1].end == len(data)
    assert parse_header(memoryview(data)[:length], file_bytes=len(data)) == header


def test_a_file_without_tensors_is_valid() -> None:
    header = header_of("{}")
    assert parse_header(header, file_bytes=len(header)).tensors == ()
    padded = header_of('{"__metadata__":{"a":"b"}}      ')
    assert parse_header(padded, file_bytes=len(padded)).tensors == ()


def test_every_dtype_has_the_size_that_the_library_gives_it() -> None:
    for dtype, bits in DTYPE_BITS.items():
        header = header_of({"t": tensor(0, bits, dtype=dtype, shape=[2, 4])})
        parse_header(header, file_bytes=len(header) + bits)
        safetensors.deserialize(header + bytes(bits))  # type: ignore[no-untyped-call]
        assert "dtype and shape" in refused(
            header_of({"t": tensor(0, bits + 1, dtype=dtype, shape=[2, 4])}), data_bytes=bits + 1
        )


def test_an_unknown_dtype_keeps_its_edges() -> None:
    header = header_of({"t": tensor(0, 5, dtype="F5_NEW", shape=[8]), "u": tensor(5, 7)})
    spans = parse_header(header, file_bytes=len(header) + 7).tensors
    assert [(s.dtype, s.end - s.begin) for s in spans] == [("F5_NEW", 5), ("U8", 2)]


def test_header_length() -> None:
    assert header_length(struct.pack("<Q", 2)) == 10
    assert header_length(struct.pack("<Q", JSON_BYTES_MAX)) == 8 + JSON_BYTES_MAX
    for json_bytes in (0, 1, JSON_BYTES_MAX + 1, 2**64 - 1):
        assert header_length(struct.pack("<Q", json_bytes)) is None
    assert header_length(b"") is None
    assert header_length(bytes(7)) is None


def test_a_header_that_does_not_fit_is_refused() -> None:
    good = header_of({"t": tensor(0, 4)})
    assert "longer than the file" in refused_at(good, file_bytes=len(good) - 1)
    assert "bytes long, not" in refused(good[:-1], data_bytes=5)
    assert "bytes long, not" in refused(good + b" ", data_bytes=3)
    assert "length of a header" in refused(struct.pack("<Q", JSON_BYTES_MAX + 1) + b"{}")
    assert "length of a header" in refused(b"")


def refused_at(header: bytes, *, file_bytes: int) -> str:
    with pytest.raises(Failed) as caught:
        parse_header(header, file_bytes=file_bytes)
    return caught.value.message


@pytest.mark.parametrize(
    ("entries", "data_bytes", "why"),
    [
        ({"a": tensor(0, 4), "b": tensor(3, 6)}, 6, "overlaps"),
        ({"a": tensor(0, 4), "b": tensor(0, 4)}, 4, "overlaps"),
        ({"a": tensor(0, 4), "b": tensor(5, 6)}, 6, "hole"),
        ({"a": tensor(1, 4)}, 4, "hole"),
        ({"a": tensor(0, 4)}, 5, "end at byte"),
        ({"a": tensor(0, 4)}, 3, "end at byte"),
        ({}, 1, "end at byte"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 0]}}, 4, "ends before"),
        ({"a": tensor(0, 4, shape=[5])}, 4, "dtype and shape"),
        ({"a": tensor(0, 4, shape=[])}, 4, "dtype and shape"),
        ({"a": tensor(0, 4, dtype="F16", shape=[4])}, 4, "dtype and shape"),
        ({"a": tensor(0, 4, dtype="F4", shape=[7])}, 4, "end at a byte"),
        ({"a": tensor(0, 0, shape=[2**62, 4, 0])}, 0, "more elements"),
        ({"a": tensor(0, 4, shape=[2**64])}, 4, "shape"),
        ({"a": tensor(0, 4, shape=[-4])}, 4, "shape"),
        ({"a": tensor(0, 1, shape=[True])}, 1, "shape"),
        ({"a": tensor(0, 4, shape=[4.0])}, 4, "shape"),
        ({"a": {"dtype": "U8", "shape": 4, "data_offsets": [0, 4]}}, 4, "shape"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]}}, 4, "data_offsets"),
        ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [False, True]}}, 1, "data_offsets"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0.0, 4.0]}}, 4, "data_offsets"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0]}}, 4, "data_offsets"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 4]}}, 4, "data_offsets"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 2**70]}}, 4, "data_offsets"),
        ({"a": {"dtype": "U8", "shape": [4]}}, 4, "data_offsets"),
        ({"a": {"shape": [4], "data_offsets": [0, 4]}}, 4, "dtype"),
        ({"a": {"dtype": 8, "shape": [4], "data_offsets": [0, 4]}}, 4, "dtype"),
        ({"a": tensor(0, 4, dtype="../u8")}, 4, "dtype"),
        ({"a": [0, 4]}, 4, "object"),
        ({"a": None}, 4, "object"),
        ({"__metadata__": {"a": 1}}, 0, "__metadata__"),
        ({"__metadata__": ["a"]}, 0, "__metadata__"),
        ({"__metadata__": {"a": {"b": "c"}}}, 0, "__metadata__"),
    ],
)
def test_what_disagrees_with_itself_is_refused(entries: dict[str, Any], data_bytes: int, why: str) -> None:
    assert why in refused(header_of(entries), data_bytes=data_bytes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
         "twice"),
        ('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "twice"),
        ('{"__metadata__":{"a":"1","a":"2"}}', "twice"),
        ('{"a":NaN}', "NaN"),
        ('{"a":-Infinity}', "Infinity"),
        ('{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "Unicode"),
        (b'{"\xff":1}', "not JSON"),
        ("{}".encode("utf-16"), "begin with"),
        (b"\xef\xbb\xbf{}", "begin with"),
        (" {}", "begin with"),
        ("[]", "begin with"),
        ("{} {}", "not JSON"),
        ("{}\x00\x00", "not JSON"),
        ('{"a\n":1}', "not JSON"),
        ('{"a":', "not JSON"),
        ('{"a":{"dtype":"U8","shape":[' + "9" * 5000 + '],"data_offsets":[0,0]}}', "not JSON"),
        ('{"a":' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        ('{"a":' * 200_000 + "1" + "}" * 200_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(text: str | bytes, why: str) -> None:
    assert why in refused(header_of(text))


def test_a_long_list_of_large_dimensions_costs_nothing() -> None:
    header = header_of({"a": tensor(0, 4, shape=[2**62] * 100_000)})
    assert "more elements" in refused(header, data_bytes=4)
