"""What runs for hours keeps what it counts on: every 20 minutes it is reserved anew, one question a node."""

import asyncio
from collections.abc import Callable

import pytest

from checkpoint_kits import NAME, TWO, UNIT, Kit, noise, simulate
from roost.checkpoints.delivery import Delivery
from roost.checkpoints.placement import Chooser
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.renewal import RENEW_EVERY_S, renew, renewing
from roost.checkpoints.undelete import undelete
from roost.codec.manifest import Manifest
from roost.core.errors import DiskFault
from roost.core.ids import ObjectId
from roost.net.server import Call, Handler, Reply
from roost.wire.fields import split_ids
from roost.wire.messages import Have, PassOn, Put

HOURS = 3600.0


def asked(kit: Kit, request: type) -> list[tuple[float, int, int]]:
    """(when, which node, how many ids) of every question of that kind, from now on."""
    seen: list[tuple[float, int, int]] = []

    def watched(number: int, handler: Handler) -> Handler:
        async def handle(call: Call) -> Reply:
            ids = len(split_ids(call.request.ids)) if isinstance(call.request, Have) else 1
            seen.append((kit.runtime.now(), number, ids))
            return await handler(call)

        return handle

    for number, node in kit.nodes.items():
        node.handlers[request] = watched(number, node.handlers[request])
    return seen


def slow_reading(kit: Kit, *, seconds_a_window: float) -> None:
    """From now on each window of the source takes so long to read."""

    def slow(work: Callable[..., object]) -> float:
        return seconds_a_window if getattr(work, "__name__", "") == "next_window" else 0.0

    kit.runtime.on_thread = slow


async def collecting(kit: Kit) -> None:
    """Every node removes, every five minutes, what no manifest names and nobody reserved."""
    while True:
        await asyncio.sleep(300)
        for node in kit.nodes.values():
            named = [await node.records.get(record) for record in node.records.ids_of(Manifest)]
            async with node.store.guard():
                if not named:
                    await node.store.remove(node.store.ids())


def test_a_store_of_hours_loses_nothing_to_collection_and_sends_everything_once() -> None:
    async def scenario(kit: Kit) -> None:
        slow_reading(kit, seconds_a_window=0.4 * HOURS)
        puts = asked(kit, Put)
        collector = asyncio.create_task(collecting(kit))
        begun = kit.runtime.now()
        receipt = await kit.store({f"f{n:02d}": noise(8 * UNIT, n) for n in range(8)})
        collector.cancel()
        assert kit.runtime.now() - begun > 3 * HOURS
        _, manifest = await kit.newest()
        assert (receipt.copies, receipt.degraded) == (2, False)
        assert len(puts) == 2 * len(manifest.objects()), "one upload and one passed on for each"
        kit.runtime.on_thread = None
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, nodes=3, seconds_max=100_000)


def test_what_is_counted_on_from_earlier_versions_is_renewed_too() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"a": noise(8 * UNIT, 1)})
        listed = await kit.catalogue.find(NAME, None)
        manifest = await kit.catalogue.manifest(listed.manifest)
        slow_reading(kit, seconds_a_window=0.7 * HOURS)
        storing = asyncio.create_task(kit.store({"a": noise(8 * UNIT, 1), "b": noise(8 * UNIT, 2)}))
        await asyncio.sleep(1.3 * HOURS)
        assert not storing.done()
        for object_id in manifest.objects():
            for number in kit.holders(object_id):
                assert kit.nodes[number].store.reserved(object_id)
        await storing

    simulate(scenario, nodes=3, seconds_max=100_000)


