"""Gather: a version comes back from all nodes at once, every chunk verified before a byte of it is written.

Chunks are fetched from whichever holder has least to do for us; one that fails, lies or goes silent is passed over and
another asked. What was written before an interruption is hashed again and kept. A holder whose copy turned out to be
damaged or gone is given a good one in the end.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.load import Loads, unless_overtaken
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.target import Target
from roost.codec.manifest import CODEC_RAW, Manifest
from roost.codec.planes import Scratch, decode
from roost.codec.safetensors import header_length, parse_header
from roost.core.errors import Damaged, Lost, NotFound, RoostError, Unreachable, first_of
from roost.core.ids import NodeId, ObjectId

FETCHERS = 6
DECODERS = 2
MENDERS = 4
MEND_LIMIT_S = 10.0
"""How long a gather that has all it wants stays to have damaged copies made again; the steward sees to the rest."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a gather did. `failovers` counts the times that another holder had to be asked, `repaired` the damaged
    copies that were made again from good ones."""

    bytes: int
    bytes_received: int
    failovers: int
    already_there: bool
    notes: tuple[str, ...]
    repaired: int = 0


@dataclass(slots=True)
class _Fetching:
    """Who holds what, who did not say (and why), how busy each is, who is passed over and why. `doubted` are objects
    for which those are asked too that denied having them."""

    holders: dict[ObjectId, set[NodeId]]
    silent: dict[NodeId, RoostError]
    loads: Loads = field(default_factory=Loads)
    passed_over: dict[NodeId, RoostError] = field(default_factory=dict)
    doubted: set[ObjectId] = field(default_factory=set)


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
        self._survey = survey
        self._manifest = manifest
        self._target = target
        self._progress = progress
        self._writing = asyncio.Lock()
        self._decoders: asyncio.Queue[tuple[memoryview, Scratch]] = asyncio.Queue()
        self._sizes = manifest.object_bytes()
        self._object_bytes_max = max(manifest.chunks.stored, default=0)
        self._chunk_bytes_max = max(manifest.chunks.lengths, default=0)
        self._done: set[int] = set()
        self._received = 0
        self._failovers = 0
        self._bad: dict[ObjectId, set[NodeId]] = {}
        self._to_mend: list[tuple[ObjectId, NodeId, NodeId]] = []
        self._repaired = 0

    async def run(self) -> Gathered:
        try:
            await self._bring()
        except RoostError:
            await self._mend()
            raise
        await self._mend()
        notes = tuple(self._progress.notes)
        return Gathered(self._target.bytes, self._received, self._failovers, False, notes, self._repaired)

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

    async def _mend(self) -> None:
        """Have good copies passed on to where bad ones were found, as far as that goes in a short time. Fails nothing:
        whoever does not get one now gets it from the steward."""
        if not self._to_mend:
            return
        self._progress.enter("having damaged copies made again")
        keepers = {member.node_id for member in self._survey.view.keepers}
        todo = iter([damage for damage in self._to_mend if damage[-1] in keepers])

        async def one(object_id: ObjectId, holder: NodeId, target: NodeId) -> None:
            with contextlib.suppress(RoostError):
                [here] = await self._peers.store(target).have([object_id])
                if not here and not await self._peers.pass_on(object_id, holder=holder, target=target):
                    self._repaired += 1

        async def mender() -> None:
            for damage in todo:
                await one(*damage)

        with contextlib.suppress(TimeoutError):
            async with self._peers.runtime.timeout(MEND_LIMIT_S), asyncio.TaskGroup() as group:
                for _ in range(min(MENDERS, len(self._to_mend))):
                    group.create_task(mender())

    async def _resume(self) -> None:
        """Keep the chunks that are there whole."""
        buffer = memoryview(bytearray(self._chunk_bytes_max))

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
        holders, problems = await ask_all_have(self._peers, sorted(self._survey.reached), list(places))
        fetching = _Fetching(holders, {**self._survey.problems, **problems}, passed_over=dict(problems))
        for node, error in problems.items():
            self._progress.note(f"{self._survey.name(node)} is passed over: {error.message}")
        self._progress.enter("receiving")
        todo = iter(places.items())
        for _ in range(DECODERS):
            self._decoders.put_nowait((memoryview(bytearray(self._chunk_bytes_max)), Scratch()))
        broken: RoostError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(FETCHERS, len(places))):
                    group.create_task(self._fetcher(todo, fetching))
        except* RoostError as errors:
            broken = first_of(errors)
        if broken is not None:
            raise broken

    async def _fetcher(self, todo: Iterator[tuple[ObjectId, list[int]]], fetching: _Fetching) -> None:
        buffer = memoryview(bytearray(self._object_bytes_max))
        for object_id, chunks in todo:
            await self._fetch(object_id, chunks, fetching, buffer)

    async def _fetch(self, object_id: ObjectId, chunks: list[int], fetching: _Fetching, buffer: memoryview) -> None:
        """Fetch one object and write it to all chunks that it makes."""
        tried: set[NodeId] = set()
        slow: set[NodeId] = set()
        while True:
            node = self._choose(object_id, fetching, tried - slow, slow)
            if node is None:
                raise await self._nowhere(object_id, chunks[0], fetching)
            tried.add(node)
            slow.discard(node)
            if await self._fetch_from(node, object_id, chunks, fetching, buffer, tried, slow):
                self._to_mend += [(object_id, node, bad) for bad in sorted(self._bad.pop(object_id, ()))]
                return
            self._failovers += 1

    def _choose(self, object_id: ObjectId, fetching: _Fetching, tried: set[NodeId], slow: set[NodeId]) -> NodeId | None:
        """The holder that would be done first. One that was passed over, or was slow with this very object, is asked
        only when no other is left, and after the holders all who denied having it: a disk that failed for a moment
        makes its node doubt good copies."""
        left = fetching.holders[object_id] - tried
        if not left:
            left = set(self._survey.reached) - tried - fetching.silent.keys() - fetching.passed_over.keys()
            fetching.holders[object_id] |= left
            fetching.doubted.add(object_id)
        size, now = self._sizes[object_id], self._peers.runtime.now()

        def key(node: NodeId) -> tuple[bool, bool, float, bytes]:
            seconds = fetching.loads.expected_s(node, size, now=now)
            return node in fetching.passed_over, node in slow, seconds, object_id + node.encode()

        return min(left, key=key, default=None)

    def _overtaken(self, node: NodeId, object_id: ObjectId, fetching: _Fetching, tried: set[NodeId]) -> bool:
        others = fetching.holders[object_id] - tried - fetching.passed_over.keys()
        return fetching.loads.overtaken(node, others, self._sizes[object_id], now=self._peers.runtime.now())

    async def _fetch_from(
        self, node: NodeId, object_id: ObjectId, chunks: list[int], fetching: _Fetching, buffer: memoryview,
        tried: set[NodeId], slow: set[NodeId],
    ) -> bool:  # fmt: skip
        """Whether the object was had from `node`, which is one of those `tried`. One that is overtaken by another who
        was not goes to the `slow`."""
        name = self._survey.name(node)
        size, moved = self._sizes[object_id], False
        fetching.loads.begin(node, size, now=self._peers.runtime.now())
        self._progress.begin_wait(name)
        try:
            getting = self._peers.store(node).get(object_id, buffer)
            received = await unless_overtaken(getting, lambda: self._overtaken(node, object_id, fetching, tried))
            moved = received is not None
        except (NotFound, Damaged) as error:
            fetching.holders[object_id].discard(node)
            if isinstance(error, Damaged) or object_id not in fetching.doubted:
                self._bad.setdefault(object_id, set()).add(node)
            self._progress.note(f"{name} has no good copy of {object_id.hex()[:12]}: {error.message}")
            return False
        except RoostError as error:
            fetching.passed_over[node] = error
            self._progress.note(f"{name} is passed over: {error.message}")
            return False
        finally:
            fetching.loads.end(node, size, now=self._peers.runtime.now(), moved=moved)
            self._progress.end_wait(name)
        if received is None:
            slow.add(node)
            self._progress.note(f"{name} is slow: others are asked in its place")
            return False
        self._received += received
        self._progress.bytes_moved += received
        try:
            await self._unpack(chunks, buffer[:received])
        except Damaged as error:
            fetching.holders[object_id].discard(node)
            self._progress.note(f"{name} sent a damaged copy of {object_id.hex()[:12]}: {error.message}")
            return False
        return True

    async def _unpack(self, chunks: list[int], stored: memoryview) -> None:
        """Decode an object whose id was checked, check the plain bytes too, and write them. Damaged before a byte is
        written when they are not what was stored."""
        facts = self._manifest.chunks.chunk(chunks[0])
        if facts.codec == CODEC_RAW:
            if facts.plain != facts.object_id or facts.length != len(stored):
                raise Damaged("a raw object whose plain bytes have another SHA-256")
            await self._write(chunks, stored)
            return
        decoder = await self._decoders.get()
        try:
            plain = decoder[0][: facts.length]
            await self._peers.runtime.in_thread(_decode, stored, plain, decoder[1], facts.plain)
            await self._write(chunks, plain)
        finally:
            self._decoders.put_nowait(decoder)

    async def _write(self, chunks: list[int], plain: memoryview) -> None:
        for chunk in chunks:
            async with self._writing:
                await self._peers.runtime.in_thread(self._target.write, chunk, plain)
            self._done.add(chunk)
            self._progress.advance(self._target.bytes_of(chunk))

    async def _nowhere(self, object_id: ObjectId, chunk: int, fetching: _Fetching) -> RoostError:
        """Why an object cannot be had, naming the chunk, the file and the tensor that need it."""
        await self._bring_headers(chunk, fetching)
        async with self._writing:
            what = await self._peers.runtime.in_thread(self._describe, chunk)
        left = fetching.holders[object_id]
        failed = fetching.silent | {node: e for node, e in fetching.passed_over.items() if node in left}
        if failed:
            names = "; ".join(f"{self._survey.name(node)}: {error.message}" for node, error in sorted(failed.items()))
            return Unreachable(
                f"chunk {object_id.hex()[:12]} ({what}) is on none of the nodes that answer ({names})",
                hint="bring those nodes back and gather again: what was received is kept",
            )
        return Lost(
            f"no good copy of chunk {object_id.hex()[:12]} ({what}) is left on any node",
            hint="gather an older version (see: roost ls), or the other files with --only",
        )

    async def _bring_headers(self, chunk: int, fetching: _Fetching) -> None:
        """Fetch the first chunks of the files that need chunk number `chunk`: their headers name the tensors. What
        cannot be had is left."""
        layout = self._manifest.layout()
        buffer = memoryview(bytearray(self._object_bytes_max))
        for piece in layout.pieces_of(chunk):
            first = layout.chunks_of(piece.file)[0]
            object_id = self._manifest.chunks.id_of(first)
            if first == chunk or first in self._done:
                continue
            holders = set(fetching.holders.get(object_id, ()))
            for node in sorted(holders):
                if await self._fetch_from(node, object_id, [first], fetching, buffer, holders, set()):
                    break

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


def _decode(stored: memoryview, plain: memoryview, scratch: Scratch, expected: bytes) -> None:
    if decode(stored, plain, scratch=scratch) != len(plain) or hashlib.sha256(plain).digest() != expected:
        raise Damaged("its decoded bytes are not those that were stored")
