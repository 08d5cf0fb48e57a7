"""What links and servers count of the chunks that go, and the operation's id that goes with every request."""

import pytest

from net_kits import Pair, address, hello, node_id, play, some
from roost.core.errors import NoSpace, NotFound
from roost.core.ids import object_id
from roost.net.body import Body, BytesSink
from roost.net.links import Links
from roost.net.server import Call, Reply, Server
from roost.observe.operation import current_operation, within_operation
from roost.observe.transfers import Transfers
from roost.wire.messages import Get, GetStatus, Put, RecordIds, Sending, Stored

ONE, TWO = node_id(1), node_id(2)
DATA = some(100_000)
NAME = object_id(DATA)


def counting(pair: Pair) -> tuple[Links, Transfers, Transfers]:
    """Links and a server that count: the client's count, and the server's."""
    asks, serves = Transfers(), Transfers()
    pair.server = Server(pair.runtime, pair.handlers, greeting=lambda peer: hello(), meter=serves)
    links = Links(pair.runtime, pair.client, hello=hello(), resolve=lambda node: [address(2)], meter=asks)
    pair.made.append(links)
    return links, asks, serves


def told(transfers: Transfers) -> list[tuple[str, str, int, float]]:
    """(peer, direction, bytes, how many)."""
    return [
        (name[-1:], direction, flow.bytes, flow.seconds.buckets()[-1][1])
        for name, direction, flow in transfers.flows(str)
    ]


async def keep(call: Call) -> Reply:
    assert isinstance(call.request, Put)
    await call.receive_body(BytesSink(call.request.length))
    return Reply(Stored(already=False))


def test_a_chunk_counts_at_both_ends_in_the_direction_that_it_went() -> None:
    async def scenario(pair: Pair) -> None:
        async def give(call: Call) -> Reply:
            return Reply(Sending(len(DATA)), Body.of(DATA))

        links, asks, serves = counting(pair)
        pair.handlers |= {Put: keep, Get: give, RecordIds: give}
        await pair.serve()
        for _ in range(2):
            await links.call(TWO, Put(NAME, len(DATA)), body=Body.of(DATA), bulk=True)
        assert (told(asks), told(serves)) == ([("2", "out", 200_000, 2)], [("1", "in", 200_000, 2)])
        await links.call(TWO, Get(NAME), sink=BytesSink(len(DATA)), bulk=True)
        assert told(asks) == [("2", "in", 100_000, 1), ("2", "out", 200_000, 2)]
        await links.call(TWO, RecordIds([0]), sink=BytesSink(len(DATA)), bulk=True)
        await links.call(TWO, GetStatus())
        assert told(serves) == [("1", "in", 200_000, 2), ("1", "out", 100_000, 1)], "only chunks count"
        assert asks.errors(str) == serves.errors(str) == []

    play(scenario)


def test_a_chunk_that_was_there_already_moved_nothing() -> None:
    async def scenario(pair: Pair) -> None:
        async def have(call: Call) -> Reply:
            return Reply(Stored(already=True))

        links, asks, serves = counting(pair)
        pair.handlers[Put] = have
        await pair.serve()
        await links.call(TWO, Put(NAME, len(DATA)), body=Body.of(DATA), bulk=True)
        assert told(asks) == told(serves) == []

    play(scenario)


def test_what_failed_counts_by_its_reason_at_both_ends() -> None:
    async def scenario(pair: Pair) -> None:
        async def full(call: Call) -> Reply:
            raise NoSpace("the disk is full")

        async def absent(call: Call) -> Reply:
            raise NotFound("no such thing")

        links, asks, serves = counting(pair)
        pair.handlers |= {Put: full, Get: absent, GetStatus: absent}
        await pair.serve()
        with pytest.raises(NoSpace):
            await links.call(TWO, Put(NAME, len(DATA)), body=Body.of(DATA), bulk=True)
        with pytest.raises(NotFound):
            await links.call(TWO, Get(NAME), sink=BytesSink(1), bulk=True)
        with pytest.raises(NotFound):
            await links.call(TWO, GetStatus())
        assert asks.errors(str) == [(TWO, "no-space", 1), (TWO, "not-found", 1)]
        assert serves.errors(str) == [(ONE, "no-space", 1), (ONE, "not-found", 1)]
        assert told(asks) == told(serves) == []

    play(scenario)


def test_the_operation_goes_with_its_requests_and_no_further() -> None:
    async def scenario(pair: Pair) -> None:
        seen: list[bytes | None] = []

        async def look(call: Call) -> Reply:
            seen.append(current_operation())
            return await pair.status(call)

        links, _, _ = counting(pair)
        pair.handlers[GetStatus] = look
        await pair.serve()
        await links.call(TWO, GetStatus())
        with within_operation(b"one"):
            await links.call(TWO, GetStatus())
        await links.call(TWO, GetStatus())
        assert seen == [None, b"one", None]

    play(scenario)
