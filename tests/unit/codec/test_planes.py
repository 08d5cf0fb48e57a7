"""Byte planes: what they gain, what stays raw, what the bytes at rest look like, and what damage does."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import zstandard

from roost.codec.edges import WIDTH_UNKNOWN
from roost.codec.planes import PLANES, RAW, Encoded, Scratch, decode, encode, guess_width
from roost.core.checkpoint import CHUNK_BYTES_MAX
from roost.core.errors import Damaged, Unsupported

MIB = 1024 * 1024
SCRATCH = Scratch()


def weights(count: int, *, seed: int = 1) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32) * np.float32(0.02)


def bf16(count: int) -> bytes:
    return (weights(count).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def noise(length: int) -> bytes:
    return np.random.default_rng(7).bytes(length)


def at_rest(encoded: Encoded) -> bytes:
    stored = b"".join(encoded.pieces)
    assert len(stored) == encoded.length
    return stored


def round_trip(plain: bytes, width: int) -> Encoded:
    encoded = encode(memoryview(plain), width=width, scratch=SCRATCH)
    stored = at_rest(encoded)
    into = bytearray(b"\xee" * (len(plain) + 64))
    assert decode(memoryview(stored), memoryview(into), codec=encoded.codec, scratch=SCRATCH) == len(plain)
    assert into == plain + b"\xee" * 64
    return encoded


def test_bf16_weights_gain_what_was_measured() -> None:
    plain = bf16(2 * MIB)
    encoded = round_trip(plain, 2)
    assert len(plain) / encoded.length >= 1.45
    assert isinstance(encoded.pieces[1], memoryview)  # the low plane is noise, and is not copied


@pytest.mark.parametrize(
    ("plain", "width", "ratio"),
    [
        (weights(MIB).tobytes(), 4, 1.18),
        (weights(MIB).astype(np.float16).tobytes(), 2, 1.15),
        ((weights(MIB) ** 2).tobytes(), 4, 1.15),
        (weights(MIB // 2).astype(np.float64).tobytes(), 8, 1.5),
        (np.random.default_rng(1).integers(0, 50_000, MIB // 2).tobytes(), 8, 3.5),
        ((weights(MIB).view(np.uint32) >> 24).astype(np.uint8).tobytes(), 1, 2.5),
        (b'{"model.layers.0.self_attn.q_proj.weight": "model-00001.safetensors"}\n' * 20_000, 1, 50),
        (bytes(4 * MIB), 1, 100),
        (bytes(4 * MIB), 2, 100),
        (bytes(4 * MIB), 4, 100),
        (bytes(4 * MIB), 8, 100),
        (np.full(MIB, 1.5, np.float32).tobytes(), 4, 100),
    ],
)
def test_ratios(plain: bytes, width: int, ratio: float) -> None:
    assert len(plain) / round_trip(plain, width).length >= ratio


@pytest.mark.parametrize("width", [1, 2, 4, 8, WIDTH_UNKNOWN])
def test_noise_stays_raw_and_is_not_copied(width: int) -> None:
    plain = memoryview(noise(MIB))
    encoded = encode(plain, width=width, scratch=SCRATCH)
    assert encoded == Encoded(RAW, (plain,), MIB)
    assert encoded.pieces[0] is plain


def test_too_small_a_gain_stays_raw() -> None:
    plain = noise(980_000) + bytes(20_000)
    assert encode(memoryview(plain), width=1, scratch=SCRATCH).codec == RAW
    plain = noise(900_000) + bytes(100_000)
    assert encode(memoryview(plain), width=1, scratch=SCRATCH).codec == PLANES


@pytest.mark.parametrize("width", [1, 2, 4, 8, WIDTH_UNKNOWN])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 9, 15, 4096, 65_535, 65_537, 131_073, 262_143, 1_048_579])
def test_every_length(width: int, length: int) -> None:
    round_trip(bytes(length), width)
    round_trip(bf16(length)[:length], width)


@pytest.mark.parametrize("width", [1, 2, 4, 8, WIDTH_UNKNOWN])
def test_the_longest_chunk(width: int) -> None:
    round_trip(bf16(CHUNK_BYTES_MAX // 2), width)
    with pytest.raises(ValueError, match="longer than"):
        encode(memoryview(bytes(CHUNK_BYTES_MAX + 1)), width=width, scratch=SCRATCH)


def test_chunks_at_odd_addresses() -> None:
    plain = bf16(300_001)
    shifted = memoryview(b"x" + plain)[1:]
    encoded = encode(shifted, width=4, scratch=SCRATCH)
    stored = b"y" + at_rest(encoded)
    into = bytearray(len(plain) + 1)
    decode(memoryview(stored)[1:], memoryview(into)[1:], scratch=SCRATCH)
    assert into[1:] == plain


def test_the_bytes_at_rest_are_as_documented() -> None:
    """Read back by hand, with zstandard alone: what is stored outlives this code."""
    plain = bf16(70_000) + b"\x99"
    stored = at_rest(encode(memoryview(plain), width=2, scratch=SCRATCH))
    magic, width, length, low, high = struct.unpack_from(">3sBLLL", stored)
    assert (magic, width, length) == (b"RP\x01", 2, 140_001)
    assert low == 70_000
    assert high >> 31 == 1
    frame = stored[16 + low : -1]
    assert len(frame) == high & 0x7FFFFFFF
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == 70_000
    assert parameters.window_size <= MIB
    high_plane = zstandard.ZstdDecompressor().decompress(frame)
    again = bytearray(140_001)
    again[0:-1:2], again[1:-1:2], again[-1:] = stored[16 : 16 + low], high_plane, stored[-1:]
    assert again == plain


def test_large_planes_keep_to_the_window() -> None:
    stored = at_rest(encode(memoryview(bytes(8 * MIB)), width=1, scratch=SCRATCH))
    assert zstandard.get_frame_parameters(stored[12:]).window_size <= MIB


def test_encoding_is_the_same_every_time() -> None:
    plain = memoryview(bf16(500_000))
    first = at_rest(encode(plain, width=WIDTH_UNKNOWN, scratch=SCRATCH))
    round_trip(noise(100_000), 8)
    assert at_rest(encode(plain, width=WIDTH_UNKNOWN, scratch=Scratch())) == first


def test_a_width_that_does_not_exist_is_refused() -> None:
    for width in (3, 16, -1):
        with pytest.raises(ValueError, match="width"):
            encode(memoryview(bytes(100)), width=width, scratch=SCRATCH)


@pytest.mark.parametrize(
    ("plain", "width"),
    [
        (bf16(500_000), 2),
        (weights(500_000).tobytes(), 4),
        (weights(250_000).astype(np.float64).tobytes(), 8),
        (noise(1_000_000), 1),
        (bytes(1_000_000), 1),
        (b"".join(b'"%s": %d,\n' % (b"token" * (i % 7), i) for i in range(50_000)), 1),
        (bf16(30_000), 1),  # too little to guess from
        (b"", 1),
        (b"abc", 1),
    ],
)
def test_the_width_is_guessed_wherever_elements_begin(plain: bytes, width: int) -> None:
    assert guess_width(memoryview(plain), scratch=SCRATCH) == width
    assert guess_width(memoryview(plain)[1:], scratch=SCRATCH) == width


def test_a_guessed_width_gains_as_a_known_one() -> None:
    plain = memoryview(bf16(MIB))
    known = encode(plain, width=2, scratch=SCRATCH).length
    assert encode(plain, width=WIDTH_UNKNOWN, scratch=SCRATCH).length == known


def damaged(stored: bytes, *, room: int = 4096, codec: int = PLANES) -> str:
    into = bytearray(b"\xee" * (room + 64))
    with pytest.raises(Damaged) as caught:
        decode(memoryview(stored), memoryview(into)[:room], codec=codec, scratch=SCRATCH)
    assert into[room:] == b"\xee" * 64
    return caught.value.message


def planes_object(width: int, length: int, *segments: bytes | tuple[int, bytes], tail: bytes = b"") -> bytes:
    """A planes object by hand; a segment is raw bytes or (its word, its bytes)."""
    words = [segment[0] if isinstance(segment, tuple) else len(segment) for segment in segments]
    data = [segment[1] if isinstance(segment, tuple) else segment for segment in segments]
    return struct.pack(f">3sBL{len(words)}L", b"RP\x01", width, length, *words) + b"".join(data) + tail


def frame(data: bytes) -> tuple[int, bytes]:
    compressed = zstandard.ZstdCompressor().compress(data)
    return len(compressed) | 1 << 31, compressed


def test_an_object_by_hand_decodes() -> None:
    into = bytearray(7)
    stored = planes_object(2, 7, b"ace", frame(b"bdf"), tail=b"g")
    assert decode(memoryview(stored), memoryview(into), scratch=SCRATCH) == 7
    assert into == b"abcdefg"


def test_damage_is_named() -> None:
    _, compressed = frame(b"bdf")
    assert "header" in damaged(b"")
    assert "header" in damaged(b"RP\x01\x02\x00")
    assert "header" in damaged(b"RP\x02" + planes_object(2, 6, b"ace", b"bdf")[3:])
    assert "header" in damaged(planes_object(3, 6, b"ab", b"cd", b"ef"))
    assert "header" in damaged(planes_object(0, 6))
    assert "header" in damaged(planes_object(2, 1, b"", b""))
    assert "header" in damaged(planes_object(8, 8, *[b"a"] * 8)[:39])
    assert "at most" in damaged(planes_object(2, 6, b"ace", b"bdf"), room=5)
    assert "at most" in damaged(planes_object(1, 2**32 - 1, b""))
    assert "as long as the others" in damaged(planes_object(2, 6, b"ac", b"bdf"))
    assert "as long as the others" in damaged(planes_object(2, 6, b"ace", b"bd"))
    assert "as long as the others" in damaged(planes_object(2, 6, b"ace", (3, b"bd")))
    assert "as long as the others" in damaged(planes_object(2, 6, b"ace", frame(b"bdfh")))
    assert "as long as the others" in damaged(planes_object(2, 6, b"ace", frame(b"bd")))
    assert "must" in damaged(planes_object(2, 6, b"ace", b"bdf", tail=b"!"))
    assert "must" in damaged(planes_object(2, 7, b"ace", b"bdf"))
    assert "a plane" in damaged(planes_object(2, 6, b"ace", (1 << 31, b"")))
    assert "a plane" in damaged(planes_object(2, 6, b"ace", ((len(compressed) - 1) | 1 << 31, compressed[:-1])))
    assert "does not decompress" in damaged(planes_object(2, 6, b"ace", (3 | 1 << 31, b"bdf")))


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    compressed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(3))
    assert "a plane" in damaged(planes_object(1, 3, (len(compressed) | 1 << 31, compressed)))


def test_a_frame_that_says_that_it_is_huge_allocates_nothing() -> None:
    """A window of 128 MiB and a size of 2**40, in a dozen bytes."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11000000, (27 - 10) << 3]) + struct.pack("<Q", 2**40)
    assert "a plane" in damaged(planes_object(1, 4096, (len(header) | 1 << 31, header)))
    small = b"\x28\xb5\x2f\xfd" + bytes([0b11000000, (27 - 10) << 3]) + struct.pack("<Q", 4096)
    assert "a plane" in damaged(planes_object(1, 4096, (len(small) | 1 << 31, small)))


def test_raw_objects_are_bounded_too() -> None:
    assert "at most" in damaged(bytes(11), room=10, codec=RAW)


def test_an_unknown_codec_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="codec 2"):
        decode(memoryview(b"RP"), memoryview(bytearray(9)), codec=2, scratch=SCRATCH)


def test_a_scratch_serves_chunks_of_its_own_size() -> None:
    small = Scratch(bytes_max=1000)
    plain = bytes(1000)
    stored = at_rest(encode(memoryview(plain), width=2, scratch=small))
    into = bytearray(1000)
    assert decode(memoryview(stored), memoryview(into), scratch=small) == 1000
    with pytest.raises(Damaged):
        decode(memoryview(stored), memoryview(into), scratch=Scratch(bytes_max=999))
    with pytest.raises(ValueError, match="bytes_max"):
        Scratch(bytes_max=0)


def test_numpy_is_loaded_by_the_first_chunk_and_not_before() -> None:
    code = """
import sys
import roost.client.cluster
from roost.codec.planes import Scratch, encode
scratch = Scratch()
before = "numpy" in sys.modules
encode(memoryview(bytes(100)), width=2, scratch=scratch)
print(before, "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
