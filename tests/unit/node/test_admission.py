"""Admission over the simulated network: who gets a certificate, and who never even hears the secret."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from roost.client.session import hello_of
from roost.core.cluster import Address
from roost.core.errors import Failed, NotAdmitted, RoostError, Unreachable
from roost.core.ids import MachineId
from roost.net.server import Call, Reply, Server
from roost.net.stream import Peer
from roost.node.admission import by_token, join_cluster, join_handler
from roost.security.authority import Authority, check_issued
from roost.security.identity import Identity, NodeKey
from roost.security.token import Token, TokenBook
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import WALL_S, SimRuntime
from roost.wire.admission import Admitted, Join
from roost.wire.messages import Hello

HERE = Address("10.0.0.1", 7400)
NOWHERE = Address("10.0.0.99", 7400)


@dataclass
class Coordinator:
    """A machine that admits."""

    authority: Authority
    identity: Identity
    book: TokenBook
    host: SimHost
    server: Server
    asked: list[Join]

    def token(self, *, uses: int | None = None, ttl_s: float = 3600, at: tuple[Address, ...] = (HERE,)) -> Token:
        return Token(self.authority.cluster_hash, self.book.create(ttl_s=ttl_s, uses=uses, now=WALL_S), at)


class World:
    """A coordinator, and machines that want to join."""

    def __init__(self, seed: int) -> None:
        self.net = SimNetwork(random.Random(seed))
        self.runtime = SimRuntime(random.Random(seed))
        self._joiners = 0

    async def coordinator(self, *, name: str = "home", at: Address = HERE, admits: bool = True) -> Coordinator:
        authority = Authority.create(name)
        identity = Identity.found(authority, NodeKey.create(), machine=MachineId("a" * 32))
        host = self.net.host(
            name, identity.node_id, identity.fingerprint, at.host, certificate=identity.certificate, joiners=True
        )
        book = TokenBook(MemoryDisk())
        asked: list[Join] = []
        handle = join_handler(self.runtime, authority, book)

        async def join(call: Call) -> Reply:
            assert isinstance(call.request, Join)
            asked.append(call.request)
            return await handle(call)

        server = Server(
            self.runtime,
            {Join: join},
            greeting=lambda peer: hello_of(
                identity.cluster_hash, authority=identity.authority if peer.node_id is None and admits else b""
            ),
        )
        await server.listen(host, at)
        return Coordinator(authority, identity, book, host, server, asked)

    def joiner(self) -> SimHost:
        self._joiners += 1
        return self.net.host(f"joiner{self._joiners}", None, None, f"10.0.1.{self._joiners}")

    async def join(
        self, token: Token, *, disk: MemoryDisk | None = None, at: tuple[Address, ...] = ()
    ) -> tuple[Identity, MemoryDisk]:
        home = disk or MemoryDisk()
        identity, _, _ = await join_cluster(self.runtime, self.joiner(), home, by_token(token), at or token.addresses)
        return identity, home


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main(seed: int) -> None:
        await scenario(World(seed))

    for seed in range(2):
        run_simulated(main(seed), seconds_max=600)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_MACHINE", "b" * 32)


def test_a_good_token_makes_a_member_whose_identity_is_durable() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        token = home.token(uses=1)
        identity, disk = await world.join(token)
        assert check_issued(identity.certificate, home.authority.certificate) == identity.node_id
        assert identity.cluster_hash == token.authority
        for survivor in (disk.kill(), disk.crash(random.Random(1))):
            again = Identity.load(survivor)
            assert (again.node_id, again.machine) == (identity.node_id, MachineId("b" * 32))
            assert again.certificate == identity.certificate

    play(scenario)


def test_who_admitted_and_where_is_told() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        token = home.token(at=(NOWHERE, HERE))
        ask = by_token(token)
        _, server, address = await join_cluster(world.runtime, world.joiner(), MemoryDisk(), ask, token.addresses)
        assert (server, address) == (home.identity.node_id, HERE)

    play(scenario)


def test_a_token_admits_as_many_nodes_as_it_says_and_the_same_node_again() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        token = home.token(uses=2)
        first, disk = await world.join(token)
        again, _ = await world.join(token, disk=disk)
        assert again.node_id == first.node_id
        await world.join(token)
        with pytest.raises(NotAdmitted, match="used up"):
            await world.join(token)
        assert len(home.asked) == 4

    play(scenario)


def test_an_open_token_admits_many_at_once() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        token = home.token()
        found = await asyncio.gather(*(world.join(token) for _ in range(10)))
        assert len({identity.node_id for identity, _ in found}) == 10

    play(scenario)


def test_a_wrong_an_ended_and_a_revoked_token_admit_nobody() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        good = home.token()
        ended = home.token(ttl_s=1)
        await asyncio.sleep(2)
        for token in (Token(good.authority, bytes(16), good.addresses), ended):
            disk = MemoryDisk()
            with pytest.raises(NotAdmitted, match="unknown, revoked or past its time"):
                await world.join(token, disk=disk)
            with pytest.raises(NotAdmitted):
                Identity.load(disk)
        home.book.revoke_all(now=WALL_S)
        with pytest.raises(NotAdmitted):
            await world.join(good)

    play(scenario)


def test_a_server_of_another_cluster_never_hears_the_secret() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        other_at = Address("10.0.0.2", 7400)
        other = await world.coordinator(name="other", at=other_at)
        with pytest.raises(NotAdmitted, match="another cluster"):
            await world.join(home.token(), at=(other_at,))
        assert other.asked == []
        identity, _ = await world.join(home.token(), at=(other_at, HERE))
        assert identity.cluster_hash == home.authority.cluster_hash
        assert other.asked == []

    play(scenario)


def test_a_server_that_shows_the_right_authority_and_is_not_its_member_never_hears_the_secret() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        other_at = Address("10.0.0.2", 7400)
        liar = await world.coordinator(name="liar", at=other_at)
        liar.server._greeting = lambda peer: Hello(
            1, 1, "liar", home.authority.cluster_hash, home.authority.certificate
        )
        with pytest.raises(NotAdmitted):
            await world.join(home.token(), at=(other_at,))
        assert liar.asked == []

    play(scenario)


def test_a_member_that_does_not_admit_is_named_and_the_next_address_tried() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        other_at = Address("10.0.0.2", 7400)
        await world.coordinator(name="node", at=other_at, admits=False)
        with pytest.raises(Unreachable, match="admits nobody"):
            await world.join(home.token(), at=(other_at,))
        await world.join(home.token(), at=(other_at, HERE))

    play(scenario)


def test_when_nobody_answers_all_addresses_are_named() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        world.net.freeze(home.host)
        with pytest.raises(Unreachable) as caught:
            await world.join(home.token(at=(NOWHERE, HERE)))
        assert str(NOWHERE) in str(caught.value)
        assert str(HERE) in str(caught.value)
        assert "--at" in caught.value.hint
        world.net.thaw(home.host)

    play(scenario)


def test_a_certificate_of_another_key_is_not_taken() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        stolen = home.authority.issue(NodeKey.create().request())

        async def mixed_up(call: Call) -> Reply:
            return Reply(Admitted(stolen, "home"))

        home.server._handlers = {Join: mixed_up}
        disk = MemoryDisk()
        with pytest.raises(NotAdmitted, match="another key"):
            await world.join(home.token(), disk=disk)
        with pytest.raises(NotAdmitted):
            Identity.load(disk)

    play(scenario)


@pytest.mark.parametrize("request_der", [b"", b"nonsense", b"x" * 2048])
def test_a_request_that_proves_no_key_uses_up_nothing(request_der: bytes) -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        token = home.token(uses=1)
        handle = join_handler(world.runtime, home.authority, home.book)

        async def no_body(call: Call, sink: object) -> None:
            raise AssertionError("a join has none")

        with pytest.raises(RoostError):
            await handle(Call(Join(token.secret, request_der), Peer(None, None, HERE), no_body))
        await world.join(token)

    play(scenario)


def test_an_answer_that_was_lost_can_be_asked_for_again() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        token = home.token(uses=1)
        disk = MemoryDisk()
        NodeKey.load_or_create(disk)
        task = asyncio.get_running_loop().create_task(world.join(token, disk=disk))
        while not home.asked:
            await asyncio.sleep(0.0001)
        home.server.close()
        with pytest.raises(Unreachable):
            await task
        identity, _ = await world.join(token, disk=disk)
        assert identity.node_id == Identity.load(disk).node_id

    play(scenario)


def test_a_home_that_cannot_be_written_is_no_admission() -> None:
    async def scenario(world: World) -> None:
        home = await world.coordinator()
        disk = MemoryDisk()
        NodeKey.load_or_create(disk)
        disk.read_only = True
        with pytest.raises(RoostError) as caught:
            await world.join(home.token(), disk=disk)
        assert caught.value.code == "disk"
        assert not isinstance(caught.value, Failed)

    play(scenario)
