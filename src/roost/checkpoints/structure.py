"""What the bytes of one file say of themselves: whole, torn, or nothing. Pure; the file is reached through `read`.

Only headers and directories are read, never a tensor, and nothing is ever unpickled.
"""

import enum
import json
from dataclasses import dataclass

from roost.codec import gguf, hdf5
from roost.codec.reading import Read
from roost.codec.safetensors import JSON_BYTES_MAX, LENGTH_BYTES, header_length, parse_header
from roost.codec.torchzip import member_spans
from roost.core.errors import Failed

JSON_FILE_BYTES_MAX = 64 * 1024 * 1024


class State(enum.StrEnum):
    """Whether a file is all that its format says it should be; unknown where the format does not tell."""

    WHOLE = "whole"
    TORN = "torn"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Structure:
    """What was found, with the reason in words."""

    state: State
    reason: str


UNKNOWN = Structure(State.UNKNOWN, "its format does not say when it is whole")


def inspect(name: str, size: int, read: Read) -> Structure:
    """Judge the file `name` of `size` bytes by its format: safetensors, zip (torch, Keras, numpy), GGUF, HDF5, JSON.
    Raises only what `read` raises."""
    if name.endswith(".safetensors"):
        return _safetensors(size, read)
    if name.endswith(".json"):
        return _json(size, read)
    first = read(0, len(hdf5.MAGIC))
    if first.startswith(b"PK\x03\x04") or name.endswith((".zip", ".npz", ".keras")):
        return _zip(size, read)
    if first.startswith(gguf.MAGIC) or name.endswith(".gguf"):
        return _gguf(size, read)
    if first == hdf5.MAGIC:
        return _hdf5(size, read)
    return UNKNOWN


def _torn(reason: str) -> Structure:
    return Structure(State.TORN, reason)


def _safetensors(size: int, read: Read) -> Structure:
    first = read(0, LENGTH_BYTES)
    length = header_length(first) if len(first) == LENGTH_BYTES else None
    if length is None or length > LENGTH_BYTES + JSON_BYTES_MAX:
        return _torn("its header is not written yet")
    header = read(0, length)
    if len(header) < length:
        return _torn(f"its header has {len(header)} of {length} bytes")
    try:
        parse_header(header, file_bytes=size)
    except Failed as error:
        return _torn(f"its size does not fit its header yet ({error.message})")
    return Structure(State.WHOLE, "its size is what its header says")


def _json(size: int, read: Read) -> Structure:
    if size > JSON_FILE_BYTES_MAX:
        return UNKNOWN
    try:
        json.loads(read(0, size))
    except (ValueError, RecursionError):
        return _torn("it is not whole JSON yet")
    return Structure(State.WHOLE, "it is whole JSON")


def _zip(size: int, read: Read) -> Structure:
    if member_spans(read, file_bytes=size) is None:
        return _torn("the directory at the end of its archive is not there yet")
    return Structure(State.WHOLE, "its archive is whole")


def _gguf(size: int, read: Read) -> Structure:
    try:
        end = gguf.end_of(read)
    except gguf.Short:
        return _torn("its header is not all there yet")
    if end is None:
        return UNKNOWN
    if size < end:
        return _torn(f"it has {size} of the {end} bytes that its header tells of")
    return Structure(State.WHOLE, "it has all bytes that its header tells of")


def _hdf5(size: int, read: Read) -> Structure:
    end = hdf5.end_of(read(0, hdf5.SUPERBLOCK_BYTES))
    if end is None:
        return UNKNOWN
    if size < end:
        return _torn(f"it has {size} of the {end} bytes that its superblock tells of")
    return Structure(State.WHOLE, "it has all bytes that its superblock tells of")
