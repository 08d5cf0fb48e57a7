"""The header of a safetensors file, read without torch and checked as strictly as the format asks.

Source of the format: huggingface/safetensors, README "Format" and the checks of its `tensor.rs`. A file is 8 bytes
with the little-endian length N of the JSON header, the header, and the tensors' bytes without holes or overlaps up to
the end of the file. Keys must not repeat, so that two readers never see two different files.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from roost.core.errors import Failed

LENGTH_BYTES = 8
JSON_BYTES_MAX = 100_000_000
"""The longest JSON header that the format allows."""
_COUNT_MAX = 2**63 - 1
_DTYPE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")

DTYPE_BITS: dict[str, int] = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits an element, for every dtype of safetensors 0.8."""


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """Where one tensor lies: bytes `begin` (counted from the start of the file) up to `end`, which is not included. Its
    elements are in C order, little-endian."""

    name: str
    dtype: str
    begin: int
    end: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a valid header says: its own length (the 8 length bytes included) and the tensors in file order, which
    follow it without a hole up to the end of the file."""

    header_bytes: int
    tensors: tuple[TensorSpan, ...]


class _Invalid(ValueError):
    """Why a header is not valid, as the end of a sentence that begins with the file."""


def header_length(first8: bytes | memoryview) -> int | None:
    """The bytes that the header takes from the start of the file, the 8 length bytes included; None when `first8`
    cannot begin a safetensors file."""
    if len(first8) != LENGTH_BYTES:
        return None
    json_bytes = int.from_bytes(first8, "little")
    return LENGTH_BYTES + json_bytes if 2 <= json_bytes <= JSON_BYTES_MAX else None


def parse_header(header: bytes | memoryview, *, file_bytes: int) -> SafetensorsHeader:
    """The header whose bytes, from the start of the file, are `header`, of a file of `file_bytes` bytes.

    Failed, and nothing else, when the file is not a valid safetensors file. A dtype that this release does not know is
    taken as it is: its offsets are checked, its size against the shape is not.
    """
    try:
        return _parse(header, file_bytes)
    except _Invalid as problem:
        raise Failed(
            f"not a valid safetensors file: {problem}",
            hint="the file may still be being written, or is cut short: try again later or write it again",
        ) from None


def _parse(header: bytes | memoryview, file_bytes: int) -> SafetensorsHeader:
    length = header_length(header[:LENGTH_BYTES])
    if length is None:
        raise _Invalid("its first 8 bytes are not the length of a header")
    if length > file_bytes:
        raise _Invalid(f"its header of {length} bytes is longer than the file of {file_bytes}")
    if length != len(header):
        raise _Invalid(f"its header is {length} bytes long, not {len(header)}")
    entries = _read_json(bytes(header[LENGTH_BYTES:]))
    _check_metadata(entries.pop("__metadata__", None))
    spans = [_tensor_span(name, entry, length) for name, entry in entries.items()]
    spans.sort(key=lambda span: (span.begin, span.end, span.name))
    position = length
    for span in spans:
        if span.begin != position:
            what = "overlaps what is before it" if span.begin < position else "leaves a hole before it"
            raise _Invalid(f"tensor {span.name[:120]!r} {what}")
        position = span.end
    if position != file_bytes:
        raise _Invalid(f"its tensors end at byte {position}, the file at {file_bytes}")
    return SafetensorsHeader(header_bytes=length, tensors=tuple(spans))


def _read_json(encoded: bytes) -> dict[str, Any]:
    if not encoded.startswith(b"{"):
        raise _Invalid("its header does not begin with '{'")
    try:
        value = json.loads(encoded.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except _Invalid:
        raise
    except RecursionError:
        raise _Invalid("its header is nested too deeply") from None
    except ValueError as problem:
        raise _Invalid(f"its header is not JSON ({str(problem)[:120]})") from None
    assert isinstance(value, dict)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Invalid("a key of its header is there twice")
    return found


def _constant(text: str) -> None:
    raise _Invalid(f"its header holds {text}, which is not JSON")


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Invalid("its __metadata__ does not map text to text")


def _tensor_span(name: str, entry: object, data_begin: int) -> TensorSpan:
    label = f"tensor {name[:120]!r}"
    if not _is_unicode(name):
        raise _Invalid(f"the name of {label} is not valid Unicode")
    if not isinstance(entry, dict):
        raise _Invalid(f"{label} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _DTYPE_NAME.match(dtype):
        raise _Invalid(f"{label} has no sensible dtype")
    if not isinstance(shape, list) or not all(_is_count(n) for n in shape):
        raise _Invalid(f"{label} has no sensible shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(n) for n in offsets):
        raise _Invalid(f"{label} has no sensible data_offsets")
    begin, end = offsets
    if end < begin:
        raise _Invalid(f"{label} ends before it begins")
    expected = _bytes_of(dtype, shape, label)
    if expected is not None and expected != end - begin:
        raise _Invalid(f"{label} takes {end - begin} bytes, but its dtype and shape ask for {expected}")
    return TensorSpan(name, dtype, data_begin + begin, data_begin + end, tuple(shape))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _COUNT_MAX


def _bytes_of(dtype: str, shape: list[int], label: str) -> int | None:
    """The bytes of a tensor, None for an unknown dtype. The product is bounded at every step, so that a long list of
    large dimensions costs nothing."""
    count = 1
    for dimension in shape:
        count *= dimension
        if count > _COUNT_MAX:
            raise _Invalid(f"{label} has more elements than any file")
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        return None
    if count * bits % 8:
        raise _Invalid(f"{label} does not end at a byte")
    return count * bits // 8
