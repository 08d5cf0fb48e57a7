"""Coming back with the recovery code over the simulated network: who answers, who is believed, who is slowed down."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from net_kits import Pair, address, hello, play, status_of
from roost.client.session import hello_of
from roost.codec.records import encode_record
from roost.core.cluster import Address
from roost.core.errors import Busy, Damaged, NotAdmitted, ProtocolError, RoostError, Unreachable
from roost.core.ids import MachineId, NodeId
from roost.net.link import Link
from roost.net.server import STRANGERS_MAX, Call, Reply, Server
from roost.node.admission import by_token, join_cluster
from roost.node.recovery import ask_for_authority
from roost.node.strangers import ATTEMPT_EVERY_S, HOSTS_MAX, Attempts, stranger_handlers
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.security.recovery import RecoveryCode, seal
from roost.security.token import Token, TokenBook
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import WALL_S, SimRuntime
from roost.wire.admission import Recover, Sealed
from roost.wire.messages import GetStatus

AUTHORITY = Authority.create("home")
CODE = RecoveryCode.create()
SEALED = encode_record(seal(AUTHORITY, CODE, at=100))
MEMBER = Identity.found(AUTHORITY, NodeKey.create(), machine=MachineId("a" * 32))
NODE = Address("10.0.0.1", 7400)


@dataclass
class Node:
    """A member as strangers see it; `kept` are the sealed authorities that it has, `disk` is its home."""

    world: "World"
    identity: Identity = MEMBER
    kept: list[bytes] = field(default_factory=lambda: [SEALED])
    disk: MemoryDisk = field(default_factory=MemoryDisk)

    async def serve(self, at: Address = NODE) -> "Node":
        async def kept() -> list[bytes]:
            return self.kept

        async def status(call: Call) -> Reply:
            return Reply(status_of("a secret"))

        identity = self.identity
        host = self.world.net.host(
            f"node {at}", identity.node_id, identity.fingerprint, at.host, certificate=identity.certificate,
            joiners=True,
        )  # fmt: skip
        handlers = {**stranger_handlers(self.world.runtime, self.disk, kept), GetStatus: status}
        server = Server(
            self.world.runtime, handlers,
            greeting=lambda peer: hello_of(identity.cluster_hash, authority=identity.authority),
        )  # fmt: skip
        await server.listen(host, at)
        return self


class World:
    def __init__(self) -> None:
        self.net = SimNetwork(random.Random(1))
        self.runtime = SimRuntime(random.Random(2))
        self._strangers = 0

    def stranger(self, host: str = "") -> SimHost:
        self._strangers += 1
        return self.net.host(f"s{self._strangers}", None, None, host or f"10.0.1.{self._strangers}")

    async def recover(self, code: RecoveryCode = CODE, *, at: Address = NODE) -> tuple[bytes, Authority, NodeId]:
        return await ask_for_authority(self.runtime, self.stranger(), code, at)


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(World())

    run_simulated(main(), seconds_max=600)


def test_the_code_and_one_node_bring_the_authority_back() -> None:
    async def scenario(world: World) -> None:
        await Node(world).serve()
        record, authority, node = await world.recover()
        assert (record, node) == (SEALED, MEMBER.node_id)
        assert authority.key.private_bytes_raw() == AUTHORITY.key.private_bytes_raw()

    run(scenario)


def test_the_newest_of_several_records_of_one_code_is_answered() -> None:
    async def scenario(world: World) -> None:
        newer = encode_record(seal(AUTHORITY, CODE, at=200))
        others = encode_record(seal(AUTHORITY, RecoveryCode.create(), at=300))
        broken = b"\x83\xa4kind"
        await Node(world, kept=[SEALED, newer, others, broken]).serve()
        assert (await world.recover())[0] == newer

    run(scenario)


def test_a_wrong_code_gets_nothing_and_no_record_gets_nothing() -> None:
    async def scenario(world: World) -> None:
        await Node(world).serve()
        with pytest.raises(NotAdmitted, match="opens nothing"):
            await world.recover(RecoveryCode.create())
        await Node(world, kept=[]).serve(Address("10.0.0.2", 7400))
        with pytest.raises(NotAdmitted, match="opens nothing"):
            await world.recover(at=Address("10.0.0.2", 7400))
        with pytest.raises(Unreachable):
            await world.recover(at=Address("10.0.0.3", 7400))

    run(scenario)


def test_a_machine_that_is_not_of_the_authority_is_not_believed() -> None:
    async def scenario(world: World) -> None:
        stranger = Authority.create("home")
        robber = Identity.found(stranger, NodeKey.create(), machine=MachineId("b" * 32))
        await Node(world, identity=robber).serve()  # it has copied the sealed record, and certifies itself
        with pytest.raises(NotAdmitted, match="certificate is refused"):
            await world.recover()

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(SEALED[:-1] + bytes([SEALED[-1] ^ 1]), Damaged), (b"noise", Damaged), (b"", Damaged)],
)
def test_what_is_no_record_is_told(answer: bytes, error: type[RoostError]) -> None:
    async def scenario(world: World) -> None:
        async def recover(call: Call) -> Reply:
            return Reply(Sealed(answer))

        host = world.net.host(
            "node", MEMBER.node_id, MEMBER.fingerprint, NODE.host, certificate=MEMBER.certificate, joiners=True
        )
        server = Server(world.runtime, {Recover: recover}, greeting=lambda peer: hello_of(MEMBER.cluster_hash))
        await server.listen(host, NODE)
        with pytest.raises(error):
            await world.recover()

    run(scenario)


def test_a_stranger_is_answered_nothing_else() -> None:
    async def scenario(world: World) -> None:
        await Node(world).serve()
        link = await Link.open(world.runtime, world.stranger(), NODE, expect=None, hello=hello_of(b""), admitted=True)
        with pytest.raises(RoostError):
            await link.call(GetStatus())
        assert not link.usable
        await link.close()

    run(scenario)


# -- how often -----------------------------------------------------------------------------------------------------


def test_each_address_tries_once_a_second() -> None:
    async def scenario(world: World) -> None:
        attempts = Attempts(world.runtime)
        attempts.count("10.0.0.9")
        with pytest.raises(Busy, match="at most once"):
            attempts.count("10.0.0.9")
        attempts.count("10.0.0.10")
        await asyncio.sleep(ATTEMPT_EVERY_S)
        attempts.count("10.0.0.9")

    run(scenario)


def test_the_table_of_attempts_is_bounded_and_frees_itself() -> None:
    async def scenario(world: World) -> None:
        attempts = Attempts(world.runtime)
        for number in range(HOSTS_MAX):
            attempts.count(f"h{number}")
        for number in range(10):
            with pytest.raises(Busy):
                attempts.count(f"more{number}")
        await asyncio.sleep(ATTEMPT_EVERY_S)
        attempts.count("more0")
        assert len(attempts._at) == 1

    run(scenario)


def test_a_node_slows_down_who_asks_too_often() -> None:
    async def scenario(world: World) -> None:
        await Node(world).serve()
        host = world.stranger("10.0.2.1")
        await ask_for_authority(world.runtime, host, CODE, NODE)
        with pytest.raises(Busy):
            await ask_for_authority(world.runtime, host, CODE, NODE)
        await world.recover()  # from another address
        await asyncio.sleep(ATTEMPT_EVERY_S)
        await ask_for_authority(world.runtime, host, CODE, NODE)

    run(scenario)


def test_strangers_never_take_the_places_of_members() -> None:
    async def scenario(pair: Pair) -> None:
        strangers = []
        for number in range(STRANGERS_MAX):
            host = pair.world.host(f"s{number}", None, None, f"10.1.0.{number}")
            if number == 0:
                await pair.serve()
            strangers.append(
                await Link.open(pair.runtime, host, address(2), expect=None, hello=hello(), admitted=False)
            )
        one_more = pair.world.host("more", None, None, "10.1.1.1")
        with pytest.raises(RoostError):
            await Link.open(pair.runtime, one_more, address(2), expect=None, hello=hello(), admitted=False)
        assert await (await pair.link()).call(GetStatus()) == status_of("fine")
        await strangers.pop().close()
        await asyncio.sleep(1)
        strangers.append(
            await Link.open(pair.runtime, one_more, address(2), expect=None, hello=hello(), admitted=False)
        )
        pair.links += strangers

    play(scenario, seeds=[1])


# -- who admits ----------------------------------------------------------------------------------------------------


def test_a_member_admits_as_soon_as_the_key_is_in_its_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_MACHINE", "b" * 32)

    async def scenario(world: World) -> None:
        node = await Node(world).serve()
        secret = TokenBook(node.disk).create(ttl_s=3600, uses=None, now=WALL_S)
        token = Token(AUTHORITY.cluster_hash, secret, (NODE,))

        async def join() -> Identity:
            identity, _, _ = await join_cluster(world.runtime, world.stranger(), MemoryDisk(), by_token(token), (NODE,))
            return identity

        with pytest.raises(NotAdmitted, match="does not hold its authority's key") as raised:
            await join()
        assert "roost recover CODE" in raised.value.hint
        AUTHORITY.save(node.disk)
        assert (await join()).cluster_hash == AUTHORITY.cluster_hash

    run(scenario)


def test_an_answer_of_another_kind_is_a_breach() -> None:
    async def scenario(world: World) -> None:
        async def recover(call: Call) -> Reply:
            return Reply(status_of("what?"))

        host = world.net.host(
            "node", MEMBER.node_id, MEMBER.fingerprint, NODE.host, certificate=MEMBER.certificate, joiners=True
        )
        server = Server(world.runtime, {Recover: recover}, greeting=lambda peer: hello_of(MEMBER.cluster_hash))
        await server.listen(host, NODE)
        with pytest.raises((ProtocolError, Unreachable)):
            await world.recover()

    run(scenario)
