"""Fetching: one version's chunks come from whichever nodes hold them, each verified before anybody sees a byte of it.

An object is asked of the holder that has least to do for us; one that fails, lies or goes silent is passed over and
another asked. A holder whose copy turned out to be damaged or gone is given a good one in the end.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.load import Loads, unless_overtaken
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.codec.manifest import CODEC_RAW, Manifest
from roost.codec.planes import Scratch, decode
from roost.core.errors import Damaged, Lost, NotFound, RoostError, Unreachable
from roost.core.ids import NodeId, ObjectId

FETCHERS = 6
"""How many objects one operation fetches at a time."""
DECODERS = 2
MENDERS = 4
MEND_LIMIT_S = 10.0
"""How long an operation that has all it wants stays to have damaged copies made again; the steward sees to the rest."""

Use = Callable[[memoryview], Awaitable[None]]
"""Takes a chunk's plain bytes, which are its only until it returns."""
Describe = Callable[[int], Awaitable[str]]
"""Says which file and tensors need chunk number so and so."""


@dataclass(slots=True)
class _Hunt:
    """One object that is looked for: the number of a chunk that it makes, who was asked, and who was slow with it."""

    object_id: ObjectId
    chunk: int
    buffer: memoryview
    use: Use
    tried: set[NodeId] = field(default_factory=set)
    slow: set[NodeId] = field(default_factory=set)


