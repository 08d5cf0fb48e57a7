"""Objects over the network: what handlers do, how objects are passed on, and answers that are not to be believed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass

import pytest

from chunk_kits import Node, address, hello, start_node
from roost.chunks.pass_on import PASS_ON_MAX, PassOn
from roost.chunks.remote import RemoteChunkStore
from roost.chunks.store import CopyState
from roost.core.errors import Damaged, NoSpace, NotFound, ProtocolError, RoostError
from roost.core.ids import NodeId, ObjectId, object_id
from roost.net.body import Body, Sink
from roost.net.server import Call, Handlers, Reply, Server
from roost.net.stream import SLICE_BYTES, Peer
from roost.testing.loop import run_simulated
from roost.testing.network import SimNetwork
from roost.testing.runtime import SimRuntime
from roost.wire import messages
from roost.wire.fields import join_ids
from roost.wire.messages import Holding, LastVerified, PassedOn, Sending, Verified

Scenario = Callable[["Trio"], Coroutine[object, object, None]]


def some(size: int, seed: int = 0) -> tuple[ObjectId, bytes]:
    data = random.Random(seed).randbytes(size)
    return object_id(data), data


@dataclass(frozen=True, slots=True)
class Trio:
    """A client and two nodes, on virtual time."""

    world: SimNetwork
    runtime: SimRuntime
    client: Node
    one: Node
    two: Node

    def remote(self, node: Node) -> RemoteChunkStore:
        return RemoteChunkStore(self.runtime, self.client.links, node.node_id)

    async def pass_on(self, *ids: ObjectId, to: NodeId | None = None) -> list[str]:
        """Ask node one to pass these on (to node two)."""
        request = messages.PassOn(join_ids(list(ids)), to or self.two.node_id)
        answer = await self.client.links.call(self.one.node_id, request)
        assert isinstance(answer, PassedOn)
        return list(answer.problems)


def simulate(scenario: Scenario, seed: int = 1) -> None:
    async def main() -> None:
        world = SimNetwork(random.Random(seed))
        runtime = SimRuntime(random.Random(seed))
        nodes = [await start_node(world, runtime, number) for number in (1, 2, 3)]
        await scenario(Trio(world, runtime, *nodes))
        for node in nodes:
            await node.links.close()

    run_simulated(main(), seconds_max=600)


def path_of(name: ObjectId) -> str:
    return f"chunks/{name.hex()[:2]}/{name.hex()}"


async def fetched(remote: RemoteChunkStore, name: ObjectId) -> bytes:
    into = memoryview(bytearray(4 * SLICE_BYTES))
    return bytes(into[: await remote.get(name, into)])


async def no_body(call: Call, sink: Sink) -> None:
    raise AssertionError("these requests have none")


# Serving


def test_a_damaged_copy_is_refused_by_its_server_and_put_into_quarantine_there() -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(2 * SLICE_BYTES + 1)
        await trio.remote(trio.one).put(name, Body.of(data))
        trio.one.disk.flip(path_of(name), 7, 7)
        with pytest.raises(Damaged):
            await fetched(trio.remote(trio.one), name)
        assert trio.one.store.quarantined == 1
        assert await trio.remote(trio.one).have([name]) == [False]

    simulate(scenario)


def test_a_disk_that_fills_up_while_a_client_sends_ends_the_call_and_the_link_goes_on() -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(6 * SLICE_BYTES)
        store = trio.remote(trio.one)

        async def slices() -> AsyncIterator[memoryview]:
            for begin in range(0, len(data), SLICE_BYTES):
                if begin == SLICE_BYTES:
                    trio.one.disk.bytes_max = SLICE_BYTES + 5000
                if begin == 4 * SLICE_BYTES:
                    await asyncio.sleep(1)  # the error comes before the end
                yield memoryview(data)[begin : begin + SLICE_BYTES]

        for _ in range(70):
            with pytest.raises(NoSpace):
                await store.put(name, Body(len(data), slices()))
            trio.one.disk.bytes_max = None
        assert trio.one.disk.list("chunks/tmp") == []
        assert await store.put(name, Body.of(data)) is True

    simulate(scenario)


def test_a_client_that_dies_while_it_sends_leaves_nothing() -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(2 * SLICE_BYTES)

        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(data)[:SLICE_BYTES]
            await asyncio.sleep(1)
            trio.world.crash(trio.client.host, silent=False)
            await asyncio.Event().wait()

        putting = asyncio.create_task(trio.remote(trio.one).put(name, Body(len(data), slices())))
        await asyncio.sleep(10)
        assert trio.one.disk.list("chunks/tmp") == []
        assert await RemoteChunkStore(trio.runtime, trio.two.links, trio.one.node_id).put(name, Body.of(data)) is True
        putting.cancel()
        await asyncio.wait([putting])

    simulate(scenario)


def test_progress_moves_with_the_bytes() -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(3 * SLICE_BYTES)
        await trio.one.store.put(name, Body.of(data))
        calls: list[Call] = []
        for request in (messages.Verify(name), messages.PassOn(name, trio.two.node_id)):
            handler = trio.one.handlers[type(request)]
            calls.append(Call(request, Peer(trio.client.node_id, None, address(3)), no_body))
            await handler(calls[-1])
        assert [call.progress for call in calls] == [len(data), len(data) + 1]

    simulate(scenario)


# Passing on


def test_objects_are_passed_on_and_each_problem_is_told() -> None:
    async def scenario(trio: Trio) -> None:
        objects = [some(SLICE_BYTES + seed, seed) for seed in range(4)]
        absent = some(5, seed=50)[0]
        for name, data in objects:
            await trio.one.store.put(name, Body.of(data))
        await trio.two.store.put(objects[0][0], Body.of(objects[0][1]))
        names = [name for name, _ in objects]
        trio.one.disk.flip(path_of(names[2]), 0, 0)
        assert await trio.pass_on(names[0], names[1], names[2], absent, names[3]) == [
            "", "", "integrity", "not-found", "",
        ]  # fmt: skip
        assert await trio.two.store.have(names) == [True, True, False, True]
        assert await trio.one.store.have(names) == [True, True, False, True]
        assert trio.one.store.quarantined == 1
        assert trio.two.disk.list("chunks/tmp") == []

    simulate(scenario)


def test_a_target_that_is_full_is_told_object_by_object_and_one_that_is_gone_at_once() -> None:
    async def scenario(trio: Trio) -> None:
        objects = [some(1000, seed) for seed in range(3)]
        for name, data in objects:
            await trio.one.store.put(name, Body.of(data))
        names = [name for name, _ in objects]
        trio.two.disk.bytes_max = 2000
        assert await trio.pass_on(*names) == ["no-space"] * 3
        assert await trio.pass_on(*names, to=NodeId(f"{99:032x}")) == ["unreachable"] * 3
        trio.two.disk.bytes_max = None
        assert await trio.pass_on(*names) == [""] * 3

    simulate(scenario)


@pytest.mark.parametrize("harm", ["a disk that is gone", "a release that says not found"])
def test_a_target_without_a_place_is_not_taken_for_a_source_without_a_copy(harm: str) -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(100)
        await trio.one.store.put(name, Body.of(data))
        if harm == "a disk that is gone":
            trio.two.disk.rename("chunks", "away")
        else:

            async def put(call: Call) -> Reply:
                raise NotFound("no such directory")

            assert isinstance(trio.two.handlers, dict)
            trio.two.handlers[messages.Put] = put
        assert await trio.pass_on(name) == ["disk"]

    simulate(scenario)


def test_a_source_whose_copy_vanishes_as_it_is_sent_says_so() -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(100)
        await trio.one.store.put(name, Body.of(data))
        look = trio.one.store._look

        def look_and_lose(ids: list[ObjectId]) -> list[int | None]:
            sizes = look(ids)
            trio.one.disk.unlink(path_of(name))
            return sizes

        trio.one.store._look = look_and_lose  # type: ignore[method-assign, assignment]
        assert await trio.pass_on(name) == ["not-found"]
        assert trio.two.store.objects == 0

    simulate(scenario)


def test_a_target_that_says_damaged_makes_the_source_read_its_own_copy_again() -> None:
    async def scenario(trio: Trio) -> None:
        name, data = some(1000)
        await trio.one.store.put(name, Body.of(data))

        async def liar(call: Call) -> Reply:
            raise Damaged("it came damaged")

        await serve(trio, 4, {messages.Put: liar})
        assert await trio.pass_on(name, to=NodeId(f"{4:032x}")) == ["failed"], "our copy is good"
        assert await trio.one.store.have([name]) == [True]
        trio.one.disk.flip(path_of(name), 0, 0)
        assert await trio.pass_on(name, to=NodeId(f"{4:032x}")) == ["integrity"]
        assert await trio.one.store.have([name]) == [False]

    simulate(scenario)


def test_few_objects_go_to_one_target_at_a_time() -> None:
    async def scenario(trio: Trio) -> None:
        going = most = 0
        go = asyncio.Event()

        async def slow(call: Call) -> Reply:
            nonlocal going, most
            going += 1
            most = max(most, going)
            await go.wait()
            going -= 1
            raise NoSpace("full")

        await serve(trio, 4, {messages.Put: slow})
        objects = [some(100, seed) for seed in range(8)]
        for name, data in objects:
            await trio.one.store.put(name, Body.of(data))
        service = PassOn(trio.one.store, trio.one.links)
        tasks = [
            asyncio.create_task(service.pass_on([name], NodeId(f"{4:032x}"), moved=lambda count: None))
            for name, _ in objects
        ]
        await asyncio.sleep(2)
        assert going == PASS_ON_MAX
        assert await service.pass_on([objects[0][0]], trio.two.node_id, moved=lambda count: None) == [""]
        go.set()
        assert await asyncio.gather(*tasks) == [["no-space"]] * 8
        assert most == PASS_ON_MAX

    simulate(scenario)


# Answers that are not to be believed


async def serve(trio: Trio, number: int, handlers: Handlers) -> RemoteChunkStore:
    """A member whose handlers do as they like."""
    host = trio.world.host(f"node{number}", NodeId(f"{number:032x}"), bytes([number]) * 32, address(number).host)
    await Server(trio.runtime, handlers, greeting=lambda peer: hello()).listen(host, address(number))
    return RemoteChunkStore(trio.runtime, trio.client.links, NodeId(f"{number:032x}"))


def always(reply: Callable[[], Reply]) -> Callable[[Call], Coroutine[object, object, Reply]]:
    async def handler(call: Call) -> Reply:
        return reply()

    return handler


NAME, DATA = some(100)
OTHER = some(100, seed=9)[1]


@pytest.mark.parametrize(
    ("request_type", "reply", "ask", "error"),
    [
        (messages.Have, lambda: Reply(Holding(b"")), lambda s: s.have([NAME]), ProtocolError),
        (messages.Have, lambda: Reply(Holding(b"\1\1")), lambda s: s.have([NAME]), ProtocolError),
        (messages.Verify, lambda: Reply(Verified(b"\0\0")), lambda s: s.verify([NAME]), ProtocolError),
        (messages.Verify, lambda: Reply(Verified(b"")), lambda s: s.verify([NAME]), ProtocolError),
        (messages.GetVerified, lambda: Reply(LastVerified([1, 2])), lambda s: s.verified([NAME]), ProtocolError),
        (messages.Verify, lambda: Reply(Verified(b"\7")), lambda s: s.verify([NAME]), ProtocolError),
        (messages.Get, lambda: Reply(Sending(100), Body.of(OTHER)), lambda s: fetched(s, NAME), Damaged),
        (messages.Get, lambda: Reply(Sending(99), Body.of(DATA[:99])), lambda s: fetched(s, NAME), Damaged),
        (messages.Get, lambda: Reply(Sending(0), Body.of(b"")), lambda s: fetched(s, NAME), Damaged),
    ],
)
def test_an_answer_that_does_not_fit_is_not_believed(
    request_type: type,
    reply: Callable[[], Reply],
    ask: Callable[[RemoteChunkStore], Coroutine[object, object, object]],
    error: type[RoostError],
) -> None:
    async def scenario(trio: Trio) -> None:
        store = await serve(trio, 4, {request_type: always(reply)})
        with pytest.raises(error):
            await ask(store)

    simulate(scenario)


def test_a_remote_store_asks_in_parts_that_fit() -> None:
    async def scenario(trio: Trio) -> None:
        sizes: list[int] = []

        async def verify(call: Call) -> Reply:
            assert isinstance(call.request, messages.Verify)
            sizes.append(len(call.request.ids) // 32)
            return Reply(Verified(bytes([CopyState.ABSENT]) * sizes[-1]))

        store = await serve(trio, 4, {messages.Verify: verify})
        ids = [ObjectId(number.to_bytes(32, "big")) for number in range(2500)]
        assert await store.verify(ids) == [CopyState.ABSENT] * 2500
        assert sizes == [1024, 1024, 452]

    simulate(scenario)
