"""Where a GGUF file ends, by its own header: how a file of it is told from one that is still being written.

Source of the format: ggml-org/ggml, `docs/gguf.md` (versions 2 and 3); the sizes of the quantised types are those of
`ggml-common.h`. No tensor is read.
"""

import struct

from roost.codec.reading import Read

MAGIC = b"GGUF"
VERSIONS = (2, 3)
HEADER_BYTES_MAX = 256 * 1024 * 1024
DIMENSIONS_MAX = 8
ALIGNMENT = 32
_PIECE_BYTES = 1024 * 1024
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a metadata value of each type that has a fixed size."""
TYPES: dict[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""By ggml type: elements a block, bytes a block."""


class Short(Exception):
    """The header itself is not all there yet."""


def end_of(read: Read) -> int | None:
    """The first byte that no tensor of the file uses; None when the header is not one that we know. `Short` when the
    file ends within its header."""
    header = _Header(read)
    if header.take(4) != MAGIC or header.number("<I") not in VERSIONS:
        return None
    tensors, entries = header.number("<Q"), header.number("<Q")
    alignment = ALIGNMENT
    for _ in range(entries):
        key = header.text()
        kind = header.number("<I")
        if key == b"general.alignment" and kind == 4:
            alignment = header.number("<I")
        else:
            header.skip_value(kind)
        if header.strange:
            return None
    end = 0
    for _ in range(tensors):
        span = _tensor_end(header)
        if span is None:
            return None
        end = max(end, span)
    if not alignment:
        return None
    return header.at + -header.at % alignment + end


def _tensor_end(header: "_Header") -> int | None:
    header.text()
    dimensions = header.number("<I")
    if dimensions > DIMENSIONS_MAX:
        return None
    elements = 1
    for _ in range(dimensions):
        elements *= header.number("<Q")
    kind, offset = header.number("<I"), header.number("<Q")
    if kind not in TYPES:
        return None
    block, size = TYPES[kind]
    return offset + -(-elements // block) * size


class _Header:
    """The header, read from its beginning in pieces."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._piece = b""
        self._begin = 0
        self.at = 0
        self.strange = False

    def take(self, count: int) -> bytes:
        begin = self.at - self._begin
        if begin + count > len(self._piece):
            if self.at + count > HEADER_BYTES_MAX:
                raise Short
            self._begin, begin = self.at, 0
            self._piece = self._read(self.at, max(count, _PIECE_BYTES))
            if len(self._piece) < count:
                raise Short
        self.at += count
        return self._piece[begin : begin + count]

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        assert isinstance(value, int)
        return value

    def text(self) -> bytes:
        length = self.number("<Q")
        if length > HEADER_BYTES_MAX:
            raise Short
        return self.take(length)

    def skip(self, count: int) -> None:
        if self.at + count > HEADER_BYTES_MAX:
            raise Short
        self.at += count

    def skip_value(self, kind: int, depth: int = 0) -> None:
        if kind in _NUMBERS:
            self.skip(_NUMBERS[kind])
        elif kind == _STRING:
            self.text()
        elif kind == _ARRAY and depth < DIMENSIONS_MAX:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _NUMBERS:
                self.skip(_NUMBERS[inner] * count)
                return
            for _ in range(count):
                self.skip_value(inner, depth + 1)
                if self.strange:
                    return
        else:
            self.strange = True