class Fetcher:
    """One operation's chunks on their way here: `find` who holds them first, then `fetch` each.

    `failovers` counts the times that another holder had to be asked, `received` the bytes that came, `repaired` the
    damaged copies that `mend` had made again. Buffers are as long as the longest object of the version.
    """

    def __init__(
        self, peers: Peers, survey: Survey, manifest: Manifest, progress: Progress, *, describe: Describe
    ) -> None:
        self.failovers = 0
        self.received = 0
        self.repaired = 0
        self._peers = peers
        self._survey = survey
        self._manifest = manifest
        self._progress = progress
        self._describe = describe
        self._decoders: asyncio.Queue[tuple[memoryview, Scratch]] = asyncio.Queue()
        self._sizes = manifest.object_bytes()
        self._loads = Loads()
        self._holders: dict[ObjectId, set[NodeId]] = {}
        self._silent: dict[NodeId, RoostError] = dict(survey.problems)
        self._passed_over: dict[NodeId, RoostError] = {}
        self._doubted: set[ObjectId] = set()
        """Objects for which those are asked too that denied having them."""
        self._bad: dict[ObjectId, set[NodeId]] = {}
        self._to_mend: list[tuple[ObjectId, NodeId, NodeId]] = []
        chunk_bytes_max = max(manifest.chunks.lengths, default=0)
        for _ in range(DECODERS):
            self._decoders.put_nowait((memoryview(bytearray(chunk_bytes_max)), Scratch()))

    def new_buffer(self) -> memoryview:
        """One buffer for `fetch`."""
        return memoryview(bytearray(max(self._manifest.chunks.stored, default=0)))

    async def find(self, ids: Iterable[ObjectId]) -> None:
        """Ask all nodes that answer which of these objects they have."""
        holders, problems = await ask_all_have(self._peers, sorted(self._survey.reached), list(ids))
        self._holders.update(holders)
        self._silent |= problems
        self._passed_over |= problems
        for node, error in problems.items():
            self._progress.note(f"{self._survey.name(node)} is passed over: {error.message}")

    async def fetch(self, chunk: int, buffer: memoryview, use: Use) -> None:
        """Fetch chunk number `chunk`, whose object was asked for in `find`, and let `use` have its plain bytes.

        Lost when every member answered and none has a good copy, Unreachable when one that did not answer may have.
        """
        hunt = _Hunt(self._manifest.chunks.id_of(chunk), chunk, buffer, use)
        while True:
            node = self._choose(hunt)
            if node is None:
                raise await self._nowhere(hunt)
            hunt.tried.add(node)
            hunt.slow.discard(node)
            if await self._fetch_from(node, hunt):
                bad = sorted(self._bad.pop(hunt.object_id, ()))
                self._to_mend += [(hunt.object_id, node, other) for other in bad]
                return
            self.failovers += 1

    async def try_fetch(self, chunk: int, buffer: memoryview, use: Use) -> bool:
        """As `fetch`, of those alone that said they have it; whether it was to be had."""
        object_id = self._manifest.chunks.id_of(chunk)
        holders = set(self._holders.get(object_id, ()))
        hunt = _Hunt(object_id, chunk, buffer, use, tried=holders)
        for node in sorted(holders):
            if await self._fetch_from(node, hunt):
                return True
        return False

    async def mend(self) -> None:
        """Have good copies passed on to where bad ones were found, as far as that goes in a short time. Fails nothing:
        whoever does not get one now gets it from the steward."""
        keepers = {member.node_id for member in self._survey.view.keepers}
        damages = [damage for damage in self._to_mend if damage[-1] in keepers]
        self._to_mend.clear()
        if not damages:
            return
        self._progress.enter("having damaged copies made again")
        todo = iter(damages)

        async def one(object_id: ObjectId, holder: NodeId, target: NodeId) -> None:
            with contextlib.suppress(RoostError):
                [here] = await self._peers.store(target).have([object_id])
                if not here and not await self._peers.pass_on(object_id, holder=holder, target=target):
                    self.repaired += 1

        async def mender() -> None:
            for damage in todo:
                await one(*damage)

        with contextlib.suppress(TimeoutError):
            async with self._peers.runtime.timeout(MEND_LIMIT_S), asyncio.TaskGroup() as group:
                for _ in range(min(MENDERS, len(damages))):
                    group.create_task(mender())

    def _choose(self, hunt: _Hunt) -> NodeId | None:
        """The holder that would be done first. One that was passed over, or was slow with this very object, is asked
        only when no other is left, and after the holders all who denied having it: a disk that failed for a moment
        makes its node doubt good copies."""
        object_id, tried = hunt.object_id, hunt.tried - hunt.slow
        left = self._holders[object_id] - tried
        if not left:
            left = set(self._survey.reached) - tried - self._silent.keys() - self._passed_over.keys()
            self._holders[object_id] |= left
            self._doubted.add(object_id)
        size, now = self._sizes[object_id], self._peers.runtime.now()

        def key(node: NodeId) -> tuple[bool, bool, float, bytes]:
            seconds = self._loads.expected_s(node, size, now=now)
            return node in self._passed_over, node in hunt.slow, seconds, object_id + node.encode()

        return min(left, key=key, default=None)

    def _overtaken(self, node: NodeId, hunt: _Hunt) -> bool:
        others = self._holders[hunt.object_id] - hunt.tried - self._passed_over.keys()
        return self._loads.overtaken(node, others, self._sizes[hunt.object_id], now=self._peers.runtime.now())

    async def _fetch_from(self, node: NodeId, hunt: _Hunt) -> bool:
        """Whether the object was had from `node`, which is one of those tried. One that is overtaken by another who
        was not goes to the slow."""
        name, object_id = self._survey.name(node), hunt.object_id
        size, moved = self._sizes[object_id], False
        self._loads.begin(node, size, now=self._peers.runtime.now())
        self._progress.begin_wait(name)
        try:
            getting = self._peers.store(node).get(object_id, hunt.buffer)
            received = await unless_overtaken(getting, lambda: self._overtaken(node, hunt))
            moved = received is not None
        except (NotFound, Damaged) as error:
            self._holders[object_id].discard(node)
            if isinstance(error, Damaged) or object_id not in self._doubted:
                self._bad.setdefault(object_id, set()).add(node)
            self._progress.note(f"{name} has no good copy of {object_id.hex()[:12]}: {error.message}")
            return False
        except RoostError as error:
            self._passed_over[node] = error
            self._progress.note(f"{name} is passed over: {error.message}")
            return False
        finally:
            self._loads.end(node, size, now=self._peers.runtime.now(), moved=moved)
            self._progress.end_wait(name)
        if received is None:
            hunt.slow.add(node)
            self._progress.note(f"{name} is slow: others are asked in its place")
            return False
        self.received += received
        self._progress.bytes_moved += received
        try:
            await self._unpack(hunt, hunt.buffer[:received])
        except Damaged as error:
            self._holders[object_id].discard(node)
            self._progress.note(f"{name} sent a damaged copy of {object_id.hex()[:12]}: {error.message}")
            return False
        return True

    async def _unpack(self, hunt: _Hunt, stored: memoryview) -> None:
        """Decode an object whose id was checked, check the plain bytes too, and hand them on. Damaged before a byte is
        seen when they are not what was stored."""
        facts = self._manifest.chunks.chunk(hunt.chunk)
        if facts.codec == CODEC_RAW:
            if facts.plain != facts.object_id or facts.length != len(stored):
                raise Damaged("a raw object whose plain bytes have another SHA-256")
            await hunt.use(stored)
            return
        decoder = await self._decoders.get()
        try:
            plain = decoder[0][: facts.length]
            await self._peers.runtime.in_thread(_decode, stored, plain, decoder[1], facts.plain)
            await hunt.use(plain)
        finally:
            self._decoders.put_nowait(decoder)

    async def _nowhere(self, hunt: _Hunt) -> RoostError:
        """Why an object cannot be had, naming the chunk, the file and the tensor that need it."""
        object_id, what = hunt.object_id, await self._describe(hunt.chunk)
        left = self._holders[object_id]
        failed = self._silent | {node: error for node, error in self._passed_over.items() if node in left}
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


def _decode(stored: memoryview, plain: memoryview, scratch: Scratch, expected: bytes) -> None:
    if decode(stored, plain, scratch=scratch) != len(plain) or hashlib.sha256(plain).digest() != expected:
        raise Damaged("its decoded bytes are not those that were stored")
