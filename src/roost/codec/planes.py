"""How a chunk lies at rest: raw, or as byte planes of which each is raw or one zstd frame.

The bytes of numbers are skewed in their high parts (sign, exponent) and noise in their low ones. Splitting a chunk
into planes, plane i holding byte i of every element, lets zstd work on the skewed ones alone.

A planes object, integers big-endian::

    "RP" 01             magic and version
    width          u8   1, 2, 4 or 8: bytes an element, and the number of planes
    length         u32  bytes of the plain chunk, at least `width`
    segment        u32  per plane, plane 0 (the least significant byte of little-endian numbers) first:
                        bits 0-30 its bytes here, bit 31 set when it is a zstd frame (with its content size)
    segments            the planes in the same order, `length // width` bytes each when decoded
    tail                the last `length % width` bytes of the chunk as they are

Frames are standard zstd with a window of at most 1 MiB. A raw object is the plain chunk itself; which of the two an
object is (`RAW`, `PLANES`) stands in the manifest. Numbers and the choice of parameters: see `_SKEWED` below.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import zstandard

from roost.codec.edges import WIDTH_UNKNOWN
from roost.core.checkpoint import CHUNK_BYTES_MAX
from roost.core.errors import Damaged, Unsupported

if TYPE_CHECKING:
    import numpy as np

# numpy is loaded by the first chunk, in the thread that encodes or decodes it: that takes as long as all else of a
# command's start, and an unchanged store needs none. The variable is read then; else a pool of threads would be made.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

Octets: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint8]]"
Numbers: TypeAlias = "np.ndarray[tuple[int], np.dtype[Any]]"

RAW = 0
PLANES = 1

WIDTHS = (1, 2, 4, 8)
GAIN_MIN = 0.03
"""A plane, and a chunk, stays raw unless compression takes off at least this part of it."""
GUESS_BYTES_MIN = 64 * 1024
"""A shorter chunk of unknown width is taken to be of width 1."""

_MAGIC = b"RP\x01"
_HEAD = struct.Struct(">3sBL")
_COMPRESSED = 1 << 31
_SAMPLE_BYTES = 64 * 1024
_SAMPLE_RUNS = 4
_BLOCK_BYTES = 512 * 1024
"""Split and join work on blocks of this size, so that the passes over a block find it in the cache."""
_WINDOW_LOG = 20
_ELEMENT = {2: "<u2", 4: "<u4", 8: "<u8"}
_NEXT_WIDTH_GAIN = 0.98
"""A wider guess must beat a narrower one by 2 %: pairs of bf16 are no float32."""

_SKEWED = zstandard.ZstdCompressionParameters(
    window_log=_WINDOW_LOG,
    hash_log=6,
    chain_log=6,
    search_log=1,
    min_match=7,
    target_length=0,
    strategy=zstandard.STRATEGY_FAST,
    write_content_size=True,
)
"""For skewed symbols with hardly any matches: nearly nothing but Huffman coding. On bf16 weights both faster and
smaller than level 1, whose false matches cost more than they save."""
_GENERAL = zstandard.ZstdCompressionParameters.from_level(1, window_log=_WINDOW_LOG, write_content_size=True)
"""For text, pickles and whatever else repeats itself."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it will lie at rest: `codec` is `RAW` or `PLANES`, `pieces` joined are the object, `length` is their
    bytes together. Pieces may be views of the plain chunk and of the scratch: use them before either is used again."""

    codec: int
    pieces: tuple[memoryview | bytes, ...]
    length: int


class Scratch:
    """The compressors and buffers of one encoding or decoding thread, for chunks of at most `bytes_max`.

    Not to be used by two threads at once: zstd's contexts are not made for it.
    """

    def __init__(self, *, bytes_max: int = CHUNK_BYTES_MAX) -> None:
        if not 1 <= bytes_max < _COMPRESSED:
            raise ValueError("bytes_max must be from 1 to 2**31 - 1")
        self.bytes_max = bytes_max
        self.skewed = zstandard.ZstdCompressor(compression_params=_SKEWED)
        self.general = zstandard.ZstdCompressor(compression_params=_GENERAL)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)

    @cached_property
    def planes(self) -> Octets:
        return _empty(self.bytes_max)

    @cached_property
    def block(self) -> Octets:
        return _empty(_BLOCK_BYTES)

    @cached_property
    def sample(self) -> Octets:
        return _empty(_SAMPLE_BYTES)


def _empty(length: int) -> Octets:
    import numpy as np

    return np.empty(length, np.uint8)


def _octets(data: memoryview) -> Octets:
    import numpy as np

    return np.frombuffer(data, np.uint8)


def encode(plain: memoryview, *, width: int, scratch: Scratch) -> Encoded:
    """`plain` in its shortest form that is worth it, for elements of `width` bytes (`WIDTH_UNKNOWN`: guessed).

    The result depends on the arguments alone. ValueError for a width that does not exist or a chunk that is longer
    than the scratch is made for.
    """
    if width not in WIDTHS and width != WIDTH_UNKNOWN:
        raise ValueError(f"no such width: {width}")
    octets = _octets(plain)
    length = octets.size
    if length > scratch.bytes_max:
        raise ValueError(f"a chunk of {length} bytes, longer than {scratch.bytes_max}")
    if width == WIDTH_UNKNOWN:
        width = guess_width(plain, scratch=scratch)
    count = length // width
    raw = Encoded(RAW, (plain,), length)
    if not count:
        return raw
    if width == 1:
        segments = [_compress_octets(octets, scratch)]
        planes: Sequence[Octets] = [octets]
    else:
        planes = _split(octets, width, scratch)
        segments = [_compress_plane(plane, scratch.skewed, scratch) for plane in planes]
    if not any(segments):
        return raw
    sizes = [count if segment is None else len(segment) | _COMPRESSED for segment in segments]
    head = _HEAD.pack(_MAGIC, width, length) + struct.pack(f">{width}L", *sizes)
    pieces: list[memoryview | bytes] = [head]
    pieces += [plane.data if segment is None else segment for plane, segment in zip(planes, segments, strict=True)]
    if length % width:
        pieces.append(octets[count * width :].data)
    stored = sum(len(piece) for piece in pieces)
    return Encoded(PLANES, tuple(pieces), stored) if _gains(stored, length) else raw


def decode(stored: memoryview, into: memoryview, *, codec: int = PLANES, scratch: Scratch) -> int:
    """Fill the start of `into` with the plain chunk of the object `stored` and return its length.

    Writes nothing beyond that length and allocates no more than zstd's window, whatever the bytes. Damaged when they
    are not an object of this codec or its chunk is longer than `into`; `into` is then undefined. A good result is no
    proof: the caller checks the plain hash. Unsupported for a codec that this release does not know.
    """
    target = _octets(into)
    octets = _octets(stored)
    if codec == RAW:
        if octets.size > target.size:
            raise _damaged(f"it holds {octets.size} bytes where at most {target.size} belong")
        target[: octets.size] = octets
        return octets.size
    if codec != PLANES:
        raise Unsupported(f"a chunk of codec {codec}", hint="a newer release wrote it: update this machine")
    width, length, sizes = _parse_head(stored)
    if length > min(target.size, scratch.bytes_max):
        raise _damaged(f"it says that its chunk has {length} bytes where at most {target.size} belong")
    count = length // width
    position = _HEAD.size + 4 * width
    whole = target[: count * width]
    planes: list[Octets] = []
    for index, size in enumerate(sizes):
        segment = octets[position : position + (size & ~_COMPRESSED)]
        position += segment.size
        if size & _COMPRESSED:
            plane = whole if width == 1 else scratch.planes[index * count : (index + 1) * count]
            _decompress(segment, plane, scratch)
            segment = plane
        elif segment.size != count:
            raise _damaged("a plane is not as long as the others")
        planes.append(segment)
    if octets.size - position != length % width:
        raise _damaged("its planes do not end where they must")
    target[count * width : length] = octets[position:]
    _join(planes, whole)
    return length


def guess_width(plain: memoryview, *, scratch: Scratch) -> int:
    """The bytes an element (1, 2, 4 or 8) at which a sample of `plain` compresses best; the narrowest when it hardly
    matters, 1 for less than `GUESS_BYTES_MIN`. Where the first element begins does not matter: a shift only renames
    the planes."""
    octets = _octets(plain)
    if octets.size < GUESS_BYTES_MIN:
        return 1
    sample = _sample(octets, scratch)
    frames = [compressor.compress(sample.data) for compressor in (scratch.skewed, scratch.general)]
    best_width, best = 1, min(sample.size, *map(len, frames))
    for width in WIDTHS[1:]:
        count = sample.size // width
        columns = sample[: count * width].reshape(-1, width)
        size = sum(min(count, len(scratch.skewed.compress(columns[:, i].tobytes()))) for i in range(width))
        if size < best * _NEXT_WIDTH_GAIN:
            best_width, best = width, size
    return best_width


def _gains(compressed: int, plain: int) -> bool:
    return compressed <= plain * (1 - GAIN_MIN)


def _sample(octets: Octets, scratch: Scratch) -> Octets:
    """All of `octets` when they are few, else some runs spread over them, each beginning at a multiple of 8."""
    if octets.size <= 2 * _SAMPLE_BYTES:
        return octets
    run = _SAMPLE_BYTES // _SAMPLE_RUNS
    for i in range(_SAMPLE_RUNS):
        begin = (octets.size - run) * i // (_SAMPLE_RUNS - 1) & ~7
        scratch.sample[i * run : (i + 1) * run] = octets[begin : begin + run]
    return scratch.sample


def _compress_plane(plane: Octets, compressor: zstandard.ZstdCompressor, scratch: Scratch) -> bytes | None:
    """The plane as a zstd frame, or None when that is not worth it. A sample is tried first."""
    sample = _sample(plane, scratch)
    frame = compressor.compress(sample.data)
    if not _gains(len(frame), sample.size):
        return None
    if sample is not plane:
        frame = compressor.compress(plane.data)
    return frame if _gains(len(frame), plane.size) else None


def _compress_octets(octets: Octets, scratch: Scratch) -> bytes | None:
    """As `_compress_plane`, for bytes that may be anything: the parameters that do better on the sample."""
    sample = _sample(octets, scratch)
    skewed = len(scratch.skewed.compress(sample.data)) <= len(scratch.general.compress(sample.data))
    return _compress_plane(octets, scratch.skewed if skewed else scratch.general, scratch)


def _split(octets: Octets, width: int, scratch: Scratch) -> list[Octets]:
    """The planes of all whole elements, in `scratch.planes`."""
    import numpy as np

    count = octets.size // width
    elements: Numbers = octets[: count * width].view(_ELEMENT[width])
    shifted: Numbers = scratch.block.view(_ELEMENT[width])
    planes = [scratch.planes[i * count : (i + 1) * count] for i in range(width)]
    for begin in range(0, count, shifted.size):
        end = min(count, begin + shifted.size)
        block, spare = elements[begin:end], shifted[: end - begin]
        np.copyto(planes[0][begin:end], block, casting="unsafe")
        for i in range(1, width):
            np.right_shift(block, 8 * i, out=spare)
            np.copyto(planes[i][begin:end], spare, casting="unsafe")
    return planes


def _join(planes: Sequence[Octets], target: Octets) -> None:
    """Undo `_split` into `target`."""
    import numpy as np

    width = len(planes)
    if width == 1:
        if planes[0] is not target:
            np.copyto(target, planes[0])
        return
    elements: Numbers = target.view(_ELEMENT[width])
    step = _BLOCK_BYTES // width
    for begin in range(0, elements.size, step):
        block = elements[begin : begin + step]
        end = begin + block.size
        np.copyto(block, planes[-1][begin:end])
        for plane in reversed(planes[:-1]):
            np.left_shift(block, 8, out=block)
            np.bitwise_or(block, plane[begin:end], out=block)


def _parse_head(stored: memoryview) -> tuple[int, int, tuple[int, ...]]:
    """(width, plain length, segment words), the first two checked."""
    if len(stored) < _HEAD.size:
        raise _damaged("it ends within its header")
    magic, width, length = _HEAD.unpack_from(stored)
    if magic != _MAGIC or width not in WIDTHS or length < width:
        raise _damaged("its header is wrong")
    if len(stored) < _HEAD.size + 4 * width:
        raise _damaged("it ends within its header")
    return width, length, struct.unpack_from(f">{width}L", stored, _HEAD.size)


def _decompress(frame: Octets, into: Octets, scratch: Scratch) -> None:
    """Fill `into` exactly from one zstd frame."""
    try:
        if zstandard.frame_content_size(frame.data) != into.size:
            raise _damaged("a plane is not as long as the others")
        with scratch.decompressor.stream_reader(frame.data) as reader:
            filled = reader.readinto(into.data)
            if filled != into.size or reader.read(1):
                raise _damaged("a plane ends early or late")
    except zstandard.ZstdError as problem:
        raise _damaged(f"a plane does not decompress ({str(problem)[:80]})") from None


def _damaged(why: str) -> Damaged:
    return Damaged(f"an encoded chunk is damaged: {why}", hint="another copy may be good: run roost verify")
