"""The probe: how fast each node of the cluster takes objects and gives them back, alone and all at once.

Its objects are fresh noise and in no manifest, so every node's collector removes them after a day. A node is given some
of them straight, as a store gives them, and asked for them again; what it was just given, it has in its memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from roost.client.bottleneck import NodeSpeed
from roost.client.session import Session
from roost.core.checkpoint import Redundancy
from roost.core.cluster import View
from roost.core.errors import RoostError, Stalled
from roost.core.ids import NodeId, ObjectId, object_id
from roost.net.body import Body

OBJECT_BYTES, SMALL_BYTES = 4 * 1024 * 1024, 4096
ALONE, TOGETHER = 4, 2
"""Objects that each node is given when it is probed alone, and with all others."""
AT_ONCE = 2
ENOUGH_S = 8.0
"""A slow node is given no further object after this time."""
LIMIT_S = 60.0
TWO = Redundancy.parse("2")

Noise = tuple[ObjectId, bytes]
"""An object and its id."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What was measured: the nodes by name, those that could not be reached or failed included, and the bytes a second
    that went to all at once (None when none took any)."""

    nodes: tuple[NodeSpeed, ...]
    out: float | None
    only: bool
    """Whether all of them are on this machine."""


async def probe(session: Session, *, say: Callable[[str], None] = lambda text: None) -> Probed:
    """Probe every node that answers and is not being drained; `say` is told what goes on. A node that fails is in the
    result with its problem. Unreachable or NotAdmitted when no node can be reached at all."""
    survey = await session.peers.survey(enough=TWO)
    survey.require_any()
    view = survey.view
    small = [await _noise(session, SMALL_BYTES) for _ in range(AT_ONCE)]
    objects = [await _noise(session, OBJECT_BYTES) for _ in range(ALONE + TOGETHER)]
    speeds: dict[NodeId, NodeSpeed] = {}
    for member in sorted(view.keepers, key=lambda member: (member.name, member.node_id)):
        node = member.node_id
        blank = NodeSpeed(node, member.name, view.domain_of(node), member.capacity, None, None)
        if node in survey.reached:
            say(f"probing {member.name}")
            speeds[node] = await _alone(session, blank, small, objects[:ALONE])
        else:
            problem = survey.problems.get(node)
            speeds[node] = replace(blank, problem=problem.message if problem else "it did not answer in time")
    able = [node for node, speed in speeds.items() if not speed.problem]
    say("probing all nodes at once")
    out = await _together(session, speeds, able, objects[ALONE:])
    return Probed(tuple(speeds.values()), out, _all_here(session, view))


def _all_here(session: Session, view: View) -> bool:
    return all(member.machine == session.identity.machine for member in view.keepers)


async def _noise(session: Session, length: int) -> Noise:
    """An object that nobody has."""
    data = await session.runtime.in_thread(session.runtime.token_bytes, length)
    return await session.runtime.in_thread(object_id, data), data


async def _alone(session: Session, speed: NodeSpeed, small: Sequence[Noise], objects: Sequence[Noise]) -> NodeSpeed:
    """`speed` with what was measured of its node, or with its problem. The `small` ones are not measured: they open the
    connections."""
    store = session.peers.store(speed.node_id)
    buffers = [memoryview(bytearray(OBJECT_BYTES)) for _ in range(AT_ONCE)]
    there: list[Noise] = []

    async def put(item: Noise) -> None:
        await store.put(item[0], Body.of(item[1]))
        there.append(item)

    async def get(item: Noise) -> None:
        into = buffers.pop()
        try:
            await store.get(item[0], into)
        finally:
            buffers.append(into)

    try:
        await _rate(session, put, small)
        there.clear()
        speed = replace(speed, put=await _rate(session, put, objects))
        return replace(speed, get=await _rate(session, get, list(there)))
    except RoostError as error:
        return replace(speed, problem=error.message)


async def _together(
    session: Session, speeds: dict[NodeId, NodeSpeed], nodes: Sequence[NodeId], objects: Sequence[Noise]
) -> float | None:
    """Put to all `nodes` at once. The rates of all are added, each over its own time: so one that is slow, and still
    busy when the others are done, does not make the sum small. Problems go into `speeds`."""

    async def one(node: NodeId) -> float:
        store = session.peers.store(node)
        try:
            return await _rate(session, lambda item: store.put(item[0], Body.of(item[1])), objects)
        except RoostError as error:
            speeds[node] = replace(speeds[node], problem=error.message)
            return 0.0

    return sum(await asyncio.gather(*(one(node) for node in nodes))) or None


async def _rate(session: Session, transfer: Callable[[Noise], Awaitable[object]], objects: Sequence[Noise]) -> float:
    """Do the transfers of these objects, a few at a time, until all are done or enough time has passed; the bytes a
    second. What a transfer raises; Stalled after a minute."""
    runtime = session.runtime
    begun, moved = runtime.now(), 0
    waiting = iter(objects)

    async def work() -> None:
        nonlocal moved
        for item in waiting:
            await transfer(item)
            moved += len(item[1])
            if runtime.now() - begun > ENOUGH_S:
                return

    tasks = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
    try:
        async with runtime.timeout(LIMIT_S):
            await asyncio.gather(*tasks)
    except TimeoutError:
        raise Stalled(f"it took longer than {LIMIT_S:.0f} s for a few MB") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return moved / max(runtime.now() - begun, 1e-9)
