"""Store: a file or folder is read once, cut, encoded, put on the nodes, and committed.

Three stages overlap: one thread reads and hashes the files, up to four chunks are hashed, looked up and encoded in
threads, and what is new is on its way to the nodes, each bounded by the buffers it needs (`buffers`). Chunks whose
plain bytes an earlier version holds are neither encoded nor sent.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from roost.checkpoints.buffers import Buffers, Loan, Window
from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.cutting import Cut, Cutter, reread
from roost.checkpoints.delivery import Delivery, Nowhere, Pieces, SentInVain, ask_all_have
from roost.checkpoints.holding import Changed, Holding
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.placement import Chooser
from roost.checkpoints.progress import Progress
from roost.checkpoints.renewal import renewing
from roost.checkpoints.room import note_shortage, why_nowhere
from roost.checkpoints.rounds import prove, remember
from roost.checkpoints.scan import Scan
from roost.codec.manifest import Chunk, ChunkTable, Manifest, dedup_index, tree_digest
from roost.codec.planes import RAW, Encoded, Scratch, encode
from roost.codec.records import encode_record, record_id
from roost.core.checkpoint import CHUNK_BYTES_MAX, Redundancy
from roost.core.errors import RoostError, UsageError, first_of
from roost.core.ids import CheckpointName, NodeId, ObjectId
from roost.disk.port import Disk


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What to store and how. `source` says where it came from (``host:/path``); a name that was not given but made
    from the path (`defaulted`) is refused when its newest version came from another place."""

    name: CheckpointName
    source: str
    redundancy: Redundancy
    chunk_max: int = CHUNK_BYTES_MAX
    compress: bool = True
    defaulted: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `store` promises from now on: the version is durable on `nodes`, every object on `copies` machines."""

    name: CheckpointName
    version: str
    unchanged: bool
    bytes: int
    bytes_sent: int
    chunks: int
    chunks_new: int
    copies: int
    degraded: bool
    nodes: tuple[NodeId, ...]
    single_machine: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of one chunk, and the width that it was encoded with."""

    chunk: Chunk
    width: int


async def store(
    peers: Peers, catalogue: Catalogue, disk: Disk, scan: Scan, request: StoreRequest, progress: Progress
) -> Receipt:
    """Open all that `scan` found on `disk`, and store it: see `store_held`. `Changed` or NotFound when a file was
    written or removed since."""
    holding = Holding(disk, scan)
    try:
        await peers.runtime.in_thread(holding.open_all)
        return await store_held(peers, catalogue, holding, request, progress)
    finally:
        holding.close()


async def store_held(
    peers: Peers, catalogue: Catalogue, holding: Holding, request: StoreRequest, progress: Progress
) -> Receipt:
    """Store the files that are open already, and return the receipt once the commit proved it.

    `degraded` in the receipt says that fewer copies could be made than asked (at least one of everything is durable).
    Raises Unreachable when no copy could be committed, NoSpace, which tells how much is missing, when that is because
    the nodes are full, `Changed` when a file was written meanwhile. Nothing is listed before all its bytes are durable;
    when nodes die between the votes of one commit, a version may be listed although this raises.
    """
    survey = await peers.survey(enough=request.redundancy)
    survey.require_any()
    return await _Storing(peers, catalogue, holding, request, progress, survey).run()


