"""The door over the simulated network: who gets in by a join code, and how little anybody else gets."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from roost.client.session import hello_of
from roost.core.cluster import Address
from roost.core.errors import Busy, NotAdmitted, RoostError, Unreachable
from roost.core.ids import MachineId
from roost.net.link import Link
from roost.net.server import Call, Handlers, Reply, Server
from roost.node.admission import Door, by_code, join_cluster
from roost.security.authority import Authority, check_issued
from roost.security.identity import Identity, NodeKey
from roost.security.pairing import ATTEMPT_S, ATTEMPTS_MAX, CODE_S, Admitter, Bound, JoinCode, Joiner
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import SimRuntime
from roost.wire.admission import Pair, Paired, Prove, Proved
from roost.wire.messages import AnyAnswer, AnyRequest

HERE = Address("10.0.0.1", 7400)
THERE = Address("10.0.0.2", 7400)


@dataclass
class House:
    """A coordinator that shows a code, and what came of it."""

    authority: Authority
    identity: Identity
    host: SimHost
    door: Door
    shown: list[JoinCode]
    tried: list[str]
    asked: list[AnyRequest]
    issued: list[bytes]

    @property
    def code(self) -> JoinCode:
        """The code that is shown now."""
        return self.shown[-1]


@dataclass
class World:
    """A house, and machines that want to come in."""

    seed: int
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    strangers: int = 0

    def __post_init__(self) -> None:
        self.net = SimNetwork(random.Random(self.seed))
        self.runtime = SimRuntime(random.Random(self.seed))

    async def house(self) -> House:
        authority = Authority.create("home")
        identity = Identity.found(authority, NodeKey.create(), machine=MachineId("a" * 32))
        shown: list[JoinCode] = []
        tried: list[str] = []
        asked: list[AnyRequest] = []
        issued: list[bytes] = []

        @dataclass(frozen=True)
        class Counted(Authority):
            """The authority, counting what it signs."""

            def issue(self, request: bytes) -> bytes:
                issued.append(super().issue(request))
                return issued[-1]

        counted = Counted(*(getattr(authority, name) for name in Authority.__dataclass_fields__))
        door = Door(self.runtime, shown=identity.certificate, authority=lambda: counted, tried=tried.append)
        handlers = door.handlers()

        async def listening(call: Call) -> Reply:
            asked.append(call.request)
            return await handlers[type(call.request)](call)

        host = await self.serve(identity, authority, dict.fromkeys(handlers, listening), at=HERE)
        self.tasks.append(asyncio.create_task(door.run(lambda code, _: shown.append(code))))
        await asyncio.sleep(0.01)
        return House(authority, identity, host, door, shown, tried, asked, issued)

    async def serve(self, identity: Identity, claimed: Authority, handlers: Handlers, *, at: Address) -> SimHost:
        """Serve strangers with this certificate, claiming to be of this authority."""
        host = self.net.host(
            f"server at {at}", identity.node_id, identity.fingerprint, at.host, certificate=identity.certificate,
            joiners=True,
        )  # fmt: skip
        server = Server(
            self.runtime, handlers,
            greeting=lambda peer: hello_of(claimed.cluster_hash, authority=claimed.certificate),
        )  # fmt: skip
        await server.listen(host, at)
        return host

    def stranger(self, ip: str = "") -> SimHost:
        self.strangers += 1
        return self.net.host(f"stranger{self.strangers}", None, None, ip or f"10.0.1.{self.strangers}")

    async def link(self, *, at: Address = HERE, ip: str = "") -> Link:
        hello = hello_of(b"")
        return await Link.open(self.runtime, self.stranger(ip), at, expect=None, hello=hello, admitted=False)

    async def join(
        self, code: JoinCode, *, disk: MemoryDisk | None = None, at: Address = HERE, ip: str = ""
    ) -> tuple[Identity, MemoryDisk]:
        home = disk or MemoryDisk()
        ask = by_code(self.runtime, code)
        identity, _, _ = await join_cluster(self.runtime, self.stranger(ip), home, ask, [at], once=True)
        return identity, home

    async def refused(self, code: JoinCode, *, match: str, at: Address = HERE) -> None:
        """A try that fails so, and leaves the home without an identity."""
        disk = MemoryDisk()
        with pytest.raises(NotAdmitted, match=match):
            await self.join(code, disk=disk, at=at)
        with pytest.raises(NotAdmitted):
            Identity.load(disk)


def play(scenario: Callable[[World, House], Awaitable[None]]) -> None:
    async def main(seed: int) -> None:
        world = World(seed)
        await scenario(world, await world.house())
        for task in world.tasks:
            task.cancel()

    for seed in range(2):
        run_simulated(main(seed), seconds_max=10_000)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_MACHINE", "b" * 32)


def other_than(code: JoinCode) -> JoinCode:
    while (made := JoinCode.create()) == code:
        pass
    return made


# -- who knows the code ------------------------------------------------------------------------------------------------


def test_the_code_makes_members_of_any_number_whose_identities_are_durable() -> None:
    async def scenario(world: World, house: House) -> None:
        found = [await world.join(house.code) for _ in range(6)]
        assert len({identity.node_id for identity, _ in found}) == 6
        for identity, disk in found:
            assert check_issued(identity.certificate, house.authority.certificate) == identity.node_id
            assert Identity.load(disk.crash(random.Random(1))).certificate == identity.certificate
        assert len(house.shown) == 1
        assert house.tried == []

    play(scenario)


def test_joining_again_is_the_same_member_and_keeps_the_key() -> None:
    async def scenario(world: World, house: House) -> None:
        first, disk = await world.join(house.code)
        again, _ = await world.join(house.code, disk=disk)
        assert (again.node_id, again.cluster_hash) == (first.node_id, first.cluster_hash)
        assert Identity.load(disk).node_id == first.node_id

    play(scenario)


def test_a_code_is_shown_anew_after_its_time_and_the_old_one_is_over() -> None:
    async def scenario(world: World, house: House) -> None:
        old = house.code
        await asyncio.sleep(CODE_S + 1)
        assert len(house.shown) == 2
        await world.refused(old, match="not the join code")
        await asyncio.sleep(2)
        await world.join(house.code)

    play(scenario)


def test_busy_is_asked_again() -> None:
    async def scenario(world: World, house: House) -> None:
        found = await asyncio.gather(*(world.join(house.code, ip="10.0.1.77") for _ in range(2)))
        assert len({identity.node_id for identity, _ in found}) == 2
        assert sum(isinstance(request, Pair) for request in house.asked) > 2, "one of them was too soon"

    play(scenario)


# -- who does not ------------------------------------------------------------------------------------------------------


def test_a_wrong_code_ends_the_code_and_the_next_one_shown_lets_in() -> None:
    async def scenario(world: World, house: House) -> None:
        right = house.code
        await world.refused(other_than(right), match="not the join code that is shown now")
        [where] = house.tried
        assert where.startswith("10.0.1.")
        await world.refused(right, match="not the join code that is shown now")
        assert house.issued == []
        await asyncio.sleep(5)
        assert len(house.shown) == 3
        assert len({code.secret for code in house.shown}) == 3
        await world.join(house.code)

    play(scenario)


def test_while_it_pauses_it_says_for_how_long() -> None:
    async def scenario(world: World, house: House) -> None:
        for _ in range(4):
            await world.refused(other_than(house.code), match="not the join code")
        with pytest.raises(Busy, match=r"good in [678] s"):
            await (await world.link()).call(Pair(Joiner(house.code).message))

    play(scenario)


def test_proofs_that_come_at_once_are_worth_one_guess() -> None:
    async def scenario(world: World, house: House) -> None:
        begun = [await began(world, other_than(house.code)) for _ in range(ATTEMPTS_MAX)]
        outcomes = await asyncio.gather(*(link.call(prove) for link, prove in begun), return_exceptions=True)
        assert sum("can be tried once" in str(outcome) for outcome in outcomes) == 1
        assert sum("attempt to join is over" in str(outcome) for outcome in outcomes) == ATTEMPTS_MAX - 1
        assert len(house.tried) == 1

    play(scenario)


async def began(world: World, code: JoinCode) -> tuple[Link, Prove]:
    """An attempt under way, and the proof that would end it."""
    link = await world.link()
    joiner = Joiner(code)
    paired = await link.call(Pair(joiner.message))
    assert isinstance(paired, Paired)
    shown = link.stream.peer.certificate
    assert shown is not None
    bound = Bound(link.server_hello.authority, shown, NodeKey.create().request())
    return link, Prove(paired.attempt, joiner.prove(paired.message, bound), bound.request)


def test_a_pairing_that_is_replayed_gets_nothing() -> None:
    async def scenario(world: World, house: House) -> None:
        await world.join(house.code)
        paired, proved = house.asked
        assert isinstance(paired, Pair)
        assert isinstance(proved, Prove)
        await asyncio.sleep(2)
        with pytest.raises(NotAdmitted, match="attempt to join is over"):
            await (await world.link()).call(proved)
        assert len(house.shown) == 1, "it costs the code nothing"
        link = await world.link()
        again = await link.call(paired)
        assert isinstance(again, Paired)
        with pytest.raises(NotAdmitted, match="not the join code"):
            await link.call(Prove(again.attempt, proved.proof, proved.request))
        assert len(house.issued) == 1

    play(scenario)


def test_a_proof_that_comes_too_late_is_none() -> None:
    async def scenario(world: World, house: House) -> None:
        link, prove = await began(world, house.code)
        await asyncio.sleep(ATTEMPT_S + 1)
        with pytest.raises(NotAdmitted, match="attempt to join is over"):
            await link.call(prove)
        assert house.issued == []
        await world.join(house.code)

    play(scenario)


def test_a_proof_lets_in_only_the_key_that_it_was_made_for() -> None:
    async def scenario(world: World, house: House) -> None:
        link, prove = await began(world, house.code)
        with pytest.raises(NotAdmitted, match="not the join code"):
            await link.call(Prove(prove.attempt, prove.proof, NodeKey.create().request()))
        assert house.issued == []

    play(scenario)


def test_attempts_are_bounded_and_free_themselves() -> None:
    async def scenario(world: World, house: House) -> None:
        for _ in range(ATTEMPTS_MAX):
            await began(world, house.code)
        message = Joiner(house.code).message
        with pytest.raises(Busy, match="others are joining"):
            await (await world.link()).call(Pair(message))
        await asyncio.sleep(ATTEMPT_S + 1)
        link = await world.link(ip="10.0.1.88")
        assert isinstance(await link.call(Pair(message)), Paired)
        with pytest.raises(Busy, match="a moment ago"):
            await (await world.link(ip="10.0.1.88")).call(Pair(message))
        assert len(house.door._admitters) <= ATTEMPTS_MAX
        await world.join(house.code)

    play(scenario)


@pytest.mark.parametrize("message", [b"", b"B", b"S" * 33, bytes(33), b"A" + b"\xff" * 32, b"x" * 64])
def test_what_is_no_pairing_takes_no_place(message: bytes) -> None:
    async def scenario(world: World, house: House) -> None:
        for _ in range(ATTEMPTS_MAX + 1):
            with pytest.raises(RoostError) as caught:
                await (await world.link()).call(Pair(message))
            assert not isinstance(caught.value, Busy)
        await world.join(house.code)
        assert len(house.shown) == 1

    play(scenario)


def test_one_machine_cannot_take_all_places() -> None:
    async def scenario(world: World, house: House) -> None:
        for _ in range(2 * ATTEMPTS_MAX):
            with contextlib.suppress(Busy):
                await (await world.link(ip="10.0.1.66")).call(Pair(Joiner(house.code).message))
            await asyncio.sleep(1.1)
        await world.join(house.code)

    play(scenario)


# -- who stands between, or in its place -------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False], ids=["a member's certificate", "his own authority"])
def test_one_in_the_middle_who_passes_everything_on_gets_nobody_in(inside: bool) -> None:
    async def scenario(world: World, house: House) -> None:
        authority = house.authority if inside else Authority.create("home")
        middle = Identity.found(authority, NodeKey.create(), machine=MachineId("c" * 32))
        onward = await world.link()
        passed: list[AnyAnswer] = []

        async def pass_on(call: Call) -> Reply:
            passed.append(await onward.call(call.request))
            return Reply(passed[-1])

        await world.serve(middle, authority, {Pair: pass_on, Prove: pass_on}, at=THERE)
        await world.refused(house.code, match="not the join code", at=THERE)
        assert [type(answer) for answer in passed] == [Paired]
        assert house.issued == []
        await asyncio.sleep(2)
        await world.join(house.code)

    play(scenario)


def test_one_who_shows_the_authority_and_no_certificate_of_it_is_told_nothing() -> None:
    async def scenario(world: World, house: House) -> None:
        foreign = Identity.found(Authority.create("home"), NodeKey.create(), machine=MachineId("c" * 32))

        async def never(call: Call) -> Reply:
            raise AssertionError("it was asked")

        await world.serve(foreign, house.authority, {Pair: never, Prove: never}, at=THERE)
        await world.refused(house.code, match="authority", at=THERE)

    play(scenario)


@pytest.mark.parametrize("how", ["another code", "a proof echoed", "no proof", "another certificate"])
def test_a_server_that_does_not_know_the_code_is_not_believed(how: str) -> None:
    async def scenario(world: World, house: House) -> None:
        authority = Authority.create("home")
        identity = Identity.found(authority, NodeKey.create(), machine=MachineId("c" * 32))
        code = house.code
        guess = code if how == "another certificate" else other_than(code)
        admitters: list[Admitter] = []

        async def pair(call: Call) -> Reply:
            assert isinstance(call.request, Pair)
            admitters.append(Admitter(guess, call.request.message))
            return Reply(Paired(admitters[-1].message, b"attempt"))

        async def prove(call: Call) -> Reply:
            assert isinstance(call.request, Prove)
            bound = Bound(authority.certificate, identity.certificate, call.request.request)
            certificate = authority.issue(call.request.request)
            proof = admitters[-1].confirm(bound, certificate)
            if how == "another certificate":
                certificate = authority.issue(NodeKey.create().request())
            said = {"a proof echoed": call.request.proof, "no proof": bytes(32)}.get(how, proof)
            return Reply(Proved(certificate, "home", said))

        await world.serve(identity, authority, {Pair: pair, Prove: prove}, at=THERE)
        await world.refused(code, match="does not know the join code", at=THERE)
        assert len(house.shown) == 1, "the one that shows the code heard nothing of it"

    play(scenario)


def test_a_machine_that_shows_no_code_says_so() -> None:
    async def scenario(world: World, house: House) -> None:
        identity = Identity.found(house.authority, NodeKey.create(), machine=MachineId("c" * 32))
        await world.serve(identity, house.authority, {}, at=THERE)
        with pytest.raises(Unreachable):
            await world.join(house.code, at=THERE)
        await world.join(house.code)

    play(scenario)
