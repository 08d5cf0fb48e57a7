"""Content-defined edges for bytes of unknown structure, found as the bytes arrive.

FastCDC (Xia and others, USENIX ATC 2016), as the `fastcdc` package implements it: where a chunk ends depends on the
bytes since its own start alone. So bytes inserted early in a file move the edges near them and no others, and edges do
not depend on how the file was read.
"""

MIN_BYTES = 256 * 1024
AVERAGE_BYTES = 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024


class ContentEdges:
    """Cuts a stream at content-defined edges. Holds no bytes: what is not yet cut stays with the caller, who feeds it
    again with more behind it. The smaller sizes that the constructor takes are for tests; `average` is best a power
    of two."""

    def __init__(self, *, minimum: int = MIN_BYTES, average: int = AVERAGE_BYTES, maximum: int = MAX_BYTES) -> None:
        if not (64 <= minimum <= average <= maximum and average >= 256 and maximum >= 1024):
            raise ValueError("chunk sizes must ascend from 64, 256 and 1024 bytes")
        from fastcdc import fastcdc  # slow to import, and few processes cut anything

        self._cut = fastcdc
        self._minimum, self._average, self._maximum = minimum, average, maximum

    def feed(self, data: memoryview, *, last: bool) -> list[int]:
        """The lengths of the chunks at the start of `data` whose end is certain, in order.

        That is every chunk that begins at least `maximum` bytes before the end of `data`, so a buffer must hold more
        than that to make progress; with `last`, which says that nothing follows, they cover `data`. A chunk has from
        `minimum` to `maximum` bytes; only the last of a stream may have fewer.
        """
        octets = data.cast("B") if data.format != "B" else data
        lengths: list[int] = []
        begin = 0
        while begin < len(octets) and (last or len(octets) - begin >= self._maximum):
            window = octets[begin : begin + self._maximum]
            chunk = next(iter(self._cut(window, self._minimum, self._average, self._maximum)))
            lengths.append(int(chunk.length))
            begin += lengths[-1]
        return lengths
