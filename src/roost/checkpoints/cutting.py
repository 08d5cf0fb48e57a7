"""The cutter reads a checkpoint once, from its first byte to its last, and cuts it into chunks as it goes.

Small files are packed in order; a safetensors file and a torch zip are cut at their tensors' edges, everything else at
content-defined ones. What comes out are windows: one read buffer and the chunks that lie in it.
"""

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from roost.checkpoints.holding import Changed, Holding, check_unchanged
from roost.checkpoints.scan import Found, Scan
from roost.codec.cdc import ContentEdges
from roost.codec.edges import ALONE_BYTES_MIN, PACK_BYTES_MAX, WIDTH_UNKNOWN, Span, plan_safetensors, plan_torch_zip
from roost.codec.manifest import FileEntry
from roost.codec.safetensors import header_length, parse_header
from roost.codec.torchzip import member_spans
from roost.core.checkpoint import CHUNK_BYTES_MAX
from roost.core.errors import RoostError
from roost.disk.port import FileKind, ReadFile

HEADER_BYTES_MAX = 100_000_008


@dataclass(frozen=True, slots=True)
class Cut:
    """One chunk in a window: its plain bytes, and the bytes an element of it (0: unknown)."""

    plain: memoryview
    width: int


Windows = Generator[list[Cut], memoryview, None]


class Cutter:
    """Cuts `scan`, whose files `holding` opens. Not thread-safe; `next_window` blocks and belongs into a thread."""

    def __init__(self, holding: Holding, scan: Scan, *, chunk_max: int = CHUNK_BYTES_MAX) -> None:
        self._holding = holding
        self._scan = scan
        self._chunk_max = chunk_max
        self._pack_max = min(PACK_BYTES_MAX, chunk_max)
        self._small_max = min(ALONE_BYTES_MIN, self._pack_max)
        self._windows = self._run()
        next(self._windows)
        self.entries: list[FileEntry] = []
        """The files read so far, with their SHA-256; all of them after the last window."""

    def next_window(self, buffer: memoryview) -> list[Cut]:
        """The next chunks, read into `buffer` (8 MiB), which they use until it is handed in again; empty at the end.

        Raises `Changed` when a file is no longer what the scan saw, and DiskFault when it cannot be read.
        """
        try:
            return self._windows.send(buffer)
        except StopIteration:
            return []

    def close(self) -> None:
        """Close the file being read, if any."""
        self._windows.close()

    def _run(self) -> Windows:
        buffer = yield []
        packed = 0
        for found in self._scan.found:
            if found.info.kind is not FileKind.FILE:
                self._append(found, b"")
                continue
            size = found.info.size
            if packed and (size >= self._small_max or packed + size > self._pack_max):
                buffer = yield [Cut(buffer[:packed], WIDTH_UNKNOWN)]
                packed = 0
            if size >= self._small_max:
                buffer = yield from self._large(found, buffer)
            else:
                self._small(found, buffer[packed : packed + size])
                packed += size
        if packed:
            yield [Cut(buffer[:packed], WIDTH_UNKNOWN)]

    def _append(self, found: Found, sha256: bytes) -> None:
        info = found.info
        kind = {FileKind.FILE: "f", FileKind.DIRECTORY: "d", FileKind.SYMLINK: "l"}[info.kind]
        size = info.size if info.kind is FileKind.FILE else 0
        mode = info.mode if info.kind is not FileKind.SYMLINK else 0o777
        self.entries.append(FileEntry(found.path, kind, mode, info.mtime_ns, size, sha256, found.target))

    def _small(self, found: Found, into: memoryview) -> None:
        file = self._holding.take(found)
        try:
            _read(file, into, 0, found)
            check_unchanged(file, found)
        finally:
            self._holding.give(found, file)
        self._append(found, hashlib.sha256(into).digest())

    def _large(self, found: Found, buffer: memoryview) -> Generator[list[Cut], memoryview, memoryview]:
        file = self._holding.take(found)
        try:
            digest = hashlib.sha256()
            spans = self._plan(file, found)
            windows = _spans(file, found, spans) if spans else _content_defined(file, found, self._chunk_max)
            next(windows)
            while True:
                try:
                    cuts = windows.send(buffer)
                except StopIteration:
                    break
                for cut in cuts:
                    digest.update(cut.plain)
                buffer = yield cuts
            check_unchanged(file, found)
        finally:
            self._holding.give(found, file)
        self._append(found, digest.digest())
        return buffer

    def _plan(self, file: ReadFile, found: Found) -> list[Span]:
        """Where the file's own format puts the edges; empty when it has none that we know and that is sane."""
        size = found.info.size

        def read(offset: int, length: int) -> bytes:
            data = bytearray(min(length, max(0, size - offset)))
            return bytes(data[: file.pread(memoryview(data), offset)])

        first = read(0, 8)
        if first.startswith(b"PK\x03\x04"):
            members = member_spans(read, file_bytes=size)
            if members:
                return plan_torch_zip(members, file_bytes=size, chunk_max=self._chunk_max)
        length = header_length(first)
        if length is None or length > min(size, HEADER_BYTES_MAX):
            return []
        try:
            header = parse_header(read(0, length), file_bytes=size)
        except RoostError:
            return []
        return plan_safetensors(header, chunk_max=self._chunk_max)


def _read(file: ReadFile, into: memoryview, offset: int, found: Found) -> None:
    if len(into) and file.pread(into, offset) != len(into):
        raise Changed(found.path)


def _spans(file: ReadFile, found: Found, spans: list[Span]) -> Windows:
    buffer = yield []
    offset = 0
    for span in spans:
        plain = buffer[: span.length]
        _read(file, plain, offset, found)
        offset += span.length
        buffer = yield [Cut(plain, span.width)]


def _content_defined(file: ReadFile, found: Found, chunk_max: int) -> Windows:
    """Windows of a file without known structure. A window ends at the last certain edge in the buffer, and the next
    one begins there."""
    edges = ContentEdges()
    buffer = yield []
    offset, size = 0, found.info.size
    while offset < size:
        window = buffer[: min(len(buffer), size - offset)]
        _read(file, window, offset, found)
        cuts: list[Cut] = []
        begin = 0
        for length in edges.feed(window, last=offset + len(window) == size):
            cuts += (Cut(piece, WIDTH_UNKNOWN) for piece in _pieces(window[begin : begin + length], chunk_max))
            begin += length
        offset += begin
        buffer = yield cuts


def _pieces(plain: memoryview, chunk_max: int) -> Iterator[memoryview]:
    for begin in range(0, len(plain), chunk_max):
        yield plain[begin : begin + chunk_max]


def reread(holding: Holding, scan: Scan, offset: int, into: memoryview) -> None:
    """Fill `into` with the bytes at `offset` of the logical stream (all files in order) again. `Changed` when they
    cannot be had any more; whether they are the same bytes, the caller checks by their SHA-256."""
    begin, filled = 0, 0
    for found in scan.found:
        size = found.info.size if found.info.kind is FileKind.FILE else 0
        if filled == len(into):
            return
        if begin + size > offset + filled:
            inside = offset + filled - begin
            length = min(size - inside, len(into) - filled)
            file = holding.take(found)
            try:
                _read(file, into[filled : filled + length], inside, found)
            finally:
                holding.give(found, file)
            filled += length
        begin += size
    if filled != len(into):
        raise Changed("the checkpoint")
