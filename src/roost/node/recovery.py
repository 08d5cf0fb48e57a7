"""Recovery: with the recovery code a machine becomes able to admit; a new one comes back with the address of any node.

A new machine shows the node nothing but the proof, which is good for the sealed record alone. It believes the node only
when what the record holds opens under the code and has issued the certificate that the node's TLS connection proved.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from roost.checkpoints.peers import Survey
from roost.client.run_state import take_home
from roost.client.session import Session, hello_of, member_network, open_session
from roost.cluster.membership import describe_self
from roost.cluster.remembered import Remembered
from roost.codec.records import SealedAuthority, decode_record, encode_record
from roost.core.checkpoint import Redundancy
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, NotFound, ProtocolError, Stalled, UsageError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime, SystemRuntime
from roost.disk.durable import make_directory_durably, write_durably
from roost.disk.posix import PosixDisk
from roost.net.link import Link
from roost.net.stream import Network
from roost.net.tcp import TcpNetwork
from roost.node.authority import SEALED_PATH, sealed_anew
from roost.node.node import STORE_ID_PATH
from roost.node.tokens import load_authority
from roost.security.authority import Authority, check_issued, cluster_name_of
from roost.security.identity import Identity, NodeKey, take_machine
from roost.security.recovery import RecoveryCode, is_proof, unseal, wrong_code
from roost.security.tls import joiner_context
from roost.settings.paths import Home
from roost.settings.schema import Settings
from roost.wire.admission import Recover, Sealed

ASK_LIMIT_S = 20.0
TWO = Redundancy.parse("2")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was brought back. `new` when this home belonged to no cluster before; `keeps` when it is a storage
    node's, which admits by itself; `nodes` answered; `checkpoints` are the versions that are listed now."""

    cluster: str
    node: NodeId
    new: bool
    keeps: bool
    nodes: int
    checkpoints: int


async def recover(home: Home, settings: Settings, *, code: str, at: str | None) -> Recovered:
    """Make this home able to admit, durably; one that belongs to no cluster yet comes in through the node at `at`.

    Raises UsageError for a mistyped code or without `at` in a new home, NotAdmitted when the code is of another
    cluster, Damaged when the seal is, Unreachable when no node answers.
    """
    runtime = SystemRuntime()
    parsed = RecoveryCode.parse(code)
    address = Address.parse(at) if at is not None else None
    disk = PosixDisk(home.root)
    new = False
    try:
        identity = await runtime.in_thread(Identity.load, disk)
    except NotAdmitted:
        if address is None:
            raise UsageError(
                "this home belongs to no cluster yet, and no node to come back through was given",
                hint="give the address of any one node: roost recover CODE --at HOST:PORT",
            ) from None
        new = True
        identity = await _come_back(runtime, disk, home, parsed, address)
    session = await open_session(runtime, member_network(runtime, identity), disk, identity, home.catalogue)
    try:
        if new:
            await _introduce(session)
        survey = await _meet(session, [*([address] if address else []), *settings.discovery.peers])
        if not new:
            await _open(session, disk, survey, parsed)
        return Recovered(
            cluster=cluster_name_of(identity.authority), node=identity.node_id, new=new,
            keeps=await runtime.in_thread(disk.exists, STORE_ID_PATH), nodes=len(survey.reached),
            checkpoints=len(await session.catalogue.list()),
        )  # fmt: skip
    finally:
        await session.close()


async def new_code(home: Home, settings: Settings) -> tuple[str, int]:
    """Another recovery code, good beside those there are, in a home that holds the authority's key; and how many nodes
    have its record already. The record is durable here on return, and `roost start` gives it to the rest.

    Raises NotAdmitted in any other home.
    """
    runtime = SystemRuntime()
    disk = PosixDisk(home.root)
    authority = await runtime.in_thread(load_authority, disk)
    identity = await runtime.in_thread(Identity.load, disk)
    code, record = await runtime.in_thread(lambda: sealed_anew(authority, at=int(runtime.wall())))
    await runtime.in_thread(write_durably, disk, SEALED_PATH, record)
    session = await open_session(runtime, member_network(runtime, identity), disk, identity, home.catalogue)
    try:
        await session.catalogue.add(record)
        survey = await _meet(session, settings.discovery.peers)
        return code.format(), len(survey.reached)
    finally:
        await session.close()


