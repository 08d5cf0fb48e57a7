"""Admission: a machine proves a token or a join code, and its key, and gets a certificate of the cluster's authority.

The joiner checks the server first: it sends a token's secret only to a machine whose certificate is signed by the
authority that the token names, and takes no certificate from one that does not know the code. Both sides of both ways.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roost.client.session import hello_of
from roost.core.cluster import Address
from roost.core.errors import Busy, NotAdmitted, ProtocolError, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.net.link import Link
from roost.net.patience import call_patiently
from roost.net.server import Call, Handler, Handlers, Reply
from roost.net.stream import Network
from roost.security.authority import Authority, check_issued, check_server_of_token, requester
from roost.security.identity import Identity, NodeKey, take_machine
from roost.security.pairing import Admitter, Bound, Guesses, JoinCode, Joiner
from roost.security.token import Token, TokenBook
from roost.wire.admission import Admitted, Join, Pair, Paired, Prove, Proved

JOIN_LIMIT_S = 30.0


def join_handler(runtime: Runtime, authority: Authority, book: TokenBook) -> Handler:
    """The admitting side, by token."""

    async def join(call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Join)

        def admit() -> bytes:
            book.redeem(request.secret, now=runtime.wall(), node_id=requester(request.request))
            return authority.issue(request.request)

        certificate = await runtime.in_thread(admit)
        return Reply(Admitted(certificate, authority.cluster_name))

    return join


class Door:
    """The admitting side, by join code, on the machine that shows it; `shown` is the certificate (DER) of its TLS end,
    `authority` loads the key that admits. `tried` hears where a wrong code came from."""

    def __init__(
        self, runtime: Runtime, *, shown: bytes, authority: Callable[[], Authority], tried: Callable[[str], None]
    ) -> None:
        self._runtime = runtime
        self._shown = shown
        self._authority = authority
        self._tried = tried
        self._admitters: dict[bytes, Admitter] = {}
        self._changed = asyncio.Event()
        self.guesses = Guesses(runtime.now())

    def handlers(self) -> Handlers:
        """What is served to strangers."""
        return {Pair: self._pair, Prove: self._prove}

    async def run(self, show: Callable[[JoinCode, float], None]) -> None:
        """Have each code shown when it is good, with the seconds for which it is, for ever."""
        guesses, now = self.guesses, self._runtime.now
        while True:
            await self._runtime.sleep(guesses.opens_in_s(now()))
            if not guesses.left_s(now()):
                guesses.renew(now())
            self._changed.clear()
            show(guesses.code, guesses.left_s(now()))
            try:
                async with self._runtime.timeout(guesses.left_s(now())):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _pair(self, call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Pair)
        attempt, code = self.guesses.begin(call.peer.address.host, self._runtime.now())
        try:
            admitter = await self._runtime.in_thread(Admitter, code, request.message)
        except NotAdmitted:
            self.guesses.drop(attempt)
            raise
        self._admitters = {i: a for i, a in self._admitters.items() if self.guesses.is_under_way(i)}
        self._admitters[attempt] = admitter
        return Reply(Paired(admitter.message, attempt))

    async def _prove(self, call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Prove)
        authority = await self._runtime.in_thread(self._authority)
        # From here to the verdict nothing may wait: of proofs that come at once the first wrong one ends them all.
        self.guesses.take(request.attempt, self._runtime.now())
        admitter = self._admitters.pop(request.attempt)
        bound = Bound(authority.certificate, self._shown, request.request)
        if not admitter.is_proved(request.proof, bound):
            wrong = self.guesses.wrong(self._runtime.now())
            self._tried(call.peer.address.host)
            self._changed.set()
            raise wrong
        certificate = await self._runtime.in_thread(authority.issue, request.request)
        return Reply(Proved(certificate, authority.cluster_name, admitter.confirm(bound, certificate)))


@dataclass(frozen=True, slots=True)
class Greeted:
    """A server as a joiner meets it: the link, the certificate whose key its TLS end holds, and the authority's that it
    says it is of (both DER). Nothing of it is proved yet."""

    link: Link
    shown: bytes
    authority: bytes


Ask = Callable[[Greeted, NodeKey], Awaitable[tuple[bytes, NodeId]]]
"""Gets a certificate for a key from a server; it, and which node that proved to be."""


def by_token(token: Token) -> Ask:
    """Ask with a token."""

    async def ask(greeted: Greeted, key: NodeKey) -> tuple[bytes, NodeId]:
        server = check_server_of_token(token, greeted.authority, greeted.shown)
        answer = await greeted.link.call(Join(token.secret, key.request()))
        if not isinstance(answer, Admitted):
            raise ProtocolError(f"join was answered with {type(answer).__name__}")
        return answer.certificate, server

    return ask


def by_code(runtime: Runtime, code: JoinCode) -> Ask:
    """Ask with a join code."""

    async def ask(greeted: Greeted, key: NodeKey) -> tuple[bytes, NodeId]:
        server = check_issued(greeted.shown, greeted.authority)
        joiner = await runtime.in_thread(Joiner, code)
        paired = await call_patiently(runtime, greeted.link, Pair(joiner.message))
        if not isinstance(paired, Paired):
            raise ProtocolError(f"pair was answered with {type(paired).__name__}")
        bound = Bound(greeted.authority, greeted.shown, key.request())
        proof = await runtime.in_thread(joiner.prove, paired.message, bound)
        answer = await greeted.link.call(Prove(paired.attempt, proof, bound.request))
        if not isinstance(answer, Proved):
            raise ProtocolError(f"prove was answered with {type(answer).__name__}")
        joiner.check(answer.proof, bound, answer.certificate)
        return answer.certificate, server

    return ask


async def join_cluster(
    runtime: Runtime, network: Network, disk: Disk, ask: Ask, addresses: Sequence[Address], *, once: bool = False
) -> tuple[Identity, NodeId, Address]:
    """Get admitted through the first of `addresses` that answers; the identity is durable in the home on return.

    Also returns who admitted us, and where. Raises NotAdmitted when what we hold or the server is not good (with `once`
    as soon as one server says so: what is worth one guess is tried at one), Unreachable when nobody answers.
    """
    key = await runtime.in_thread(NodeKey.load_or_create, disk)
    machine = await runtime.in_thread(take_machine, disk)
    problems: list[str] = []
    refused: NotAdmitted | None = None
    for address in addresses:
        try:
            async with runtime.timeout(JOIN_LIMIT_S):
                certificate, authority, server = await _ask_at(runtime, network, address, ask, key)
        except RoostError as error:
            if once and isinstance(error, NotAdmitted | Busy):
                raise
            refused = refused or (error if isinstance(error, NotAdmitted) else None)
            problems.append(f"{address}: {error.message}")
            continue
        except TimeoutError:
            problems.append(f"{address}: no answer within {JOIN_LIMIT_S:.0f} s")
            continue
        identity = Identity.admitted(key, certificate=certificate, authority=authority, machine=machine)
        await runtime.in_thread(identity.save, disk)
        return identity, server, address
    if refused is not None:
        raise refused
    raise Unreachable(
        f"the coordinator does not answer ({'; '.join(problems)})",
        hint="is roost start running there, and its port open? another address can be given with --at HOST:PORT",
    )


async def _ask_at(
    runtime: Runtime, network: Network, address: Address, ask: Ask, key: NodeKey
) -> tuple[bytes, bytes, NodeId]:
    link = await Link.open(runtime, network, address, expect=None, hello=hello_of(b""), admitted=False)
    try:
        shown = link.stream.peer.certificate
        authority = link.server_hello.authority
        if shown is None or not authority:
            raise ProtocolError(f"{address} admits nobody", hint="give the coordinator's address with --at HOST:PORT")
        certificate, server = await ask(Greeted(link, shown, authority), key)
        return certificate, authority, server
    finally:
        await link.close()
