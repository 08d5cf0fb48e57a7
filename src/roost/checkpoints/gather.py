"""Gather: a version comes back from all nodes at once, every chunk verified before a byte of it is written.

What was written before an interruption is hashed again and kept; all else is fetched (`fetching`).
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from roost.checkpoints.fetching import FETCHERS, Fetcher
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.target import Target
from roost.codec.manifest import Manifest
from roost.codec.safetensors import header_length, parse_header
from roost.core.errors import RoostError, first_of
from roost.core.ids import ObjectId


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a gather did. `failovers` and `repaired` are as those of `Fetcher`."""

    bytes: int
    bytes_received: int
    failovers: int
    already_there: bool
    notes: tuple[str, ...]
    repaired: int = 0


async def gather(peers: Peers, survey: Survey, manifest: Manifest, target: Target, progress: Progress) -> Gathered:
    """Bring `manifest` back into `target`.

    Raises Lost (exit 5) when every member answered and some chunk has no good copy, naming chunk, tensor and file;
    Unreachable (exit 6) when members that could not be reached may hold one; what `Target` raises. Whatever it
    raises, what was at the target is untouched, and the partial work is resumed by the next gather.
    """
    runtime = peers.runtime
    if await runtime.in_thread(target.finished_already):
        return Gathered(target.bytes, 0, 0, True, tuple(progress.notes))
    return await _Gathering(peers, survey, manifest, target, progress).run()


class _Gathering:
    """One gather under way."""

    def __init__(self, peers: Peers, survey: Survey, manifest: Manifest, target: Target, progress: Progress) -> None:
        self._peers = peers
        self._manifest = manifest
        self._target = target
        self._progress = progress
        self._fetcher = Fetcher(peers, survey, manifest, progress, describe=self._what_needs)
        self._writing = asyncio.Lock()
        self._done: set[int] = set()

    async def run(self) -> Gathered:
        fetcher = self._fetcher
        try:
            await self._bring()
        except RoostError:
            await fetcher.mend()
            raise
        await fetcher.mend()
        notes = tuple(self._progress.notes)
        return Gathered(self._target.bytes, fetcher.received, fetcher.failovers, False, notes, fetcher.repaired)

    async def _bring(self) -> None:
        runtime = self._peers.runtime
        progress, target = self._progress, self._target
        progress.bytes_total = target.bytes
        try:
            resumed = await runtime.in_thread(target.prepare)
            if resumed:
                progress.enter("checking what an interrupted gather left")
                await self._resume()
            progress.enter("asking the nodes what they have")
            await self._fetch_all([chunk for chunk in target.chunks if chunk not in self._done])
            progress.enter("writing to the disk")
            await runtime.in_thread(target.finish)
        finally:
            await runtime.in_thread(target.close)

    async def _resume(self) -> None:
        """Keep the chunks that are there whole."""
        buffer = memoryview(bytearray(max(self._manifest.chunks.lengths, default=0)))

        def good(chunk: int) -> bool:
            facts = self._manifest.chunks.chunk(chunk)
            plain = buffer[: facts.length]
            return self._target.read(chunk, plain) and hashlib.sha256(plain).digest() == facts.plain

        for chunk in self._target.chunks:
            if await self._peers.runtime.in_thread(good, chunk):
                self._done.add(chunk)
                self._progress.advance(self._target.bytes_of(chunk))

    async def _fetch_all(self, chunks: Sequence[int]) -> None:
        places: dict[ObjectId, list[int]] = {}
        for chunk in chunks:
            places.setdefault(self._manifest.chunks.id_of(chunk), []).append(chunk)
        await self._fetcher.find(places)
        self._progress.enter("receiving")
        todo = iter(places.values())
        broken: RoostError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(FETCHERS, len(places))):
                    group.create_task(self._fetch_some(todo))
        except* RoostError as errors:
            broken = first_of(errors)
        if broken is not None:
            raise broken

    async def _fetch_some(self, todo: Iterator[list[int]]) -> None:
        buffer = self._fetcher.new_buffer()
        for chunks in todo:
            await self._fetcher.fetch(chunks[0], buffer, partial(self._write, chunks))

    async def _write(self, chunks: list[int], plain: memoryview) -> None:
        for chunk in chunks:
            async with self._writing:
                await self._peers.runtime.in_thread(self._target.write, chunk, plain)
            self._done.add(chunk)
            self._progress.advance(self._target.bytes_of(chunk))

    async def _what_needs(self, chunk: int) -> str:
        """Which files and tensors need chunk number `chunk`; the headers that name the tensors are fetched first, as
        far as they are to be had."""
        layout, buffer = self._manifest.layout(), self._fetcher.new_buffer()
        for piece in layout.pieces_of(chunk):
            first = layout.chunks_of(piece.file)[0]
            if first != chunk and first not in self._done:
                await self._fetcher.try_fetch(first, buffer, partial(self._write, [first]))
        async with self._writing:
            return await self._peers.runtime.in_thread(self._describe, chunk)

    def _describe(self, chunk: int) -> str:
        """Which file, and which tensors of it when its header is at hand, need chunk number `chunk`."""
        layout = self._manifest.layout()
        said: list[str] = []
        for piece in layout.pieces_of(chunk):
            path = self._manifest.files[piece.file].path
            tensors = self._tensors(piece.file, piece.file_offset, piece.file_offset + piece.length)
            said.append(f"{path}, {', '.join(tensors[:3])}" if tensors else path)
        return "; ".join(said[:3]) + (" and more" if len(said) > 3 else "")

    def _tensors(self, index: int, begin: int, end: int) -> list[str]:
        """The tensors in bytes `begin` to `end` of a safetensors file whose header has been written already."""
        layout = self._manifest.layout()
        chunks = layout.chunks_of(index)
        if not chunks or chunks[0] not in self._done:
            return []
        header = bytearray(self._manifest.chunks.chunk(chunks[0]).length)
        first = next((p for p in layout.pieces_of(chunks[0]) if p.file == index), None)
        if first is None or first.file_offset or not self._target.read(chunks[0], memoryview(header)):
            return []
        data = memoryview(header)[first.chunk_offset : first.chunk_offset + first.length]
        length = header_length(data[:8]) if len(data) >= 8 else None
        if length is None or length > len(data):
            return []
        try:
            parsed = parse_header(data[:length], file_bytes=self._manifest.files[index].size)
        except RoostError:
            return []
        return [f"tensor {t.name}" for t in parsed.tensors if t.begin < end and t.end > begin]
