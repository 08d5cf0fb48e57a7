"""The overview: every node asked at once how it is, and the whole cluster in one value."""

import asyncio
from collections import Counter

from roost.checkpoints.steward import Mended
from roost.client.results import ClusterStatus, Listing, NodeRow, RepairResult, RepairRow, WatchRow
from roost.client.run_state import RunState
from roost.client.session import Session
from roost.core.cluster import Member, NodeState, View
from roost.core.errors import RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.links import Links
from roost.security.authority import cluster_name_of
from roost.settings.schema import Settings
from roost.wire.messages import GetStatus, Status

ANSWER_LIMIT_S = 2.0


async def node_rows(session: Session) -> list[NodeRow]:
    """One row a storage node, sorted by name; who does not answer within 2 s is down."""
    members = session.membership.view.storage
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_row(session, member)) for member in members]
    return sorted((task.result() for task in tasks), key=lambda row: (row.name, row.id))


async def _row(session: Session, member: Member) -> NodeRow:
    status: Status | None = None
    problem = ""
    try:
        status = await _ask(session.links, member, session)
    except RoostError as error:
        problem = error.message
    here = status is not None and member.machine == session.identity.machine
    address = session.links.address_of(member.node_id) or next(
        iter(session.remembered.addresses(member.node_id) or member.addresses), None
    )
    return NodeRow(
        id=member.node_id,
        name=member.name,
        address=str(address or ""),
        state=str(NodeState.ALIVE if status is not None else NodeState.DOWN),
        home=status.home if status is not None and here else None,
        pid=status.pid if status is not None and here else None,
        bytes_used=status.bytes_used if status is not None else None,
        bytes_free=status.bytes_free if status is not None else None,
        problem=problem,
    )


async def _ask(links: Links, member: Member, session: Session) -> Status:
    try:
        async with session.runtime.timeout(ANSWER_LIMIT_S):
            answer = await links.call(member.node_id, GetStatus())
    except TimeoutError:
        raise Unreachable(f"no answer within {ANSWER_LIMIT_S:.0f} s") from None
    if not isinstance(answer, Status):
        raise Unreachable("a nonsense answer")
    return answer


def repair_result(mended: Mended, view: View, *, dry_run: bool) -> RepairResult:
    """What a repair did, with the nodes by name."""

    def name(node: NodeId) -> str:
        member = view.member(node)
        return member.name if member else node[:8]

    return RepairResult(
        copies=mended.copies,
        bytes=mended.bytes,
        short=mended.short,
        plan=tuple(
            RepairRow(c.object_id.hex(), c.bytes, name(c.source), name(c.target), c.reason) for c in mended.plan.copies
        ),
        stuck=tuple((w.object_id.hex(), w.reason) for w in mended.plan.stuck),
        dry_run=dry_run,
        notes=mended.notes,
    )


def status_of(
    settings: Settings, session: Session, rows: list[NodeRow], listing: Listing, coordinator: RunState | None
) -> ClusterStatus:
    """The verdict's facts, from answers that were just given."""
    problems = [f"{row.name} is down: {row.problem}" for row in rows if row.state != NodeState.ALIVE]
    view = session.membership.view
    if view.single_machine and view.storage:
        problems.append("all nodes are on one machine: what is stored does not survive that machine")
    by_health = Counter(row.health for row in listing.checkpoints)
    return ClusterStatus(
        cluster=cluster_name_of(session.identity.authority) or settings.cluster,
        nodes=tuple(rows),
        checkpoints=len(listing.checkpoints),
        by_health=dict(sorted(by_health.items())),
        bytes=sum(row.bytes for row in listing.checkpoints),
        single_machine=view.single_machine,
        coordinator_running=coordinator is not None,
        problems=tuple(problems),
        watching=tuple(WatchRow(path, tuple(waits)) for path, waits in coordinator.watching) if coordinator else (),
    )
