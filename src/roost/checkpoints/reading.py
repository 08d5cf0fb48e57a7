"""Reading: any bytes of a stored version, without gathering it: only the chunks that hold them are fetched.

What was fetched stays in memory, up to a bound; the chunk that was used longest ago goes first.
"""

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Iterator

from roost.checkpoints.fetching import FETCHERS, Fetcher
from roost.checkpoints.peers import Peers
from roost.checkpoints.progress import Progress
from roost.codec.manifest import Manifest, Piece
from roost.core.checkpoint import Redundancy
from roost.core.errors import NotFound, RoostError, UsageError, first_of

CACHE_BYTES = 128 * 1024 * 1024
"""How many bytes of chunks a reading keeps, unless it is told another number."""
ASK_AGAIN_S = 60.0
"""For how long it is believed who has what."""


class Reading:
    """The bytes of `manifest`'s files, by range. Several tasks may read at a time; a chunk that two of them need is
    fetched once. It holds the cache, `FETCHERS` objects and some chunks in memory, whatever is read."""

    def __init__(self, peers: Peers, manifest: Manifest, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._peers = peers
        self._manifest = manifest
        self._layout = manifest.layout()
        self._cache = _Cache(cache_bytes)
        self._files = {entry.path: index for index, entry in enumerate(manifest.files) if entry.kind == "f"}
        self._fetcher: Fetcher | None = None
        self._asked_at = 0.0
        self._asking = asyncio.Lock()
        self._places = asyncio.Semaphore(FETCHERS)
        self._buffers: list[memoryview] = []
        self._coming: dict[int, asyncio.Future[None]] = {}

    def size(self, path: str) -> int:
        """The bytes of a file. NotFound when there is none of that name."""
        return self._manifest.files[self._index(path)].size

    async def read(self, path: str, begin: int, into: memoryview) -> None:
        """Fill `into` with the bytes of file `path` from `begin` on.

        NotFound when there is no such file, UsageError when it ends before; Lost or Unreachable as `Fetcher.fetch`.
        """
        index = self._index(path)
        if begin < 0 or begin + len(into) > self._manifest.files[index].size:
            raise UsageError(f"bytes {begin} to {begin + len(into)} are not all in {path}")
        offset = self._layout.file_offsets[index] + begin
        chunks = self._layout.chunks_in(offset, offset + len(into))
        part = _Part(self._layout.chunk_offsets, offset, into)
        todo = iter(chunks)
        broken: RoostError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(FETCHERS, len(chunks))):
                    group.create_task(self._bring(todo, part))
        except* RoostError as errors:
            broken = first_of(errors)
        if broken is not None:
            self._fetcher = None  # who has what is asked anew the next time
            raise broken
        if self._fetcher is not None:
            await self._fetcher.mend()

    def _index(self, path: str) -> int:
        try:
            return self._files[path]
        except KeyError:
            raise NotFound(f"{self._manifest.name} has no file {path!r}", hint="see: roost show NAME") from None

    async def _bring(self, todo: Iterator[int], part: "_Part") -> None:
        for chunk in todo:
            while not part.take(chunk, self._cache.get(chunk)):
                coming = self._coming.get(chunk)
                if coming is None:
                    await self._fetch(chunk, part)
                    break
                await asyncio.wait([coming])  # its own failure is told where it was begun; then it is our turn

    async def _fetch(self, chunk: int, part: "_Part") -> None:
        async def use(plain: memoryview) -> None:
            part.take(chunk, plain)
            self._cache.put(chunk, plain)

        self._coming[chunk] = asyncio.get_running_loop().create_future()
        try:
            async with self._places:
                fetcher = await self._asked()
                buffer = self._buffers.pop() if self._buffers else fetcher.new_buffer()
                await fetcher.fetch(chunk, buffer, use)
                self._buffers.append(buffer)
        finally:
            self._coming.pop(chunk).set_result(None)

    async def _asked(self) -> Fetcher:
        """A fetcher that knows who has what."""
        async with self._asking:
            now = self._peers.runtime.now()
            if self._fetcher is None or now - self._asked_at > ASK_AGAIN_S:
                survey = await self._peers.survey(enough=Redundancy.parse(self._manifest.redundancy))
                survey.require_any()
                fetcher = Fetcher(self._peers, survey, self._manifest, Progress(), describe=self._what_needs)
                await fetcher.find(self._manifest.objects())
                self._fetcher, self._asked_at = fetcher, now
            return self._fetcher

    async def _what_needs(self, chunk: int) -> str:
        pieces: list[Piece] = list(self._layout.pieces_of(chunk))
        return "; ".join(self._manifest.files[piece.file].path for piece in pieces[:3])


class _Part:
    """The part of the stream that one read wants: from `offset` on, as much as `into` holds."""

    def __init__(self, chunk_offsets: "array[int]", offset: int, into: memoryview) -> None:
        self._chunk_offsets = chunk_offsets
        self._offset = offset
        self._into = into

    def take(self, chunk: int, plain: memoryview | bytes | None) -> bool:
        """Copy what is wanted of a chunk's bytes, if they are there; whether they were."""
        if plain is None:
            return False
        at = self._chunk_offsets[chunk]
        begin, end = max(at, self._offset), min(at + len(plain), self._offset + len(self._into))
        self._into[begin - self._offset : end - self._offset] = memoryview(plain)[begin - at : end - at]
        return True


class _Cache:
    """Chunks by their number, `bytes_max` together at most."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._chunks: OrderedDict[int, bytes] = OrderedDict()

    def get(self, chunk: int) -> bytes | None:
        found = self._chunks.get(chunk)
        if found is not None:
            self._chunks.move_to_end(chunk)
        return found

    def put(self, chunk: int, plain: memoryview) -> None:
        if len(plain) > self._bytes_max or chunk in self._chunks:
            return
        self._bytes += len(plain)
        self._chunks[chunk] = bytes(plain)
        while self._bytes > self._bytes_max:
            _, gone = self._chunks.popitem(last=False)
            self._bytes -= len(gone)
