"""What people do to keep a cluster well: repair, collect, scatter, and drain machines; and what may come of each."""

import asyncio
import contextlib

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.drain import set_standing
from roost.checkpoints.progress import Progress
from roost.checkpoints.steward import Mended, Steward
from roost.client.session import Session
from roost.core.errors import NotFound, RoostError, Unreachable
from roost.core.ids import CheckpointName, NodeId
from roost.testing.cluster import SimNode
from roost.testing.process import SimProcess
from roost.wire.messages import Collect, Collected
from sim.deeds import TWO
from sim.people import Office, Person
from sim.world import World


class Upkeep:
    """All that people do to what is stored without storing, getting or removing any of it."""

    def __init__(self, world: World, office: Office) -> None:
        self._world = world
        self._office = office
        self._chance = world.chance("upkeep")

    async def collect(self, person: Person) -> None:
        """Let every node free what nothing needs, now: one after the other, or all at once."""
        what = f"{person.name} collects"
        at_once = self._chance.random() < 0.6

        async def work(session: Session, process: SimProcess) -> int:
            return await collect_everywhere(session, at_once=at_once)

        result = await self._office.operate(person, what, work)
        if isinstance(result, int):
            self._world.covered |= {"collected"} if result else set()
            self._world.tell(f"{result} objects were collected")
        elif result is not None:
            self._office.allow(what, "collect", result, RoostError)

    async def repair(self, person: Person) -> None:
        """Bring everything up to the copies asked, now."""

        async def work(session: Session, process: SimProcess) -> Mended:
            return await Steward(session.peers, session.catalogue, grace_s=0.0, rate=0).look(Progress(), at_once=True)

        result = await self._office.operate(person, f"{person.name} repairs", work)
        if isinstance(result, Mended):
            self._world.tell(f"{result.copies} copies were made, {result.short} objects are short")
            self._world.covered |= {"repaired"} if result.copies else set()
        elif result is not None:
            self._office.allow("repair", "repair", result, Unreachable)

    async def scatter(self, person: Person, name: str) -> None:
        """Have copies of the newest version made that nobody asked for, as two stewards with different views would."""
        what = f"{person.name} scatters {name}"

        async def work(session: Session, process: SimProcess) -> int:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            listed = await session.catalogue.find(CheckpointName(name), None)
            manifest = await session.catalogue.manifest(listed.manifest)
            holders, _ = await ask_all_have(session.peers, sorted(survey.reached), manifest.objects())
            made = 0
            for object_id, nodes in holders.items():
                for target in sorted(survey.reached - nodes) if nodes else ():
                    with contextlib.suppress(RoostError):
                        problem = await session.peers.pass_on(object_id, holder=min(nodes), target=target)
                        made += not problem
            return made

        result = await self._office.operate(person, what, work)
        if isinstance(result, int):
            self._world.tell(f"{result} copies more were made")
            self._world.covered |= {"scattered"} if result else set()
        elif isinstance(result, RoostError) and not isinstance(result, NotFound):
            self._office.allow(what, "scatter", result, Unreachable)

    async def drain(self, person: Person, node: SimNode) -> None:
        """Ask for a node to be emptied; the stewards do it."""
        what = f"{person.name} drains {node.name}"

        async def work(session: Session, process: SimProcess) -> None:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            self._world.draining.add(node.number)
            await set_standing(session.catalogue, node.node_id, "draining", at=0)
            await session.peers.survey(enough=TWO)

        result = await self._office.operate(person, what, work)
        self._world.covered.add("drained")
        if isinstance(result, RoostError):
            self._office.allow(what, "drain", result, Unreachable)


async def collect_everywhere(session: Session, *, at_once: bool) -> int:
    """Let every node that answers free what nothing needs; how many objects went."""
    survey = await session.peers.survey(enough=TWO)
    survey.require_any()
    freed = 0

    async def one(node: NodeId) -> None:
        nonlocal freed
        answer = await session.links.call(node, Collect())
        assert isinstance(answer, Collected)
        freed += answer.objects

    tasks = []
    for node in sorted(survey.reached):
        tasks.append(asyncio.create_task(one(node)))
        if not at_once:
            await asyncio.wait(tasks)
    if tasks:
        await asyncio.wait(tasks)
    errors = [error for task in tasks if (error := task.exception()) is not None]
    if errors:
        raise errors[0]
    return freed
