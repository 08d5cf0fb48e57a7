"""A malicious node among honest ones: wrong bytes, endless bodies, lies about what it holds. What is gathered is right,
nothing false is kept, memory stays bounded, and the next honest request works."""

import asyncio
import contextlib
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, spread_cluster
from roost.client.session import hello_of, member_network
from roost.core.cluster import Address
from roost.core.errors import ProtocolError, RoostError
from roost.core.ids import MachineId
from roost.core.runtime import SystemRuntime
from roost.net.body import BytesSink
from roost.net.link import Link
from roost.net.stream import Stream
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.wire.connection import Connection, RequestReceived, Role
from roost.wire.fields import OBJECT_BYTES_MAX
from roost.wire.frames import Kind, pack_header
from roost.wire.messages import Get, Ping, Pong, Sending
from security.harm import MIB, expect_bounded_memory, serves_honest_clients
from security.liar import Liar

GROWTH_MAX = 4 * MIB


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two honest nodes, so that of three nodes the liar is always near."""
    with spread_cluster(tmp_path_factory.mktemp("malicious"), nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def serving(cluster: Cluster) -> Iterator[Liar]:
    home = cluster.root / "liar"
    token = cluster.done("token", "create")["token"]
    assert cluster.begin("join", token, "--client", home=home, machine=9).wait().code == 0
    with Liar(home) as liar:
        cluster.watch_state(Node("liar", liar.id, home, cluster.nodes["a"].handle), until="alive", limit_s=30)
        yield liar


@pytest.fixture
def liar(serving: Liar) -> Iterator[Liar]:
    """The node, honest until a test makes it lie."""
    serving.told = 0
    yield serving
    serving.lies.clear()


@pytest.fixture
def stored(cluster: Cluster, liar: Liar, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """What was stored while all were honest, with a copy on every node."""
    name = f"malicious/{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"
    path = trees.write(tmp_path / "some.bin", trees.noise(3_000_000, seed=len(request.node.name)))
    answer = cluster.done("store", path, "--name", name, "--redundancy", "3")
    assert answer["copies"] == 3
    return name, path


@pytest.mark.parametrize(
    "data", [b"", b"wrong", b"\x5a" * OBJECT_BYTES_MAX], ids=["none", "a few", "as many as there may be"]
)
def test_wrong_bytes_are_never_gathered(cluster: Cluster, liar: Liar, stored: tuple[str, Path], data: bytes) -> None:
    name, path = stored
    liar.answer_gets_with(data)
    cluster.nodes["a"].handle.freeze()
    try:
        gathered = cluster.gathered(name)
    finally:
        cluster.nodes["a"].handle.resume()
    assert trees.tree_of(gathered) == trees.tree_of(path)
    assert liar.told > 0, "it was asked"


def test_a_node_that_says_it_holds_everything_loses_nothing(cluster: Cluster, liar: Liar, tmp_path: Path) -> None:
    liar.claim_to_hold_everything()
    path = trees.write(tmp_path / "new.bin", trees.noise(3_000_000, seed=71))
    cluster.done("store", path, "--name", "malicious/claimed", "--redundancy", "3")
    assert liar.told > 0, "it was asked"
    assert trees.tree_of(cluster.gathered("malicious/claimed")) == trees.tree_of(path)
    chunks = {chunk["id"] for chunk in cluster.done("show", "malicious/claimed")["chunks"]}
    for name in ("a", "b"):
        assert chunks <= cluster.nodes[name].chunks.keys(), "who is honest holds all that was counted on it"


def test_records_that_are_none_are_kept_by_nobody(cluster: Cluster, liar: Liar, tmp_path: Path) -> None:
    honest = cluster.nodes["a"]
    path = trees.write(tmp_path / "next.bin", trees.noise(100_000, seed=72))
    liar.tell_of_records_that_are_none()
    with expect_bounded_memory(honest):
        serves_honest_clients(cluster, path, "malicious/records")
    assert liar.told > 0, "it was asked"
    for home in (honest.home, cluster.nodes["b"].home, cluster.home):
        for record in (home / "records").glob("**/*"):
            assert not record.is_file() or b"\xef" * 100 not in record.read_bytes()


# -- bodies without an end ---------------------------------------------------------------------------------------------


Script = Callable[[Stream, Connection], AsyncIterator[list[bytes]]]


async def more_than_announced(stream: Stream, connection: Connection) -> AsyncIterator[list[bytes]]:
    yield [connection.answer(1, Sending(1000), 1000)]
    while True:
        yield [pack_header(Kind.DATA, 1, MIB), bytes(MIB)]


async def longer_than_any(stream: Stream, connection: Connection) -> AsyncIterator[list[bytes]]:
    answer = b"\x82\xa4type\xa7sending\xa6length\xcf" + (2**62).to_bytes(8, "big")
    yield [pack_header(Kind.ANSWER, 1, len(answer)), answer]
    while True:
        yield [pack_header(Kind.DATA, 1, MIB), bytes(MIB)]


async def a_frame_without_end(stream: Stream, connection: Connection) -> AsyncIterator[list[bytes]]:
    yield [connection.answer(1, Sending(OBJECT_BYTES_MAX), OBJECT_BYTES_MAX)]
    yield [pack_header(Kind.DATA, 1, 1)[:8], (2**32 - 1).to_bytes(4, "big")]
    while True:
        yield [bytes(MIB)]


async def another_answer(stream: Stream, connection: Connection) -> AsyncIterator[list[bytes]]:
    while True:
        answer = b"\x82\xa4type\xa4pong\xa9running_s\x00"
        yield [pack_header(Kind.ANSWER, 1, len(answer)), answer]


@contextlib.asynccontextmanager
async def dialled(script: Script) -> AsyncIterator[Link]:
    """A link to a member that keeps to the protocol until it is asked for an object."""
    authority = Authority.create("home")
    members = [Identity.found(authority, NodeKey.create(), machine=MachineId(f"{n:032x}")) for n in range(2)]
    ours, theirs = (member_network(SystemRuntime(), identity) for identity in members)

    async def accepted(stream: Stream) -> None:
        connection = Connection(Role.SERVER, admitted=True)
        await stream.send([connection.hello(hello_of(authority.cluster_hash))])
        while True:
            view = memoryview(bytearray(connection.next_size()))
            await stream.receive_exactly(view)
            event = connection.receive(view)
            if isinstance(event, RequestReceived) and isinstance(event.request, Get):
                async for pieces in script(stream, connection):
                    await stream.send(list(pieces))
            elif isinstance(event, RequestReceived):
                await stream.send([connection.answer(event.request_id, Pong(1.0))])

    listener = await theirs.listen(Address("127.0.0.1", 0), accepted)
    try:
        hello = hello_of(authority.cluster_hash)
        yield await Link.open(SystemRuntime(), ours, listener.address, expect=None, hello=hello)
    finally:
        await listener.close()


@pytest.mark.parametrize("script", [more_than_announced, longer_than_any, a_frame_without_end, another_answer])
async def test_an_endless_body_ends_the_connection_and_costs_little(script: Script) -> None:
    async with asyncio.timeout(20):
        async with dialled(script) as link:
            sink = BytesSink(OBJECT_BYTES_MAX)
            tracemalloc.start()
            try:
                with pytest.raises(RoostError) as caught:
                    await link.call(Get(bytes(32)), sink=sink)
                grown = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert isinstance(caught.value, ProtocolError), caught.value
            assert grown < GROWTH_MAX
            assert not link.usable
            await link.close()
        async with dialled(script) as again:
            assert await again.call(Ping()) == Pong(1.0), "the next honest request works"
            await again.close()
