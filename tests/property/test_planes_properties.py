"""Any chunk comes back from its planes; no bytes make decoding raise anything but Damaged or write too far."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roost.codec.planes import GAIN_MIN, PLANES, RAW, WIDTHS, Scratch, decode, encode, guess_width
from roost.core.errors import Damaged

SCRATCH = Scratch(bytes_max=1024 * 1024)
WIDTH = st.sampled_from([0, *WIDTHS])
GUARD = b"\xee" * 32


def sample_of(kind: str, length: int, seed: int) -> bytes:
    """`length` bytes that compress in different ways."""
    rng = np.random.default_rng(seed)
    if kind == "zeros":
        return bytes(length)
    if kind == "noise":
        return rng.bytes(length)
    if kind == "words":
        return rng.integers(0, 300, length // 8 + 1).astype(np.int64).tobytes()[:length]
    numbers = rng.standard_normal(length // 2 + 4).astype(np.float32) * np.float32(0.02)
    data: bytes = (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes() if kind == "bf16" else numbers.tobytes()
    return data[:length]


CHUNKS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        sample_of,
        st.sampled_from(["zeros", "noise", "words", "bf16", "fp32"]),
        st.one_of(st.integers(0, 2000), st.integers(0, SCRATCH.bytes_max)),
        st.integers(0, 2**32),
    ),
)


@given(plain=CHUNKS, width=WIDTH, shift=st.integers(0, 7))
def test_what_is_encoded_comes_back(plain: bytes, width: int, shift: int) -> None:
    view = memoryview(bytes(shift) + plain)[shift:]
    encoded = encode(view, width=width, scratch=SCRATCH)
    stored = b"".join(encoded.pieces)
    assert len(stored) == encoded.length
    if encoded.codec == RAW:
        assert stored == plain
    else:
        assert len(stored) <= len(plain) * (1 - GAIN_MIN)
    into = bytearray(len(plain)) + GUARD
    assert decode(memoryview(stored), memoryview(into), codec=encoded.codec, scratch=SCRATCH) == len(plain)
    assert into == plain + GUARD


@given(plain=CHUNKS)
def test_a_guess_is_a_width(plain: bytes) -> None:
    assert guess_width(memoryview(plain), scratch=SCRATCH) in WIDTHS


def check_bounded(stored: bytes, room: int, codec: int = PLANES) -> None:
    """Decoding answers or says Damaged, and leaves alone what is not its own."""
    into = bytearray(room) + GUARD
    try:
        length = decode(memoryview(stored), memoryview(into)[:room], codec=codec, scratch=SCRATCH)
    except Damaged:
        length = room
    assert 0 <= length <= room
    assert into[length:] == bytes(room - length) + GUARD


@given(
    kind=st.sampled_from(["zeros", "words", "bf16", "fp32"]),
    length=st.integers(64, 40_000),
    width=WIDTH,
    damage=st.lists(st.tuples(st.one_of(st.integers(0, 50), st.integers(0, 40_000)), st.integers(1, 255)), max_size=4),
    cut=st.one_of(st.just(0), st.integers(0, 40_000)),
    more=st.binary(max_size=5),
    room=st.integers(-64, 64),
)
def test_damaged_objects(
    kind: str, length: int, width: int, damage: list[tuple[int, int]], cut: int, more: bytes, room: int
) -> None:
    encoded = encode(memoryview(sample_of(kind, length, 5)), width=width, scratch=SCRATCH)
    stored = bytearray(b"".join(encoded.pieces))
    for at, mask in damage:
        stored[at % len(stored)] ^= mask
    del stored[len(stored) - min(cut, len(stored)) :]
    check_bounded(bytes(stored) + more, length + room, encoded.codec)


@given(
    width=st.integers(0, 9),
    length=st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
    words=st.lists(st.one_of(st.integers(0, 100), st.integers(0, 2**32 - 1)), max_size=9),
    rest=st.binary(max_size=300),
    room=st.integers(0, 400),
)
def test_any_bytes_behind_a_good_magic(width: int, length: int, words: list[int], rest: bytes, room: int) -> None:
    head = struct.pack(f">3sBL{len(words)}L", b"RP\x01", width, length, *words)
    check_bounded(head + rest, room)


@given(stored=st.binary(max_size=200), room=st.integers(0, 300))
def test_any_bytes(stored: bytes, room: int) -> None:
    check_bounded(stored, room)
    check_bounded(stored, room, RAW)
