"""All connections of one process: dialled when needed, once for all who ask, and not more of them than there may be."""

import asyncio
import random

import pytest

from net_kits import (
    Pair,
    address,
    elsewhere,
    hello,
    node_id,
    now,
    play,
    slow_body,
    some,
    status_of,
)
from roost.core.cluster import Address
from roost.core.errors import NoSpace, NotAdmitted, RoostError, Stalled, Unreachable
from roost.core.ids import NodeId, object_id
from roost.net.body import Body, BytesSink
from roost.net.dial import STAGGER_S
from roost.net.link import CONNECT_LIMIT_S
from roost.net.links import BULK_LINKS_MAX, DIAL_ATTEMPTS, REFUSAL_S, TRUSTED_S, Links
from roost.net.server import Call, Reply
from roost.net.stream import SLICE_BYTES, Stream
from roost.testing.loop import SimulatedLoop
from roost.testing.network import SimHost
from roost.testing.runtime import SimRuntime
from roost.wire.messages import Get, GetStatus, Hello, Ping, Pong, Put, Sending, Stored

TWO = node_id(2)
BIG = some(2 * SLICE_BYTES)
NAME = object_id(BIG)
STEPS_OF_A_CALL = 120
"""More than a call takes that has to dial."""


class Counting:
    """A network that counts what is dialled through it."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self.dialled: list[Address] = []

    async def connect(self, address: Address, *, expect: NodeId | None, timeout_s: float = 5.0) -> Stream:
        self.dialled.append(address)
        return await self._host.connect(address, expect=expect, timeout_s=timeout_s)

    @property
    def listen(self):  # type: ignore[no-untyped-def]
        return self._host.listen


def counting(pair: Pair, *known: Address) -> tuple[Links, Counting]:
    network = Counting(pair.client)
    links = Links(pair.runtime, network, hello=hello(), resolve=lambda node: list(known) or [address(2)])
    pair.made.append(links)
    return links, network


async def keep(call: Call) -> Reply:
    assert isinstance(call.request, Put)
    sink = BytesSink(call.request.length)
    await call.receive_body(sink)
    return Reply(Stored(already=sink.data() == BIG))


async def pong(call: Call) -> Reply:
    return Reply(Pong(1.0))


# Control links


def test_callers_at_once_share_one_dial_and_one_link() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        links, network = counting(pair)
        answers = await asyncio.gather(*(links.call(TWO, GetStatus()) for _ in range(100)))
        assert answers == [status_of("fine")] * 100
        assert network.dialled == [address(2)]

    play(scenario)


def test_a_broken_control_link_is_dialled_again_and_the_request_repeated() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        links, network = counting(pair)
        for times in range(1, 4):
            assert await links.call(TWO, GetStatus()) == status_of("fine")
            assert len(network.dialled) == times
            pair.server.close()
            if times == 2:
                await asyncio.sleep(1)  # else the link is not yet known to be broken

    play(scenario)


def test_a_request_is_repeated_once_and_only_on_a_link_that_was_there_before() -> None:
    async def scenario(pair: Pair) -> None:
        asked = 0

        async def breaks(call: Call) -> Reply:
            nonlocal asked
            asked += 1
            pair.server.close()
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        pair.handlers[Ping] = breaks
        await pair.serve()
        links, _ = counting(pair)
        with pytest.raises(Unreachable):
            await links.call(TWO, Ping())
        assert asked == 1
        await links.call(TWO, GetStatus())
        with pytest.raises(Unreachable):
            await links.call(TWO, Ping())
        assert asked == 3

    play(scenario)


def test_what_the_server_reports_is_not_repeated() -> None:
    async def scenario(pair: Pair) -> None:
        asked = 0

        async def unreachable(call: Call) -> Reply:
            nonlocal asked
            asked += 1
            raise Unreachable("the third machine")

        pair.handlers[Ping] = unreachable
        await pair.serve()
        links, _ = counting(pair)
        await links.call(TWO, GetStatus())
        with pytest.raises(Unreachable, match="the third machine"):
            await links.call(TWO, Ping())
        assert asked == 1

    play(scenario)


# Dialling


def test_a_refused_dial_is_tried_a_few_times_and_then_not_for_a_while() -> None:
    async def scenario(pair: Pair) -> None:
        links, network = counting(pair)
        begin = now()
        with pytest.raises(Unreachable, match="nobody answers"):
            await links.call(TWO, GetStatus())
        assert len(network.dialled) == DIAL_ATTEMPTS
        assert 0.1 < now() - begin < 1
        for _ in range(10):
            with pytest.raises(Unreachable, match="nobody answers"):
                await links.call(TWO, GetStatus())
        assert len(network.dialled) == DIAL_ATTEMPTS, "asked meanwhile: the same error at once"
        await pair.serve()
        await asyncio.sleep(REFUSAL_S)
        assert await links.call(TWO, GetStatus()) == status_of("fine")

    play(scenario)


def test_callers_who_wait_for_a_dial_share_its_failure() -> None:
    async def scenario(pair: Pair) -> None:
        links, network = counting(pair)
        pair.world.cut(pair.client, pair.host)
        await pair.serve()
        begin = now()
        results = await asyncio.gather(*(links.call(TWO, GetStatus()) for _ in range(50)), return_exceptions=True)
        assert {type(result) for result in results} == {Stalled}
        assert now() - begin < 5.5
        assert len(network.dialled) == 1, "who does not answer within 5 s is not tried again at once"

    play(scenario)


def test_a_peer_that_comes_up_while_it_is_dialled_is_reached() -> None:
    async def scenario(pair: Pair) -> None:
        links, _ = counting(pair)
        calling = asyncio.get_running_loop().create_task(links.call(TWO, GetStatus()))
        await asyncio.sleep(0.02)
        await pair.serve()
        assert await calling == status_of("fine")

    play(scenario)


def test_who_is_not_admitted_anywhere_is_told_and_not_dialled_again() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        pair.client = pair.world.host("n1", node_id(1), b"1" * 32, address(1).host, authority="another")
        links, network = counting(pair, address(2), Address("10.0.0.2", 99))
        with pytest.raises(NotAdmitted):
            await links.call(TWO, GetStatus())
        assert network.dialled == [address(2), Address("10.0.0.2", 99)]

    play(scenario)


def test_all_addresses_are_tried_and_the_one_that_works_is_told_and_kept() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        worked: list[tuple[NodeId, Address]] = []
        network = Counting(pair.client)
        known = [Address("10.0.0.77", 1), address(3), address(2)]
        stranger = pair.member(3)
        await pair.server.listen(stranger, address(3))
        links = Links(
            pair.runtime, network, hello=hello(), resolve=lambda node: known, worked=lambda *what: worked.append(what)
        )
        pair.made.append(links)
        assert await links.call(TWO, GetStatus()) == status_of("fine")
        assert network.dialled == known
        assert worked == [(TWO, address(2))]
        assert links.address_of(TWO) == address(2)
        pair.server.close()
        await asyncio.sleep(1)
        assert await links.call(TWO, GetStatus()) == status_of("fine")
        assert network.dialled[3:] == [address(2)], "where it answered last comes first"
        assert worked == [(TWO, address(2))]

    play(scenario)


def silent(pair: Pair, number: int) -> Address:
    """An address at which somebody was, whose machine lost its power."""
    pair.world.crash(pair.member(number), silent=True)
    return address(number)


def test_an_address_that_is_silent_holds_up_nobody_for_more_than_a_second() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        links, network = counting(pair, silent(pair, 3), silent(pair, 4), address(2))
        begun = now()
        assert await links.call(TWO, GetStatus()) == status_of("fine")
        assert now() - begun == pytest.approx(2 * STAGGER_S, abs=0.1)
        assert network.dialled == [address(3), address(4), address(2)]
        assert links.address_of(TWO) == address(2)

    play(scenario)


@pytest.mark.parametrize("order", [1, -1])
def test_a_peer_that_is_silent_at_one_address_and_refused_at_another_is_not_dialled_again(order: int) -> None:
    """It is down, and once was elsewhere: that takes 5 s to find out, not three times 5."""

    async def scenario(pair: Pair) -> None:
        links, network = counting(pair, *[silent(pair, 3), address(2)][::order])
        begun = now()
        with pytest.raises(Stalled):
            await links.call(TWO, GetStatus())
        assert now() - begun == pytest.approx(CONNECT_LIMIT_S, abs=0.1)
        assert len(network.dialled) == 2

    play(scenario)


def test_a_node_of_which_no_address_is_known_is_unreachable() -> None:
    async def scenario(pair: Pair) -> None:
        links = Links(pair.runtime, pair.client, hello=hello(), resolve=lambda node: [])
        with pytest.raises(Unreachable, match="no address of node"):
            await links.call(TWO, GetStatus())
        assert links.address_of(TWO) is None

    play(scenario)


def test_a_dial_that_is_cancelled_does_not_hinder_the_next_caller() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        links, _ = counting(pair)
        pair.world.cut(pair.client, pair.host)
        first = await elsewhere(links.call(TWO, GetStatus()))
        second = await elsewhere(links.call(TWO, GetStatus()))
        first.cancel()
        await asyncio.sleep(0.1)
        pair.world.heal()
        assert await second == status_of("fine")
        assert first.cancelled()

    play(scenario)


def test_chance_enters_by_the_runtime_alone() -> None:
    """One seed is one history: the pauses between dials are no exception."""
    begins: list[float] = []

    async def scenario(pair: Pair) -> None:
        pair.runtime = SimRuntime(random.Random(5))
        links, network = counting(pair)
        with pytest.raises(Unreachable):
            await links.call(TWO, GetStatus())
        begins.append(now())
        assert network.dialled

    for seed in (1, 2):
        random.seed(seed)
        play(scenario, seeds=[7])
    assert begins[0] == begins[1]


# Bulk links


def test_bulk_transfers_have_four_links_and_the_small_ones_do_not_wait_for_them() -> None:
    async def scenario(pair: Pair) -> None:
        going = most = 0

        async def slow(call: Call) -> Reply:
            nonlocal going, most
            going += 1
            most = max(most, going)
            await asyncio.sleep(2)
            going -= 1
            return await keep(call)

        pair.handlers |= {Put: slow, Ping: pong}
        await pair.serve()
        links, network = counting(pair)
        puts = [await elsewhere(links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True)) for _ in range(20)]
        begin = now()
        await links.call(TWO, Ping())
        assert now() - begin < 0.1
        assert await asyncio.gather(*puts) == [Stored(already=True)] * 20
        assert most == BULK_LINKS_MAX
        assert len(network.dialled) == BULK_LINKS_MAX + 1, "links are used again"

    play(scenario)


def test_a_bulk_link_that_broke_is_replaced_and_its_place_is_free_again() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers |= {Put: keep}
        await pair.serve()
        links, _ = counting(pair)
        for _ in range(2 * BULK_LINKS_MAX):
            task = await elsewhere(links.call(TWO, Put(NAME, len(BIG)), body=slow_body(BIG, every_s=3), bulk=True))
            task.cancel()
            await asyncio.wait([task])
        assert await links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True) == Stored(already=True)
        pair.server.close()
        await asyncio.sleep(1)
        assert await links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True) == Stored(already=True)

    play(scenario)


def test_an_idle_bulk_link_to_a_machine_that_lost_its_power_costs_no_transfer() -> None:
    """The links of before lead to nobody, and nothing has told us so."""

    async def scenario(pair: Pair) -> None:
        pair.handlers |= {Put: keep, Ping: pong}
        await pair.serve()
        links, _ = counting(pair)

        async def put() -> object:
            return await links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True)

        assert await asyncio.gather(*(put() for _ in range(BULK_LINKS_MAX))) == [Stored(already=True)] * BULK_LINKS_MAX
        await asyncio.sleep(2 * TRUSTED_S)
        pair.world.crash(pair.host, silent=True)
        pair.host = pair.member(2)
        await pair.serve()
        assert await put() == Stored(already=True)

    play(scenario)


def test_a_bulk_request_that_failed_leaves_its_link_for_the_next() -> None:
    async def scenario(pair: Pair) -> None:
        async def full(call: Call) -> Reply:
            raise NoSpace("full")

        pair.handlers |= {Put: full}
        await pair.serve()
        links, network = counting(pair)
        for _ in range(100):
            with pytest.raises(NoSpace):
                await links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True)
        assert len(network.dialled) == 1

    play(scenario, seeds=[1])


def test_bytes_are_not_sent_twice_by_us() -> None:
    async def scenario(pair: Pair) -> None:
        asked = 0

        async def breaks(call: Call) -> Reply:
            nonlocal asked
            asked += 1
            pair.server.close()
            return await keep(call)

        pair.handlers |= {Put: keep, Get: breaks}
        await pair.serve()
        links, _ = counting(pair)
        await links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True)
        await links.call(TWO, GetStatus())
        for bulk in (True, False):
            with pytest.raises(Unreachable):
                await links.call(TWO, Get(NAME), sink=BytesSink(len(BIG)), bulk=bulk)
            await asyncio.sleep(1)
        assert asked == 2

    play(scenario)


def test_cancelling_frees_the_wire_at_once() -> None:
    async def scenario(pair: Pair) -> None:
        async def give(call: Call) -> Reply:
            return Reply(Sending(len(BIG)), Body.of(BIG))

        pair.handlers[Get] = give
        await pair.serve()
        links, _ = counting(pair)
        sink = BytesSink(len(BIG))
        task = asyncio.get_running_loop().create_task(links.call(TWO, Get(NAME), sink=sink, bulk=True))
        await asyncio.sleep(0.0105)
        task.cancel()
        await asyncio.wait([task])
        before = len(sink._slices)
        await asyncio.sleep(5)
        assert len(sink._slices) == before, "nothing is written into a buffer that was given back"

    play(scenario, seeds=range(10))


# Who answers


def test_reach_tells_of_each_node_within_the_time() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[Ping] = pong
        await pair.serve()
        third = pair.member(3)
        await pair.server.listen(third, address(3))
        links = pair.links_of()
        assert await links.reach([TWO, node_id(3)]) == {TWO: None, node_id(3): None}
        pair.world.freeze(third)
        begin = now()
        found = await links.reach([TWO, TWO, node_id(3), node_id(4)], within_s=2.0)
        assert now() - begin < 2.2
        assert list(found) == [TWO, node_id(3), node_id(4)]
        assert found[TWO] is None
        for node in (node_id(3), node_id(4)):
            assert isinstance(found[node], Unreachable)
        pair.world.thaw(third)

    play(scenario)


# The end


def test_closing_breaks_all_links_and_no_more_are_dialled() -> None:
    async def scenario(pair: Pair) -> None:
        async def forever(call: Call) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        pair.handlers |= {Ping: forever, Put: keep}
        await pair.serve()
        links, network = counting(pair)
        await links.call(TWO, Put(NAME, len(BIG)), body=Body.of(BIG), bulk=True)
        waits = [
            await elsewhere(links.call(TWO, Ping())),
            await elsewhere(links.call(TWO, Put(NAME, len(BIG)), body=slow_body(BIG, every_s=9), bulk=True)),
        ]
        dialled = len(network.dialled)
        await links.close()
        for task in waits:
            with pytest.raises(Unreachable):
                await task
        for bulk in (True, False):
            with pytest.raises(Unreachable, match="closing"):
                await links.call(TWO, GetStatus(), bulk=bulk)
        await links.close()
        assert len(network.dialled) == dialled
        await asyncio.sleep(1)
        assert pair.host.tasks == set()

    play(scenario)


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.002, 0.06])
def test_closing_while_a_link_is_dialled(after_s: float) -> None:
    async def scenario(pair: Pair) -> None:
        if after_s < 0.05:
            await pair.serve()
        links, network = counting(pair)
        calls = [asyncio.get_running_loop().create_task(links.call(TWO, GetStatus(), bulk=b)) for b in (True, False)]
        await asyncio.sleep(after_s)
        more = [
            asyncio.get_running_loop().create_task(links.call(node_id(number), GetStatus())) for number in range(5, 9)
        ]
        await links.close()
        dialled = len(network.dialled)
        for task in (*calls, *more):
            with pytest.raises(RoostError):
                await task
        assert len(network.dialled) <= dialled + 1

    play(scenario)


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("end", ["the call is cancelled", "all is closed"])
def test_whenever_a_call_ends_while_it_dials_no_connection_is_left(end: str, bulk: bool) -> None:
    """Before each step in turn; the addresses are so many that one is under way beside that which answers."""

    async def scenario(pair: Pair) -> None:
        await pair.serve()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        for step in range(1, STEPS_OF_A_CALL):
            links = pair.links_of(silent(pair, 7), address(2), worked=lambda node, address: None)
            call = loop.create_task(links.call(TWO, GetStatus(), bulk=bulk))
            happened = asyncio.Event()
            strike = loop.strike(step, lambda context: True, happened.set)
            await asyncio.wait([call, loop.create_task(happened.wait())], return_when=asyncio.FIRST_COMPLETED)
            strike.call_off()
            happened.set()
            if end == "the call is cancelled":
                call.cancel()
                await asyncio.sleep(0)
            await links.close()
            await asyncio.wait([call])
            assert call.cancelled() or call.exception() is None or isinstance(call.exception(), RoostError)
            await asyncio.sleep(3)
            assert pair.host.tasks == set(), f"before step {step}"

    play(scenario, seeds=[1])


def test_a_peer_of_another_release_is_told_apart_from_one_that_is_down() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        newer = Hello(9, 8, "newer", hello().cluster)
        pair.server._greeting = lambda peer: newer
        links, network = counting(pair)
        with pytest.raises(RoostError) as caught:
            await links.call(TWO, GetStatus())
        assert caught.value.code == "unsupported"
        assert len(network.dialled) == 1

    play(scenario)
