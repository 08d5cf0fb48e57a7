"""Surplus: copies that belong to other nodes, dropped by their holder alone once all of those have promised to keep
theirs. Both sides: `keep_handler` promises, `Dropper` asks and drops.

A promise is a reservation: what is reserved is never removed, and a node that was just started, and may have promised
what it does not remember, drops no surplus before any promise has run out.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from roost.checkpoints.collect import Periods, Pressure, Surplus, Waiting, belongs_to, why_it_stays, why_surplus_stays
from roost.checkpoints.placement import view_digest
from roost.checkpoints.references import Need, References
from roost.chunks.disk import DiskChunkStore, Moved
from roost.core.cluster import View
from roost.core.errors import RoostError
from roost.core.ids import NodeId, ObjectId, RecordId
from roost.core.runtime import Runtime
from roost.net.links import Links
from roost.net.server import Call, Handler, Reply
from roost.wire.fields import join_ids, pack_bits, split_ids, unpack_bits
from roost.wire.messages import Keep, Keeping

ASKED_AT_ONCE = 256
"""Objects that their keepers are asked for together."""
REMOVED_AT_ONCE = 32
"""Objects that are checked and removed under one hold of the store's guard."""
MAY_GO = "surplus, which may go once those to whom it belongs promise to keep theirs"


def keep_handler(
    store: DiskChunkStore, references: References, *, view: Callable[[], View], trouble: Callable[[], str]
) -> Handler:
    """The side that promises: to keep what is here and named by a live manifest that is here, for as long as a
    reservation lasts. Under another view than the asker's, and while our own disk is in `trouble`, nothing."""

    async def keep(call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Keep)
        ids = [ObjectId(i) for i in split_ids(request.ids)]
        named: set[ObjectId] = set()

        def moved(count: int) -> None:
            call.progress += count

        await references.load(moved)
        for manifest in (RecordId(i) for i in split_ids(request.manifests)):
            if references.is_live(manifest):
                named |= (await references.named_by(manifest)).objects.intersection(ids)
            moved(1)
        asked = [object_id for object_id in ids if object_id in named]
        async with store.guard():
            if request.view != view_digest(view()) or trouble():
                return Reply(Keeping(pack_bits([False] * len(ids))))
            absent = set(await store.missing(asked, moved=moved))
        return Reply(Keeping(pack_bits([i in named and i not in absent for i in ids])))

    return keep


@dataclass(slots=True)
class Dropped:
    """What one pass over the surplus came to: so many objects and bytes went; the others wait."""

    objects: int = 0
    bytes: int = 0
    waits: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def wait(self, reason: str, size: int) -> None:
        """One object stays, for this reason."""
        self.waits[reason][0] += 1
        self.waits[reason][1] += size

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """What stays, by its reason."""
        return tuple(Waiting(reason, *counts) for reason, counts in sorted(self.waits.items()))


@dataclass(slots=True)
class Dropper:
    """The side that drops: the surplus of the node `own`, which has been up since `begun` (running time)."""

    runtime: Runtime
    store: DiskChunkStore
    references: References
    links: Links
    view: Callable[[], View]
    own: NodeId
    begun: float
    periods: Periods

    async def pressure(self) -> Pressure:
        """How much this node needs to let go of surplus now."""
        space = await self.store.space()
        member = self.view().member(self.own)
        return Pressure(
            fill=1 - space.free / space.total if space.total else 0.0,
            draining=member is not None and member.draining,
            up_s=self.runtime.now() - self.begun,
        )

    async def drop(self, alive: Collection[NodeId], moved: Moved, *, dry_run: bool) -> Dropped:
        """Drop surplus until the disk is not under pressure any more; of a node that is drained, all of it. Only the
        members `alive` are asked. With `dry_run` nobody is asked and nothing goes."""
        dropped = Dropped()
        if why_surplus_stays(await self.pressure(), self.periods):
            return dropped
        needs = await self.references.needs(self.store.ids(), moved)
        order = sorted(needs)
        for begin in range(0, len(order), ASKED_AT_ONCE):
            some = order[begin : begin + ASKED_AT_ONCE]
            view = self.view()
            asked = {object_id: needs[object_id] for object_id in some}
            found = await self.runtime.in_thread(_surplus, asked, self.own, view)
            moved(1)
            if dry_run:
                for object_id in found:
                    dropped.wait(MAY_GO, self.store.size_of(object_id) or 0)
            elif found:
                await self._drop(found, asked, needs, view, alive, dropped)
                moved(1)
                if why_surplus_stays(await self.pressure(), self.periods):
                    break
        return dropped

    async def _drop(
        self, found: Mapping[ObjectId, tuple[NodeId, ...]], asked: Mapping[ObjectId, Need],
        needs: Mapping[ObjectId, Need], view: View, alive: Collection[NodeId], dropped: Dropped,
    ) -> None:  # fmt: skip
        """Ask all to whom these objects belong, and drop those that all of them promised to keep, unless more is needed
        of them by now than was `asked`."""
        digest, asked_at = view_digest(view), self.runtime.now()
        promised = await self._ask(found, asked, digest, alive)

        def why(object_id: ObjectId) -> str:
            return why_it_stays(
                Surplus(
                    keepers=found[object_id] if needs[object_id] == asked[object_id] else (),
                    promised=promised[object_id],
                    asked_s=self.runtime.now() - asked_at,
                    same_view=view_digest(self.view()) == digest,
                    reserved=self.store.reserved(object_id),
                ),
                periods=self.periods,
            )

        order = list(found)
        for begin in range(0, len(order), REMOVED_AT_ONCE):
            async with self.store.guard():
                go: list[ObjectId] = []
                for object_id in order[begin : begin + REMOVED_AT_ONCE]:
                    if reason := why(object_id):
                        dropped.wait(f"surplus, but {reason}", self.store.size_of(object_id) or 0)
                    else:
                        go.append(object_id)
                dropped.bytes += await self.store.remove(go)
                dropped.objects += sum(self.store.size_of(object_id) is None for object_id in go)

    async def _ask(
        self, found: Mapping[ObjectId, tuple[NodeId, ...]], needs: Mapping[ObjectId, Need], digest: bytes,
        alive: Collection[NodeId],
    ) -> dict[ObjectId, set[NodeId]]:  # fmt: skip
        """Who of those to whom each object belongs promised to keep it."""
        promised: dict[ObjectId, set[NodeId]] = {object_id: set() for object_id in found}

        async def one(node: NodeId, ids: list[ObjectId]) -> None:
            manifests = sorted({needs[object_id].manifest for object_id in ids})
            try:
                answer = await self.links.call(node, Keep(join_ids(ids), join_ids(manifests), digest))
                kept = unpack_bits(answer.kept, len(ids)) if isinstance(answer, Keeping) else []
            except (RoostError, ValueError):
                return
            for object_id, keeps in zip(ids, kept, strict=False):
                if keeps:
                    promised[object_id].add(node)

        async with asyncio.TaskGroup() as group:
            for node in sorted({node for keepers in found.values() for node in keepers} & set(alive)):
                group.create_task(one(node, [i for i, keepers in found.items() if node in keepers]))
        return promised


def _surplus(needs: Mapping[ObjectId, Need], own: NodeId, view: View) -> dict[ObjectId, tuple[NodeId, ...]]:
    """Those of the objects that are surplus on `own`, with all to whom they belong."""
    belong = {object_id: belongs_to(object_id, need.copies, own, view) for object_id, need in needs.items()}
    return {object_id: keepers for object_id, keepers in belong.items() if keepers}