def test_an_undelete_of_hours_is_renewed_too() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({f"f{n}": noise(2 * UNIT, n) for n in range(6)})
        listed = await kit.catalogue.find(NAME, None)
        manifest = await kit.catalogue.manifest(listed.manifest)
        await remove(kit.peers, kit.catalogue, await kit.survey(), [(listed, manifest)], keep_s=0)
        listed = await kit.catalogue.find_removed(NAME, listed.version)
        await asyncio.sleep(1.1 * HOURS)
        for object_id in manifest.objects():
            node = kit.nodes[max(kit.holders(object_id))]
            async with node.store.guard():
                await node.store.remove([object_id])
        kept = {i: kit.nodes[min(kit.holders(i))] for i in manifest.objects()}
        released = asyncio.Event()

        def held_up(handler: Handler) -> Handler:
            async def handle(call: Call) -> Reply:
                while not released.is_set():
                    call.progress += 1
                    await asyncio.sleep(1)
                return await handler(call)

            return handle

        for node in kit.nodes.values():
            node.handlers[PassOn] = held_up(node.handlers[PassOn])
        survey = await kit.survey()
        back = asyncio.create_task(undelete(kit.peers, kit.catalogue, survey, listed, manifest, Progress()))
        await asyncio.sleep(1.5 * HOURS)
        assert all(node.store.reserved(object_id) for object_id, node in kept.items())
        released.set()
        assert (await back).copies == 2

    simulate(scenario, nodes=2, seconds_max=100_000)


def delivery_of(kit: Kit, manifest: Manifest) -> Delivery:
    delivery = Delivery(kit.peers, Chooser(kit.view, {n.node_id for n in kit.nodes.values()}), TWO.copies, Progress())
    for object_id in manifest.objects():
        delivery.holders[object_id] = {kit.nodes[n].node_id for n in kit.holders(object_id)}
    return delivery


async def stored(kit: Kit) -> tuple[Manifest, Delivery]:
    await kit.store({f"f{n:02d}": noise(2 * UNIT, n) for n in range(30)})
    _, manifest = await kit.newest()
    await asyncio.sleep(2 * HOURS)
    return manifest, delivery_of(kit, manifest)


def reserved(kit: Kit, object_id: ObjectId) -> set[int]:
    return {number for number, node in kit.nodes.items() if node.store.reserved(object_id)}


def test_it_is_asked_for_every_twenty_minutes_one_question_a_node() -> None:
    async def scenario(kit: Kit) -> None:
        manifest, delivery = await stored(kit)
        seen = asked(kit, Have)
        begun = kit.runtime.now()
        async with renewing(delivery):
            await asyncio.sleep(3.5 * RENEW_EVERY_S)
            assert all(reserved(kit, i) == kit.holders(i) for i in manifest.objects())
        assert [round((at - begun) / RENEW_EVERY_S) for at, _, _ in seen] == [1] * 3 + [2] * 3 + [3] * 3
        assert sum(ids for _, _, ids in seen) == 3 * 2 * len(manifest.objects())
        await asyncio.sleep(10 * RENEW_EVERY_S)
        assert len(seen) == 9, "and no more when it is done"

    simulate(scenario, nodes=3, seconds_max=100_000)


def test_who_has_it_no_more_is_no_holder_and_who_does_not_answer_still_is() -> None:
    async def scenario(kit: Kit) -> None:
        manifest, delivery = await stored(kit)
        gone = manifest.objects()[0]
        first, second = sorted(kit.holders(gone))
        async with kit.nodes[first].store.guard():
            await kit.nodes[first].store.remove([gone])
        kit.nodes[second].refuse(Have, DiskFault("it burns"))
        await renew(delivery)
        assert delivery.of(gone) == {kit.nodes[second].node_id}
        for object_id in manifest.objects()[1:]:
            assert len(delivery.of(object_id)) == 2

    simulate(scenario, nodes=3, seconds_max=100_000)


def test_what_the_block_raises_comes_out_and_the_renewal_ends() -> None:
    async def scenario(kit: Kit) -> None:
        _, delivery = await stored(kit)
        before = asyncio.all_tasks()
        with pytest.raises(DiskFault):
            async with renewing(delivery):
                raise DiskFault("it burns")
        assert asyncio.all_tasks() == before

    simulate(scenario, nodes=3, seconds_max=100_000)
