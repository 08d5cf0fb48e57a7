"""Where chunks begin: files whose structure is known are cut at the edges of their tensors and members.

What changes between two checkpoints is a tensor, not a byte range, so a chunk never holds parts of two large tensors.
A tensor (or member, or whole file) of at least `ALONE_BYTES_MIN` is cut alone, in pieces of the longest chunk from its
start. Smaller ones are packed in order up to `PACK_BYTES_MAX`; a pack ends where the dtype changes, because the byte
planes of a chunk need one width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from roost.codec.safetensors import DTYPE_BITS, SafetensorsHeader
from roost.core.checkpoint import CHUNK_BYTES_MAX

ALONE_BYTES_MIN = 1024 * 1024
PACK_BYTES_MAX = 4 * 1024 * 1024
WIDTH_UNKNOWN = 0
"""The width of a chunk of which nothing is known: encoding looks at the bytes and guesses."""


@dataclass(frozen=True, slots=True)
class Span:
    """One chunk to be: its plain length in bytes, and the bytes an element of it (1, 2, 4, 8 or `WIDTH_UNKNOWN`)."""

    length: int
    width: int


@dataclass(frozen=True, slots=True)
class Part:
    """Something that wants its own edges: a tensor, a member, a small file. `dtype` as safetensors names it, or the
    empty string when it is not known."""

    length: int
    dtype: str = ""


def width_of(dtype: str) -> int:
    """The bytes an element for the byte planes: 1 for 8 bits and less, `WIDTH_UNKNOWN` for a dtype not known here."""
    if dtype == "C64":
        return 4
    bits = DTYPE_BITS.get(dtype)
    return WIDTH_UNKNOWN if bits is None else max(1, bits // 8)


def plan_safetensors(header: SafetensorsHeader, *, chunk_max: int = CHUNK_BYTES_MAX) -> list[Span]:
    """The chunks of a safetensors file, in order; their lengths add up to the file's. The header is a chunk of its own
    (several when it is longer than `chunk_max` bytes), so that a changed name moves nothing else."""
    _check_chunk_max(chunk_max)
    spans = list(_pieces(header.header_bytes, 1, chunk_max))
    spans += plan_parts((Part(t.end - t.begin, t.dtype) for t in header.tensors), chunk_max=chunk_max)
    return spans


def plan_torch_zip(
    members: Sequence[tuple[int, int]], *, file_bytes: int, chunk_max: int = CHUNK_BYTES_MAX
) -> list[Span]:
    """The chunks of a zip whose members lie at `members` ((begin, end), in order, without overlaps; else ValueError).

    Lengths add up to `file_bytes`. Local headers, padding and the directory are parts like any other, so a large
    member's chunks hold nothing but the member.
    """
    parts: list[Part] = []
    position = 0
    for begin, end in [*members, (file_bytes, file_bytes)]:
        if not position <= begin <= end <= file_bytes:
            raise ValueError(f"members overlap or leave the file at byte {begin}")
        parts += (Part(begin - position), Part(end - begin))
        position = end
    return plan_parts(parts, chunk_max=chunk_max)


def plan_parts(parts: Iterable[Part], *, chunk_max: int = CHUNK_BYTES_MAX) -> list[Span]:
    """The chunks of parts that follow one another; lengths add up to theirs, none is longer than `chunk_max` bytes.

    Empty parts are nothing. Whole small files of a directory are parts too.
    """
    _check_chunk_max(chunk_max)
    pack_max = min(PACK_BYTES_MAX, chunk_max)
    alone_min = min(ALONE_BYTES_MIN, pack_max)
    spans: list[Span] = []
    packed, packed_dtype = 0, ""
    for part in parts:
        if part.length < 0:
            raise ValueError("a part has a negative length")
        if not part.length:
            continue
        alone = part.length >= alone_min
        if packed and (alone or part.dtype != packed_dtype or packed + part.length > pack_max):
            spans.append(Span(packed, width_of(packed_dtype)))
            packed = 0
        if alone:
            spans += _pieces(part.length, width_of(part.dtype), chunk_max)
        else:
            packed, packed_dtype = packed + part.length, part.dtype
    if packed:
        spans.append(Span(packed, width_of(packed_dtype)))
    return spans


def _pieces(length: int, width: int, chunk_max: int) -> Iterator[Span]:
    for begin in range(0, length, chunk_max):
        yield Span(min(chunk_max, length - begin), width)


def _check_chunk_max(chunk_max: int) -> None:
    if not 1 <= chunk_max <= CHUNK_BYTES_MAX:
        raise ValueError(f"chunk_max must be from 1 to {CHUNK_BYTES_MAX} bytes, not {chunk_max}")
