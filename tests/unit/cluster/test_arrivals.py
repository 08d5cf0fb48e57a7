"""Exchanges with many peers at once: each record is fetched once, from whoever gives it; few large ones at a time."""

import asyncio
import weakref
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from checkpoint_kits import Kit, simulate
from roost.cluster import exchange as exchange_module
from roost.cluster.arrivals import LARGE_AT_ONCE, STUCK_S, Arrivals
from roost.cluster.exchange import Exchanged, _RecordSink, exchange
from roost.cluster.records import RecordSet
from roost.codec.records import Tombstone, encode_record, record_id
from roost.core.errors import DiskFault, RoostError
from roost.core.ids import RecordId
from roost.net.body import Body
from roost.net.server import Call, Handler, Reply
from roost.testing.loop import run_simulated
from roost.wire.messages import GetRecord, PutRecord, Sending

LARGE = 500


def record(number: int, *, bytes_min: int = 0) -> bytes:
    """A record that needs no signature, of at least so many bytes (up to 900)."""
    name = "/".join(["run", *["x" * 100] * (bytes_min // 100), f"step-{number}"])
    return encode_record(Tombstone(name=name, manifest=bytes([number % 251]) * 32, seq=1 + number, at=1, keep_s=60))


async def give(kit: Kit, count: int, *, bytes_min: int = 0) -> list[RecordId]:
    """The same records for all nodes."""
    datas = [record(number, bytes_min=bytes_min) for number in range(count)]
    for node in kit.nodes.values():
        for data in datas:
            await node.records.add(data)
    return sorted(record_id(data) for data in datas)


def counted(kit: Kit, request: type = GetRecord) -> Counter[bytes]:
    """How often each record is asked for from now on."""
    asked: Counter[bytes] = Counter()

    def watched(handler: Handler) -> Handler:
        async def handle(call: Call) -> Reply:
            asked[getattr(call.request, "record_id", b"")] += 1
            return await handler(call)

        return handle

    for node in kit.nodes.values():
        node.handlers[request] = watched(node.handlers[request])
    return asked


async def exchange_with_all(kit: Kit) -> list[Exchanged | BaseException]:
    work = [exchange(kit.links, node.node_id, kit.catalogue) for node in kit.nodes.values()]
    return await asyncio.gather(*work, return_exceptions=True)


def all_ids(kit: Kit) -> list[RecordId]:
    return kit.catalogue.ids(range(256))


def test_each_record_is_fetched_once_however_many_have_it() -> None:
    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 100)
        asked = counted(kit)
        done = await exchange_with_all(kit)
        assert all_ids(kit) == ids
        assert asked == dict.fromkeys(ids, 1)
        assert all(isinstance(one, Exchanged) for one in done)
        moved = [one for one in done if isinstance(one, Exchanged)]
        assert sum(one.fetched for one in moved) == 100
        assert all((one.refused, one.lacking) == (0, 0) for one in moved), "each ended when all it was offered was here"
        assert min(one.fetched for one in moved) > 5, "all of them took part"

    simulate(scenario, nodes=6)


def test_what_twenty_nodes_have_is_a_matter_of_a_moment() -> None:
    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 200)
        asked = counted(kit)
        begun = kit.runtime.now()
        survey = await kit.survey()
        assert len(survey.reached) == 20
        assert kit.runtime.now() - begun < 1
        assert asked.total() <= 205
        assert all_ids(kit) == ids

    simulate(scenario, nodes=20)


@pytest.mark.parametrize("error", [DiskFault("it burns"), None])
def test_what_one_peer_does_not_give_is_fetched_from_another(error: RoostError | None) -> None:
    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 40)

        async def refuse(call: Call) -> Reply:
            if error is not None:
                raise error
            return Reply(Sending(3), Body.of(b"abc"))

        for number in (1, 2):
            kit.nodes[number].handlers[GetRecord] = refuse
        done = await exchange_with_all(kit)
        assert all_ids(kit) == ids
        assert isinstance(done[2], Exchanged)
        assert (done[2].lacking, done[2].refused) == (0, 0)
        assert all(isinstance(one, Exchanged) and one.refused and not one.fetched for one in done[:2])

    simulate(scenario, nodes=3)


def test_nobody_waits_for_a_peer_that_is_stuck() -> None:
    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 40)
        inner = kit.nodes[1].handlers[GetRecord]

        async def freeze(call: Call) -> Reply:
            kit.world.freeze(kit.nodes[1].host)
            return await inner(call)

        kit.nodes[1].handlers[GetRecord] = freeze
        begun = kit.runtime.now()
        others = [exchange(kit.links, kit.nodes[number].node_id, kit.catalogue) for number in (2, 3)]
        stuck = asyncio.create_task(exchange(kit.links, kit.nodes[1].node_id, kit.catalogue))
        await asyncio.gather(*others)
        assert all_ids(kit) == ids
        assert kit.runtime.now() - begun < 4 * STUCK_S
        assert not stuck.done()
        stuck.cancel()
        await asyncio.wait([stuck])

    simulate(scenario, nodes=3)


