"""The overview: how each node stands, as the coordinator or any node sees it, and the whole cluster in one value."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from roost.checkpoints.repair import Plan
from roost.checkpoints.steward import Mended
from roost.client.results import ClusterStatus, Listing, NodeRow, OtherRow, RepairResult, RepairRow, WatchRow
from roost.client.run_state import RunState
from roost.client.session import Session
from roost.core.cluster import Member, NodeState, View
from roost.core.errors import NotFound, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.body import BytesSink
from roost.security.authority import cluster_name_of
from roost.settings.schema import Settings
from roost.wire.fields import NodeSeen
from roost.wire.messages import AnyAnswer, AnyRequest, GetNodes, GetStatus, Nodes, Status
from roost.wire.observing import METRICS_BYTES_MAX, GetMetrics

COORDINATOR_LIMIT_S = 1.0
ANSWER_LIMIT_S = 2.0
METRICS_LIMIT_S = 5.0
HERE = (NodeState.ALIVE, NodeState.DRAINING)
"""The states of a node that answers."""


async def node_rows(session: Session) -> list[NodeRow]:
    """One row a storage node, sorted by name, and one for each that has left.

    The states are those that the coordinator's heartbeats tell, if it answers within 1 s, else any node's. Where nobody
    can say, a node is alive that answers us within 2 s, and down that does not.
    """
    view = session.membership.view
    seen = await _seen(session, view)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_row(session, member, seen.get(member.node_id))) for member in view.storage]
    rows = [task.result() for task in tasks] + [_left(member) for member in view.left if member.storage]
    return sorted(rows, key=lambda row: (row.state == NodeState.LEFT, row.name, row.id))


async def _seen(session: Session, view: View) -> dict[NodeId, NodeSeen]:
    coordinators = [m.node_id for m in view.members if not m.storage and m.addresses]
    nodes = [m.node_id for m in view.storage]
    for asked, limit_s in ((coordinators, COORDINATOR_LIMIT_S), (nodes, ANSWER_LIMIT_S)):
        answer = await _first_answer(session, asked, limit_s)
        if answer is not None:
            return {NodeId(node.node_id): node for node in answer.seen}
    return {}


async def _first_answer(session: Session, nodes: Sequence[NodeId], limit_s: float) -> Nodes | None:
    """What the first of `nodes` says of all; None when none does within `limit_s`."""

    async def one(node: NodeId) -> Nodes | None:
        try:
            answer = await _ask(session, node, GetNodes(), limit_s)
        except RoostError:
            return None
        return answer if isinstance(answer, Nodes) else None

    tasks = {asyncio.create_task(one(node)) for node in nodes}
    try:
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for answer in [task.result() for task in done]:
                if answer is not None:
                    return answer
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _row(session: Session, member: Member, seen: NodeSeen | None) -> NodeRow:
    status: Status | None = None
    problem = ""
    if seen is None or seen.state in HERE:
        try:
            answer = await _ask(session, member.node_id, GetStatus(), ANSWER_LIMIT_S)
            status = answer if isinstance(answer, Status) else None
        except RoostError as error:
            problem = error.message
    state = seen.state if seen is not None else NodeState.ALIVE if status is not None else NodeState.DOWN
    here = status is not None and member.machine == session.identity.machine
    return NodeRow(
        id=member.node_id,
        name=member.name,
        address=_address(session, member, seen),
        state=str(state),
        home=status.home if status is not None and here else None,
        pid=status.pid if status is not None and here else None,
        bytes_used=status.bytes_used if status is not None else None,
        bytes_free=status.bytes_free if status is not None else None,
        problem="; ".join(dict.fromkeys(text for text in (_silence(seen), problem, *_troubles(seen, status)) if text)),
        damaged_total=status.damaged_total if status is not None else None,
        quarantined=status.quarantined if status is not None else None,
        scrub=status.scrub if status is not None else "",
        collection=status.collection if status is not None else "",
    )


def _troubles(seen: NodeSeen | None, status: Status | None) -> list[str]:
    return [told.trouble for told in (seen, status) if told is not None]


def _silence(seen: NodeSeen | None) -> str:
    if seen is None or seen.state in HERE:
        return ""
    return "not heard of yet" if seen.heard_s < 0 else f"not heard of for {_span(seen.heard_s)}"


def _span(seconds: float) -> str:
    for size, unit in ((172_800, "d"), (7_200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / (size / 2):.0f} {unit}"
    return f"{seconds:.0f} s"


def _address(session: Session, member: Member, seen: NodeSeen | None) -> str:
    """Where it last answered us, or once did, or answered who saw it, or says that it is."""
    worked = session.links.address_of(member.node_id) or next(iter(session.remembered.addresses(member.node_id)), None)
    if worked is not None:
        return str(worked)
    said = [str(address) for address in member.addresses]
    if seen is not None and seen.address in said:
        return seen.address
    return next(iter(said), "")


def _left(member: Member) -> NodeRow:
    return NodeRow(
        id=member.node_id, name=member.name, address="", state=str(NodeState.LEFT), home=None, pid=None,
        bytes_used=None, bytes_free=None, problem="",
    )  # fmt: skip


async def _ask(session: Session, node: NodeId, request: AnyRequest, limit_s: float) -> AnyAnswer:
    try:
        async with session.runtime.timeout(limit_s):
            return await session.links.call(node, request)
    except TimeoutError:
        raise Unreachable(f"no answer within {limit_s:.0f} s") from None


async def node_metrics(session: Session, node: NodeId) -> bytes:
    """What a storage node tells of itself; see `roost.client.AsyncCluster.node_metrics`."""
    member = session.membership.view.member(node)
    if member is None or not member.storage:
        raise NotFound(f"there is no storage node {node[:64]!r}", hint="see: roost nodes --json")
    sink = BytesSink(METRICS_BYTES_MAX)
    try:
        async with session.runtime.timeout(METRICS_LIMIT_S):
            await session.links.call(node, GetMetrics(), sink=sink, bulk=True)
    except TimeoutError:
        raise Unreachable(f"{member.name} did not answer within {METRICS_LIMIT_S:.0f} s") from None
    return sink.data()


def repair_result(mended: Mended, view: View, *, dry_run: bool) -> RepairResult:
    """What a repair did, with the nodes by name."""
    return RepairResult(
        copies=mended.copies,
        bytes=mended.bytes,
        short=mended.short,
        plan=repair_rows(mended.plan, view),
        stuck=tuple((w.object_id.hex(), w.reason) for w in mended.plan.stuck),
        dry_run=dry_run,
        notes=mended.notes,
    )


def repair_rows(plan: Plan, view: View) -> tuple[RepairRow, ...]:
    """The copies of a plan, with the nodes by name."""
    names = {member.node_id: member.name for member in view.members}

    def name(node: NodeId) -> str:
        return names.get(node, node[:8])

    return tuple(
        RepairRow(c.object_id.hex(), c.bytes, name(c.source), name(c.target), c.reason, c.work.name.lower())
        for c in plan.copies
    )


def status_of(
    settings: Settings, session: Session, rows: list[NodeRow], listing: Listing, coordinator: RunState | None
) -> ClusterStatus:
    """The verdict's facts, from answers that were just given."""
    problems = [
        f"{row.name}: {row.problem}" if row.state in HERE else f"{row.name} is {row.state}: {row.problem}"
        for row in rows
        if row.problem or row.state in (NodeState.SUSPECT, NodeState.DOWN)
    ]
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
        page=coordinator.page if coordinator else "",
        watching=tuple(WatchRow(path, tuple(waits)) for path, waits in coordinator.watching) if coordinator else (),
        others=tuple(OtherRow(m.node_id, m.name) for m in view.members if not m.storage),
    )
