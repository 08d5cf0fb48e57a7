"""Record exchange over the simulated network: afterwards both have the same, but for what one of them must refuse."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster_kits import (
    IDENTITIES,
    STRANGER_AUTHORITY,
    Keeper,
    ids_of,
    member_record,
    serve_records,
    tombstone,
)
from net_kits import Pair, address, play
from record_specimens import broken
from roost.cluster.exchange import Exchanged, exchange, fetch
from roost.codec.records import encode_record, record_id
from roost.core.errors import Damaged, NotAdmitted, ProtocolError, RoostError, Unreachable
from roost.core.ids import MachineId, NodeId
from roost.net.body import Body
from roost.net.links import Links
from roost.net.server import Call, Reply
from roost.security.identity import Identity, NodeKey
from roost.wire.messages import Digests, GetRecord, PutRecord, RecordDigests, RecordIds, RecordKept, Sending

ONE, TWO = IDENTITIES[:2]


class Two:
    """Two nodes that know each other's addresses; `mine` asks, `theirs` serves."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.mine, self.theirs = Keeper(pair.runtime), Keeper(pair.runtime)
        self.changes = 0

    async def open(self) -> None:
        for keeping in (self.mine, self.theirs):
            await keeping.open()
        await self.mine.records.add(encode_record(member_record(TWO, at=(address(2),))))
        await self.theirs.records.add(encode_record(member_record(ONE, at=(address(1),))))
        self.links = await serve_records(self.pair, 1, self.mine, node=ONE.node_id)
        await serve_records(self.pair, 2, self.theirs, node=TWO.node_id, changed=self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def exchange(self) -> Exchanged:
        return await exchange(self.links, TWO.node_id, self.mine.records)


def meet(scenario: Callable[[Two], Awaitable[None]], *, seeds: range = range(2)) -> None:
    async def main(pair: Pair) -> None:
        two = Two(pair)
        await two.open()
        await scenario(two)

    play(main, seeds=seeds)


def test_each_gets_what_only_the_other_has() -> None:
    async def scenario(two: Two) -> None:
        for number in range(30):
            for keeping in [two.mine] * (number % 3 != 0) + [two.theirs] * (number % 3 != 1):
                await keeping.records.add(tombstone(number))
        assert await two.exchange() == Exchanged(11, 11, 0)
        assert two.mine.all() == two.theirs.all()
        assert len(two.mine.records) == 32
        assert two.mine.membership.view == two.theirs.membership.view
        assert two.changes == 11, "who serves hears of what came"
        assert await two.exchange() == Exchanged(0, 0, 0)
        assert two.changes == 11

    meet(scenario)


def test_a_thousand_records_take_little_time_and_one_question_when_nothing_differs() -> None:
    async def scenario(two: Two) -> None:
        for number in range(500):
            await two.mine.records.add(tombstone(number))
            await two.theirs.records.add(tombstone(number + 500))
        begin = asyncio.get_running_loop().time()
        assert await two.exchange() == Exchanged(501, 501, 0)
        assert asyncio.get_running_loop().time() - begin < 15
        assert two.mine.all() == two.theirs.all()
        stream = two.links._peer(TWO.node_id).control
        assert stream is not None
        before = stream.stream.bytes_received
        assert await two.exchange() == Exchanged(0, 0, 0)
        assert stream.stream.bytes_received - before < 3000

    meet(scenario, seeds=range(1))


def test_both_may_begin_at_once() -> None:
    async def scenario(two: Two) -> None:
        for number in range(40):
            await (two.mine, two.theirs)[number % 2].records.add(tombstone(number))
        theirs = Links(
            two.pair.runtime,
            two.pair.world.living()[-1],
            hello=two.links._hello,
            resolve=lambda node: [address(1)],
        )
        two.pair.made.append(theirs)
        found = await asyncio.gather(
            *(two.exchange() for _ in range(3)), exchange(theirs, ONE.node_id, two.theirs.records)
        )
        assert all(one.refused == 0 for one in found)
        assert two.mine.all() == two.theirs.all()
        assert len(two.mine.heard) == len(set(two.mine.heard)) == 42

    meet(scenario)


def test_a_record_that_is_damaged_there_is_counted_and_mended_by_the_next_exchange() -> None:
    async def scenario(two: Two) -> None:
        for number in range(5):
            await two.theirs.records.add(tombstone(number))
        bad = record_id(tombstone(2))
        two.theirs.disk.flip(two.theirs.path(bad), 9, 2)
        assert await two.exchange() == Exchanged(5, 1, 1, lacking=1)
        assert bad not in two.mine.records
        await two.mine.records.add(tombstone(2))
        assert await two.exchange() == Exchanged(0, 1, 0), "it was set aside there, and comes again"
        assert await two.theirs.records.get(bad) == tombstone(2)

    meet(scenario)


def test_a_record_that_is_damaged_here_is_counted_and_fetched_by_the_next_exchange() -> None:
    async def scenario(two: Two) -> None:
        await two.exchange()
        await two.mine.records.add(tombstone(1))
        bad = record_id(tombstone(1))
        two.mine.disk.flip(two.mine.path(bad), 9, 2)
        assert await two.exchange() == Exchanged(0, 0, 1, unsent=1)
        await two.theirs.records.add(tombstone(1))
        assert await two.exchange() == Exchanged(1, 0, 0)
        assert await two.mine.records.get(bad) == tombstone(1)

    meet(scenario)


def test_what_one_side_refuses_does_not_stop_the_rest() -> None:
    """A record of another cluster's member is on the disk of one of them: nobody else keeps it."""
    stranger = Identity.found(STRANGER_AUTHORITY, NodeKey.create(), machine=MachineId("a" * 32))
    data = encode_record(member_record(stranger))
    newer = broken()["record_format_newer.bin"].data

    async def plant(keeping: Keeper, data: bytes) -> None:
        file = keeping.disk.create(f"records/{record_id(data).hex()}.member")
        file.pwrite(data, 0)
        file.close()
        keeping.records._remember(record_id(data), "member")

    async def scenario(two: Two) -> None:
        await plant(two.mine, data)
        await plant(two.theirs, newer)
        for number in range(20):
            await two.mine.records.add(tombstone(number))
            await two.theirs.records.add(tombstone(number + 20))
        for _ in range(2):
            met = await two.exchange()
            assert (met.refused, met.lacking, met.unsent, met.unsupported) == (2, 1, 1, 1)
        assert record_id(data) not in two.theirs.records
        assert record_id(newer) not in two.mine.records
        assert two.mine.membership.view == two.theirs.membership.view
        assert set(two.mine.all()) ^ set(two.theirs.all()) == {record_id(data), record_id(newer)}

    meet(scenario)


def test_a_full_disk_here_or_there_is_counted_and_made_up_for_later() -> None:
    async def scenario(two: Two) -> None:
        for number in range(5):
            await two.mine.records.add(tombstone(number))
            await two.theirs.records.add(tombstone(number + 5))
        for keeping in (two.mine, two.theirs):
            keeping.disk.read_only = True
        assert (await two.exchange()).refused == 12
        for keeping in (two.mine, two.theirs):
            keeping.disk.read_only = False
        assert await two.exchange() == Exchanged(6, 6, 0)
        assert two.mine.all() == two.theirs.all()

    meet(scenario)


@pytest.mark.parametrize("after_s", [0.005, 0.03, 0.1, 0.2])
def test_a_peer_that_is_lost_on_the_way_ends_the_exchange_with_one_error_of_ours(after_s: float) -> None:
    async def scenario(two: Two) -> None:
        for number in range(300):
            await (two.mine, two.theirs)[number % 2].records.add(tombstone(number))
        task = asyncio.get_running_loop().create_task(two.exchange())
        await asyncio.sleep(after_s)
        serving = [host for host in two.pair.world.living() if host.identity.node_id == TWO.node_id]
        two.pair.world.crash(serving[0], silent=False)
        with pytest.raises(Unreachable) as caught:
            await task
        assert not isinstance(caught.value, BaseExceptionGroup)
        for record in two.mine.all():
            assert record_id(await two.mine.records.get(record)) == record

    meet(scenario, seeds=range(2))


def test_a_node_that_is_not_there_is_unreachable() -> None:
    async def scenario(two: Two) -> None:
        with pytest.raises(Unreachable):
            await exchange(two.links, IDENTITIES[3].node_id, two.mine.records)

    meet(scenario)


# Peers that lie

LIES: dict[str, tuple[dict[type, Callable[[Call], Reply]], type[RoostError] | Exchanged]] = {
    "ids that are none": (
        {
            RecordDigests: lambda call: Reply(Digests(bytes([1]) * 2048)),
            RecordIds: lambda call: Reply(Sending(33), Body.of(bytes(33))),
        },
        ProtocolError,
    ),
    "ids that nobody asked for": (
        {
            RecordDigests: lambda call: Reply(Digests(bytes([1]) * 8 + bytes(2040))),
            RecordIds: lambda call: Reply(Sending(64), Body.of(bytes([9]) * 64)),
        },
        Exchanged(0, 1, 0),
    ),
    "another record's bytes": (
        {
            RecordDigests: lambda call: Reply(Digests(bytes([1]) * 2048)),
            RecordIds: lambda call: Reply(Sending(32), Body.of(bytes(32))),
            GetRecord: lambda call: Reply(Sending(len(tombstone(7))), Body.of(tombstone(7))),
        },
        Exchanged(0, 1, 1, lacking=1),
    ),
    "no record at all": (
        {
            RecordDigests: lambda call: Reply(Digests(bytes([1]) * 2048)),
            RecordIds: lambda call: Reply(Sending(32), Body.of(bytes(32))),
            GetRecord: lambda call: Reply(Sending(5), Body.of(b"12345")),
        },
        Exchanged(0, 1, 1, lacking=1),
    ),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_peer_that_lies_is_not_believed(lie: str) -> None:
    answers, wanted = LIES[lie]

    async def scenario(pair: Pair) -> None:
        mine = await Keeper(pair.runtime).open()
        await mine.records.add(tombstone(0))
        if lie == "ids that nobody asked for":
            await mine.records.add(first_with(0))
            mine.records._lose(record_id(tombstone(0)))

        def handler(kind: type) -> Callable[[Call], Awaitable[Reply]]:
            async def handle(call: Call) -> Reply:
                return answers[kind](call)

            return handle

        async def take(call: Call) -> Reply:
            return Reply(RecordKept(new=False))

        pair.handlers |= {kind: handler(kind) for kind in answers} | {PutRecord: take}
        await pair.serve()
        links = pair.links_of(address(2))
        node = NodeId(f"{2:032x}")
        if isinstance(wanted, Exchanged):
            assert await exchange(links, node, mine.records) == wanted
        else:
            with pytest.raises(wanted):
                await exchange(links, node, mine.records)
        assert bytes(32) not in mine.records

    play(scenario, seeds=range(2))


def first_with(bucket: int) -> bytes:
    return next(data for data in map(tombstone, range(10_000)) if record_id(data)[0] == bucket)


def test_one_record_can_be_fetched_by_its_id() -> None:
    async def scenario(two: Two) -> None:
        await two.theirs.records.add(tombstone(1))
        await fetch(two.links, TWO.node_id, record_id(tombstone(1)), two.mine.records)
        assert await two.mine.records.get(record_id(tombstone(1))) == tombstone(1)
        two.theirs.disk.flip(two.theirs.path(record_id(tombstone(1))), 0, 0)
        with pytest.raises(Damaged):
            await fetch(
                two.links, TWO.node_id, record_id(tombstone(1)), (await Keeper(two.pair.runtime).open()).records
            )

    meet(scenario)


def test_records_that_are_put_are_checked_before_they_are_kept() -> None:
    async def scenario(two: Two) -> None:
        stranger = Identity.found(STRANGER_AUTHORITY, NodeKey.create(), machine=MachineId("a" * 32))
        bad = [(b"noise", Damaged), (encode_record(member_record(stranger)), NotAdmitted)]
        for data, error in bad:
            with pytest.raises(error):
                await two.links.call(TWO.node_id, PutRecord(len(data)), body=Body.of(data), bulk=True)
        assert two.changes == 0
        assert two.theirs.all() == ids_of(encode_record(member_record(ONE, at=(address(1),))))

    meet(scenario)
