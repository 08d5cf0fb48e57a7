"""What delivery does when nodes fail while it brings objects up to their copies. `test_store.py` has the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from checkpoint_kits import UNIT, Kit, noise, simulate
from roost.checkpoints.delivery import Delivery, Pieces
from roost.checkpoints.placement import Chooser, line
from roost.checkpoints.progress import Progress
from roost.core.errors import Unreachable
from roost.core.ids import ObjectId, object_id
from roost.net.body import Body


@pytest.mark.parametrize("order", [1, -1])
def test_a_copy_that_was_counted_on_a_node_found_dead_later_is_made_again(order: int) -> None:
    """The first object has its two copies as far as anybody knows, when sending the second shows that one of their
    nodes is dead."""

    async def scenario(kit: Kit) -> None:
        dead, other, spare = (kit.nodes[number].node_id for number in (1, 2, 3))
        whole = noise(UNIT, 1)
        short = next(data for data in (noise(UNIT, seed) for seed in range(2, 99)) if _first(kit, data) == dead)
        datas = {object_id(data): data for data in (whole, short)}
        for name, data in datas.items():
            await kit.peers.store(other).put(name, Body.of(data))
        await kit.peers.store(dead).put(object_id(whole), Body.of(whole))
        kit.crash(1)

        @asynccontextmanager
        async def remake(name: ObjectId) -> AsyncIterator[Pieces | None]:
            yield [datas[name]]

        delivery = Delivery(kit.peers, Chooser(kit.view, {dead, other, spare}), 2, Progress())
        delivery.holders = {object_id(whole): {dead, other}, object_id(short): {other}}
        assert await delivery.top_up(list(datas)[::order], remake) == []
        assert all(delivery.of(name) == {other, spare} for name in datas)
        assert all(kit.holders(name) >= {2, 3} for name in datas)

    simulate(scenario, nodes=3)


@pytest.mark.parametrize("gone_s", [6.0, 11.0, 16.0])
def test_a_network_that_was_gone_for_a_moment_ends_no_store(gone_s: float) -> None:
    """Our own machine changes its network in mid-store: every connection goes silent, and a moment later all nodes can
    be reached again."""

    async def scenario(kit: Kit) -> None:
        progress = Progress()
        storing = asyncio.create_task(kit.store({f"{n}.bin": noise(UNIT, n) for n in range(40)}, progress=progress))
        while progress.bytes_moved < 3 * UNIT:
            await kit.runtime.sleep(0.001)
        others = [node.host for node in kit.nodes.values()]
        kit.world.part([kit.client], others)
        await kit.runtime.sleep(gone_s)
        kit.world.heal()
        receipt = await storing
        assert (receipt.copies, receipt.degraded) == (2, False)
        if gone_s > 10:  # by then every node was passed over
            assert any("answers again" in note for note in progress.notes)

    simulate(scenario)


def test_a_network_that_stays_away_ends_it_in_bounded_time() -> None:
    async def scenario(kit: Kit) -> None:
        progress = Progress()
        storing = asyncio.create_task(kit.store({f"{n}.bin": noise(UNIT, n) for n in range(40)}, progress=progress))
        while progress.bytes_moved < 3 * UNIT:
            await kit.runtime.sleep(0.001)
        kit.world.part([kit.client], [node.host for node in kit.nodes.values()])
        begun = kit.runtime.now()
        with pytest.raises(Unreachable):
            await storing
        assert kit.runtime.now() - begun < 40

    simulate(scenario)


def _first(kit: Kit, data: bytes) -> str:
    return line(object_id(data), kit.view)[0]