async def _come_back(
    runtime: SystemRuntime, disk: PosixDisk, home: Home, code: RecoveryCode, address: Address
) -> Identity:
    """A new home becomes that of a member which holds the authority."""
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = await runtime.in_thread(take_home, disk, home)
    try:
        network = TcpNetwork(runtime, client_context=joiner_context(), server_context=None)
        record, authority, server = await ask_for_authority(runtime, network, code, address)
        await runtime.in_thread(_require_same, disk, authority)

        def settle() -> Identity:
            remembered = Remembered(disk)
            remembered.load()
            remembered.worked(server, address)
            found = Identity.found(authority, NodeKey.load_or_create(disk), machine=take_machine(disk))
            found.save(disk)
            keep_authority(disk, authority, record)
            return found

        return await runtime.in_thread(settle)
    finally:
        lock.release()


def _require_same(disk: PosixDisk, authority: Authority) -> None:
    """UsageError when the home holds the key of another authority, which must not be written over."""
    try:
        held = Authority.load(disk)
    except NotFound:
        return
    if held.certificate != authority.certificate:
        raise UsageError("this home holds the key of another cluster", hint="recover into another home: --home DIR")


async def ask_for_authority(
    runtime: Runtime, network: Network, code: RecoveryCode, address: Address
) -> tuple[bytes, Authority, NodeId]:
    """The sealed record from the node at `address`, the authority in it, and which node that is, proved to be a member.
    `network` dials as a machine without a certificate."""
    proof = await runtime.in_thread(code.proof)
    try:
        async with runtime.timeout(ASK_LIMIT_S):
            link = await Link.open(runtime, network, address, expect=None, hello=hello_of(b""), admitted=False)
            try:
                answer = await link.call(Recover(proof))
                shown = link.stream.peer.certificate
            finally:
                await link.close()
    except TimeoutError:
        raise Stalled(f"{address} did not answer within {ASK_LIMIT_S:.0f} s", hint="give another node's") from None
    if not isinstance(answer, Sealed) or shown is None:
        raise ProtocolError(f"{address} answered recover with {type(answer).__name__}")
    record = decode_record(answer.record)
    if not isinstance(record, SealedAuthority):
        raise ProtocolError(f"{address} answered recover with another record")
    authority = await runtime.in_thread(unseal, record, code)
    return answer.record, authority, check_issued(shown, authority.certificate)


def keep_authority(disk: PosixDisk, authority: Authority, record: bytes) -> None:
    """Make the home able to admit, durably, and remember that the code is known. The key comes last."""
    make_directory_durably(disk, "authority")
    write_durably(disk, SEALED_PATH, record)
    authority.save(disk)


async def _meet(session: Session, told: Sequence[Address]) -> Survey:
    """Exchange records with everybody, first finding out who answers at the addresses that were told."""
    await session.meet_static(told)
    return await session.peers.survey(enough=TWO)


async def _introduce(session: Session) -> None:
    """Tell the cluster of this new member, which keeps nothing."""
    identity = session.identity
    record = describe_self(
        identity, session.membership.newest(identity.node_id), name=(platform.node() or "recovered")[:64],
        machine=identity.machine, capacity=0, addresses=(), storage=False,
    )  # fmt: skip
    await session.catalogue.add(encode_record(record))


async def _open(session: Session, disk: PosixDisk, survey: Survey, code: RecoveryCode) -> None:
    """Find the sealed authority among the records, and keep what it holds."""
    kept = await session.catalogue.of_kind(SealedAuthority)
    if not kept:
        survey.require_any()
        raise NotFound(
            "no member that answers has the sealed authority of this cluster",
            hint="where the authority's key still is, roost start seals it and prints a code",
        )
    runtime = session.runtime
    proof = await runtime.in_thread(code.proof)
    for data in kept:
        record = decode_record(data)
        if isinstance(record, SealedAuthority) and is_proof(record, proof):
            authority = await runtime.in_thread(unseal, record, code)
            await runtime.in_thread(keep_authority, disk, authority, data)
            return
    raise wrong_code()