class _Storing:
    """One store under way."""

    def __init__(
        self, peers: Peers, catalogue: Catalogue, holding: Holding, request: StoreRequest, progress: Progress,
        survey: Survey,
    ) -> None:  # fmt: skip
        self._peers = peers
        self._catalogue = catalogue
        self._scan = scan = holding.scan
        self._request = request
        self._progress = progress
        self._survey = survey
        self._chooser = Chooser(survey.view, set(survey.reached))
        for node, error in survey.problems.items():
            progress.note(f"{survey.name(node)} is not reached: {error.message}")
        self._delivery = Delivery(peers, self._chooser, request.redundancy.copies, progress)
        self._holding = holding
        self._cutter = Cutter(self._holding, scan, chunk_max=request.chunk_max)
        self._made: list[_Made | None] = []
        self._offsets: list[int] = []
        self._read = 0
        self._known: dict[bytes, Chunk] = {}
        self._under_way: dict[ObjectId, asyncio.Future[None]] = {}
        self._new: set[ObjectId] = set()
        self._spreading: set[ObjectId] = set()
        self._failures = 0
        window_bytes = max(request.chunk_max, min(CHUNK_BYTES_MAX, max(1, scan.bytes)))
        self._buffers = Buffers(window_bytes=window_bytes, chunk_max=request.chunk_max)
        progress.bytes_total = scan.bytes

    async def run(self) -> Receipt:
        async with renewing(self._delivery):
            try:
                return await self._store()
            except Nowhere:
                error = await why_nowhere(self._delivery, "the store", self._sizes(), more=self._still_to_come())
        raise error

    async def _store(self) -> Receipt:
        await self._look_up()
        self._progress.enter("reading")
        try:
            await self._move()
        finally:
            self._cutter.close()
        manifest, unchanged = await self._manifest()
        data = encode_record(manifest)
        self._progress.enter("waiting for the nodes to confirm")
        redundancy = self._request.redundancy
        proof = await prove(self._delivery, data, manifest.objects(), redundancy, self._remake)
        await remember(self._catalogue, data, self._progress)
        if proof.degraded:
            await note_shortage(self._delivery, manifest.object_bytes())
        return Receipt(
            name=self._request.name,
            version=manifest.version_of(record_id(data)),
            unchanged=unchanged,
            bytes=self._scan.bytes,
            bytes_sent=self._delivery.bytes_sent,
            chunks=len(self._made),
            chunks_new=len(self._new),
            copies=proof.copies,
            degraded=proof.degraded,
            nodes=tuple(sorted(proof.nodes)),
            single_machine=self._survey.view.single_machine,
            notes=tuple(self._progress.notes),
        )

    def _sizes(self) -> dict[ObjectId, int]:
        """The bytes at rest of every object so far."""
        return {made.chunk.object_id: made.chunk.stored for made in self._made if made is not None}

    def _still_to_come(self) -> int:
        """About how many bytes on the nodes take what is not encoded yet, at the ratio of what is."""
        read = sum(made.chunk.length for made in self._made if made is not None)
        sizes = self._sizes()
        ratio = sum(sizes[i] for i in self._new) / read if read else 1.0
        return round((self._scan.bytes - read) * ratio * self._request.redundancy.copies)

    async def _look_up(self) -> None:
        """Which chunks earlier versions hold, and which of those objects the nodes still have."""
        self._progress.enter("asking the nodes what they have")
        newest = await self._catalogue.newest(self._request.name)
        if self._request.defaulted and newest is not None and newest.source != self._request.source:
            raise UsageError(
                f"{self._request.name} was stored from another place ({newest.source})",
                hint=f"give it a name of its own, or make it the next version with: --name {self._request.name}",
            )
        manifests = await self._catalogue.relatives(self._request.name)
        index = await self._peers.runtime.in_thread(dedup_index, manifests)
        ids = sorted({known.object_id for known in index.values()})
        holders, problems = await ask_all_have(self._peers, sorted(self._survey.reached), ids, reserve=True)
        for node, error in problems.items():
            self._chooser.fail(node, error.message)
        self._known = {plain: known for plain, known in index.items() if holders[known.object_id]}
        self._delivery.holders.update({i: nodes for i, nodes in holders.items() if nodes})

    async def _move(self) -> None:
        """Read, encode and deliver everything once."""
        broken: RoostError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    buffer = await self._buffers.windows.get()
                    cuts = await self._peers.runtime.in_thread(self._cutter.next_window, buffer)
                    if not cuts:
                        break
                    window = Window(buffer, len(cuts))
                    for cut in cuts:
                        index = len(self._made)
                        self._made.append(None)
                        self._offsets.append(self._read)
                        self._read += len(cut.plain)
                        loan = await self._buffers.lend(window)
                        group.create_task(self._chunk(group, index, cut, loan))
        except* RoostError as errors:
            broken = first_of(errors)
        if broken is not None:
            raise broken

    async def _chunk(self, group: asyncio.TaskGroup, index: int, cut: Cut, loan: Loan) -> None:
        try:
            made, encoded = await self._peers.runtime.in_thread(self._prepare, cut, loan.scratch)
            self._made[index] = made
            if encoded is not None:
                await self._deliver(group, made.chunk.object_id, loan.to_send(encoded), sent=loan.close)
            self._progress.advance(made.chunk.length)
        finally:
            loan.close()

    def _prepare(self, cut: Cut, scratch: Scratch) -> tuple[_Made, Encoded | None]:
        """Hash, look up, encode: all that takes long, in a thread."""
        plain = hashlib.sha256(cut.plain).digest()
        known = self._known.get(plain)
        if known is not None and known.length == len(cut.plain):
            return _Made(known, cut.width), None
        encoded, object_id = self._encode(cut, scratch, plain)
        return _Made(Chunk(object_id, plain, len(cut.plain), encoded.length, encoded.codec), cut.width), encoded

    def _encode(self, cut: Cut, scratch: Scratch, plain: bytes) -> tuple[Encoded, ObjectId]:
        if not self._request.compress:
            return Encoded(RAW, (cut.plain,), len(cut.plain)), ObjectId(plain)
        encoded = encode(cut.plain, width=cut.width, scratch=scratch)
        if encoded.codec == RAW:
            return encoded, ObjectId(plain)
        digest = hashlib.sha256()
        for piece in encoded.pieces:
            digest.update(piece)
        return encoded, ObjectId(digest.digest())

    async def _deliver(
        self, group: asyncio.TaskGroup, object_id: ObjectId, pieces: Pieces, *, sent: Callable[[], None]
    ) -> None:
        """Upload the object unless the same bytes are here or on their way already; passing on goes on behind. The
        pieces are not used any more once `sent` is called."""
        if self._delivery.of(object_id):
            return
        other = self._under_way.get(object_id)
        if other is not None:
            await asyncio.shield(other)
            return
        done = self._under_way[object_id] = asyncio.get_running_loop().create_future()
        self._new.add(object_id)
        try:
            node = await self._upload(object_id, pieces, sent)
        finally:
            done.set_result(None)
        if node is None:
            raise Nowhere
        self._spread_soon(group, object_id)
        self._make_good(group)

    async def _upload(self, object_id: ObjectId, pieces: Pieces, sent: Callable[[], None]) -> NodeId | None:
        """The node that has it; None when none takes it. If one fails after it was sent all, it is made from the file
        again, which is still open: `Changed` when that is another by now."""
        try:
            return await self._delivery.upload(object_id, pieces, sent=sent)
        except SentInVain:
            async with self._remake(object_id) as again:
                return await self._delivery.upload(object_id, again) if again is not None else None

    def _make_good(self, group: asyncio.TaskGroup) -> None:
        """Have copies that went with a node which failed made again from their other holders now, beside what is still
        read, and not in the end."""
        if len(self._chooser.failed) != self._failures:
            self._failures = len(self._chooser.failed)
            for object_id in sorted(self._new):
                if self._delivery.of(object_id):
                    self._spread_soon(group, object_id)

    def _spread_soon(self, group: asyncio.TaskGroup, object_id: ObjectId) -> None:
        if object_id not in self._spreading and self._delivery.copies(object_id) < self._request.redundancy.copies:
            self._spreading.add(object_id)
            group.create_task(self._spread(object_id))

    async def _spread(self, object_id: ObjectId) -> None:
        try:
            await self._delivery.spread(object_id)
        finally:
            self._spreading.discard(object_id)

    async def _manifest(self) -> tuple[Manifest, bool]:
        """The manifest of what was read; or, when the newest version has the same tree, that version's own."""
        tree = tree_digest(self._cutter.entries, shape=self._scan.shape)
        newest = await self._catalogue.newest(self._request.name)
        if newest is not None and newest.tree == tree and str(self._request.redundancy) == newest.redundancy:
            objects = newest.objects()
            holders, _ = await ask_all_have(self._peers, sorted(self._survey.reached), objects, reserve=True)
            for object_id in objects:
                self._delivery.holders.setdefault(object_id, set()).update(holders[object_id])
            if all(self._delivery.of(i) for i in objects):
                return newest, True
        root = self._scan.root
        return Manifest(
            name=self._request.name,
            seq=await self._catalogue.next_seq(self._request.name),
            stored_at=int(self._peers.runtime.wall()),
            redundancy=str(self._request.redundancy),
            shape=self._scan.shape,
            source=self._request.source,
            tree=tree,
            root_mode=root.mode if root else 0,
            root_mtime_ns=root.mtime_ns if root else 0,
            files=self._cutter.entries,
            chunks=ChunkTable.of(made.chunk for made in self._made if made is not None),
        ), False

    @asynccontextmanager
    async def _remake(self, object_id: ObjectId) -> AsyncIterator[Pieces | None]:
        """The bytes of an object once more, from the files; None when no chunk of what we read makes them."""
        for made, offset in zip(self._made, self._offsets, strict=True):
            if made is not None and made.chunk.object_id == object_id:
                async with self._buffers.scratch() as scratch:
                    yield await self._peers.runtime.in_thread(self._make_again, made, offset, scratch, object_id)
                return
        yield None

    def _make_again(self, made: _Made, offset: int, scratch: Scratch, object_id: ObjectId) -> Pieces | None:
        plain = memoryview(bytearray(made.chunk.length))
        reread(self._holding, self._scan, offset, plain)
        if hashlib.sha256(plain).digest() != made.chunk.plain:
            raise Changed("a file of the checkpoint")
        encoded, again = self._encode(Cut(plain, made.width), scratch, made.chunk.plain)
        return encoded.pieces if again == object_id else None
