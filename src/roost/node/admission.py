"""Admission: a machine proves its token and its key, and gets a certificate of the cluster's authority.

The joiner checks the server first: it sends the token's secret only to a machine whose certificate is signed by the
authority that the token names.
"""

from collections.abc import Sequence

from roost.client.session import hello_of
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, ProtocolError, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.net.link import Link
from roost.net.server import Call, Handler, Reply
from roost.net.stream import Network
from roost.security.authority import Authority, check_server_of_token, requester
from roost.security.identity import Identity, NodeKey, take_machine
from roost.security.token import Token, TokenBook
from roost.wire.messages import Admitted, Join

JOIN_LIMIT_S = 30.0


def join_handler(runtime: Runtime, authority: Authority, book: TokenBook) -> Handler:
    """The coordinator's side."""

    async def join(call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Join)

        def admit() -> bytes:
            book.redeem(request.secret, now=runtime.wall(), node_id=requester(request.request))
            return authority.issue(request.request)

        certificate = await runtime.in_thread(admit)
        return Reply(Admitted(certificate, authority.cluster_name))

    return join


async def join_cluster(
    runtime: Runtime, network: Network, disk: Disk, token: Token, addresses: Sequence[Address]
) -> tuple[Identity, NodeId, Address]:
    """Get admitted through the first of `addresses` that answers; the identity is durable in the home on return.

    Also returns who admitted us, and where. Raises NotAdmitted when the token or the server is not good, Unreachable
    when nobody answers.
    """
    key = await runtime.in_thread(NodeKey.load_or_create, disk)
    machine = await runtime.in_thread(take_machine, disk)
    problems: list[str] = []
    refused: NotAdmitted | None = None
    for address in addresses:
        try:
            async with runtime.timeout(JOIN_LIMIT_S):
                certificate, authority, server = await _ask(runtime, network, address, token, key)
        except RoostError as error:
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


async def _ask(
    runtime: Runtime, network: Network, address: Address, token: Token, key: NodeKey
) -> tuple[bytes, bytes, NodeId]:
    link = await Link.open(runtime, network, address, expect=None, hello=hello_of(b""), admitted=False)
    try:
        shown = link.stream.peer.certificate
        authority = link.server_hello.authority
        if shown is None or not authority:
            raise ProtocolError(f"{address} admits nobody", hint="give the coordinator's address with --at HOST:PORT")
        server = check_server_of_token(token, authority, shown)
        answer = await link.call(Join(token.secret, key.request()))
        if not isinstance(answer, Admitted):
            raise ProtocolError(f"{address} answered join with {type(answer).__name__}")
        return answer.certificate, authority, server
    finally:
        await link.close()