def test_a_peer_that_dies_leaves_its_records_to_the_others() -> None:
    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 40)
        inner = kit.nodes[1].handlers[GetRecord]

        async def die(call: Call) -> Reply:
            kit.crash(1)
            return await inner(call)

        kit.nodes[1].handlers[GetRecord] = die
        first, second = await exchange_with_all(kit)
        assert isinstance(first, RoostError)
        assert isinstance(second, Exchanged)
        assert all_ids(kit) == ids

    simulate(scenario, nodes=2)


def test_an_exchange_that_is_given_up_leaves_its_records_to_the_others() -> None:
    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 40)
        here = asyncio.Event()

        async def hang(call: Call) -> Reply:
            here.set()
            await asyncio.Event().wait()
            raise AssertionError("never")

        kit.nodes[1].handlers[GetRecord] = hang
        given_up = asyncio.create_task(exchange(kit.links, kit.nodes[1].node_id, kit.catalogue))
        await here.wait()
        other = asyncio.create_task(exchange(kit.links, kit.nodes[2].node_id, kit.catalogue))
        given_up.cancel()
        assert (await other).lacking == 0
        assert all_ids(kit) == ids

    simulate(scenario, nodes=2)


def test_a_slow_record_that_moves_is_waited_for() -> None:
    async def scenario(kit: Kit) -> None:
        [wanted] = await give(kit, 1, bytes_min=900)
        asked = counted(kit)

        for node in kit.nodes.values():
            data = await node.records.get(wanted)

            async def slow(call: Call, data: bytes = data) -> Reply:
                asked[wanted] += 1

                async def slices() -> AsyncIterator[memoryview]:
                    for at in range(0, len(data), 200):
                        await asyncio.sleep(0.6 * STUCK_S)
                        yield memoryview(data)[at : at + 200]

                return Reply(Sending(len(data)), Body(len(data), slices()))

            node.handlers[GetRecord] = slow
        await exchange_with_all(kit)
        assert all_ids(kit) == [wanted]
        assert asked[wanted] == 1

    simulate(scenario, nodes=3)


def test_only_few_large_records_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    living: weakref.WeakSet[_RecordSink] = weakref.WeakSet()
    most = 0

    class Watched(_RecordSink):
        async def give(self, received: memoryview) -> None:
            nonlocal most
            await super().give(received)
            living.add(self)
            most = max(most, sum(sink._into._received > LARGE for sink in living))
            await asyncio.sleep(0.02)

    monkeypatch.setattr(exchange_module, "LARGE_BYTES_MIN", LARGE)
    monkeypatch.setattr(exchange_module, "_RecordSink", Watched)

    async def scenario(kit: Kit) -> None:
        ids = await give(kit, 40, bytes_min=900)
        for node in kit.nodes.values():
            node.handlers[GetRecord] = sliced(node.records)
        await exchange_with_all(kit)
        assert all_ids(kit) == ids
        assert 2 <= most <= LARGE_AT_ONCE

    simulate(scenario, nodes=6)


def sliced(records: RecordSet) -> Handler:
    """Sends records in small slices."""

    async def handle(call: Call) -> Reply:
        assert isinstance(call.request, GetRecord)
        data = memoryview(await records.get(RecordId(call.request.record_id)))

        async def slices() -> AsyncIterator[memoryview]:
            for at in range(0, len(data), 200):
                yield data[at : at + 200]

        return Reply(Sending(len(data)), Body(len(data), slices()))

    return handle


def test_only_few_large_records_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "LARGE_BYTES_MIN", LARGE)
    now = most = 0

    async def scenario(kit: Kit) -> None:
        datas = [record(number, bytes_min=900) for number in range(10)]
        for data in datas:
            await kit.catalogue.add(data)

        def counted_puts(handler: Handler) -> Handler:
            async def handle(call: Call) -> Reply:
                nonlocal now, most
                now += 1
                most = max(most, now)
                try:
                    await asyncio.sleep(0.05)
                    return await handler(call)
                finally:
                    now -= 1

            return handle

        for node in kit.nodes.values():
            node.handlers[PutRecord] = counted_puts(node.handlers[PutRecord])
        await exchange_with_all(kit)
        assert 2 <= most <= LARGE_AT_ONCE
        assert all(len(node.records) == 10 for node in kit.nodes.values())

    simulate(scenario, nodes=6)


def test_many_wait_and_one_goes_on() -> None:
    """When what is on its way fails, exactly one of those that wait takes its place."""

    async def main() -> None:
        arrivals = Arrivals()
        wanted = RecordId(bytes(32))
        begun: list[int] = []

        async def waiter(number: int) -> None:
            await arrivals.turn(wanted)
            with arrivals.begin(wanted):
                begun.append(number)
                assert len(begun) == 1 + ended
                await asyncio.sleep(0.1)
                end()

        ended = 0

        def end() -> None:
            nonlocal ended
            ended += 1

        with arrivals.begin(wanted):
            assert wanted in arrivals
            tasks = [asyncio.create_task(waiter(number)) for number in range(5)]
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        assert sorted(begun) == list(range(5))
        assert wanted not in arrivals

    run_simulated(main(), seconds_max=60)
