"""Looking at the cluster: who answers when dialled, and what each says of itself and of this home's node."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from roost.client.doctor.clock import Skew
from roost.client.doctor.network import Dialled, Heard, Serving
from roost.client.run_state import RunState
from roost.client.session import Session
from roost.cluster.heartbeat import is_called
from roost.core.checkpoint import Redundancy
from roost.core.cluster import Address, Member
from roost.core.errors import RoostError, Unreachable, Unsupported
from roost.core.ids import NodeId
from roost.wire.messages import AnyAnswer, AnyRequest, Clock, GetClock, GetNodes, GetStatus, Nodes, Ping, Status

ANSWER_LIMIT_S = 5.0
ENOUGH = Redundancy.parse("2")
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # dialled, never bound


@dataclass(frozen=True, slots=True)
class CompanySeen:
    """The members but for this home's own, as they answered; `serving` is the process of this home, if one runs;
    `software` and `machines` are of nodes by name, this home's included; `machines` is None where no record tells of a
    node and none that is remembered answered."""

    dialled: Sequence[Dialled] = ()
    heard: Sequence[Heard] = ()
    skews: Sequence[Skew] = ()
    software: dict[str, str] = field(default_factory=dict)
    machines: dict[str, str] | None = None
    serving: Serving | None = None
    struck_off: bool = False
    node: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """What one member answered; `problem` why it did not."""

    member: Member
    problem: str = ""
    status: Status | None = None
    skew: Skew | None = None
    heard: Heard | None = None


async def look_at_company(session: Session, served: RunState | None) -> CompanySeen:
    """Meet the members, exchange records, and ask each. `served` is what the process that serves this home says."""
    survey = await session.peers.survey(enough=ENOUGH)
    view, own = session.membership.view, session.identity.node_id
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask_all(session, member)) for member in view.members if is_called(member)]
    told = [task.result() for task in tasks]
    mine = next((one for one in told if one.member.node_id == own), None)
    others = [one for one in told if one.member.node_id != own]
    silent = [_silent(session, node, error) for node, error in survey.problems.items() if view.member(node) is None]
    return CompanySeen(
        dialled=(*(_dialled(session, one) for one in others), *silent),
        heard=tuple(one.heard for one in others if one.heard is not None),
        skews=tuple(one.skew for one in others if one.skew is not None),
        software={one.member.name: one.status.software for one in told if one.status is not None},
        machines=None if silent and not view.storage else {_unique(m): m.machine for m in view.storage},
        serving=await _serving(session, served, mine),
        struck_off=session.membership.is_revoked(session.identity.fingerprint),
        node=any(member.node_id == own for member in view.storage),
    )


def _unique(member: Member) -> str:
    return f"{member.name} {member.node_id}"


def _elsewhere(session: Session, member: Member) -> bool:
    return member.machine != session.identity.machine


def _dialled(session: Session, told: _Told) -> Dialled:
    node = told.member.node_id
    worked = session.links.address_of(node)
    known = [worked] if worked is not None else [*session.remembered.addresses(node), *told.member.addresses]
    address = str(known[0]) if known else ""
    return Dialled(told.member.name, address, _elsewhere(session, told.member), told.problem)


def _silent(session: Session, node: NodeId, error: RoostError) -> Dialled:
    """A node that answered once, and of which nothing else is known here."""
    address = next(map(str, session.remembered.addresses(node)), "")
    return Dialled(f"node {node[:8]}", address, True, error.message)


async def _ask_all(session: Session, member: Member) -> _Told:
    """Ping a member, and ask it how it is and how it sees us. The process of a coordinator has no status."""
    node = member.node_id
    try:
        await _ask(session, node, Ping())
        if not member.storage:
            return _Told(member)
        status = await _ask(session, node, GetStatus())
        skew = await _skew(session, member) if _elsewhere(session, member) else None
        nodes = await _ask(session, node, GetNodes())
    except RoostError as error:
        return _Told(member, error.message)
    assert isinstance(status, Status)
    assert isinstance(nodes, Nodes)
    heard = None
    if _elsewhere(session, member):
        us = next((seen for seen in nodes.seen if seen.node_id == session.identity.node_id), None)
        heard = Heard(member.name, us.state, us.address) if us is not None else None
    return _Told(member, "", status, skew, heard)


async def _skew(session: Session, member: Member) -> Skew | None:
    """How far a member's clock is from ours; None when it is of a release that does not tell."""
    begun = session.runtime.wall()
    try:
        clock = await _ask(session, member.node_id, GetClock())
    except Unsupported:
        return None
    ended = session.runtime.wall()
    assert isinstance(clock, Clock)
    return Skew(member.name, clock.wall_s - (begun + ended) / 2, abs(ended - begun) / 2)


async def _serving(session: Session, served: RunState | None, mine: _Told | None) -> Serving | None:
    """The process that serves this home, dialled at its own address."""
    if served is None:
        return None
    bound = Address.parse(served.address)
    address = Address(ANY.get(bound.host, bound.host), bound.port)
    problem = await _answers(session, address)
    running_s = mine.status.running_s if mine is not None and mine.status is not None else None
    return Serving(str(bound), running_s, problem)


async def _answers(session: Session, address: Address) -> str:
    """Why this home's own node does not answer at `address`; empty when it does."""
    try:
        async with session.runtime.timeout(ANSWER_LIMIT_S):
            stream = await session.network.connect(address, expect=session.identity.node_id)
    except TimeoutError:
        return f"no answer within {ANSWER_LIMIT_S:.0f} s"
    except RoostError as error:
        return error.message
    await stream.close()
    return ""


async def _ask(session: Session, node: NodeId, request: AnyRequest) -> AnyAnswer:
    try:
        async with session.runtime.timeout(ANSWER_LIMIT_S):
            return await session.links.call(node, request)
    except TimeoutError:
        raise Unreachable(f"no answer within {ANSWER_LIMIT_S:.0f} s") from None
