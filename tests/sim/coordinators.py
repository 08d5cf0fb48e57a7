"""Coordinators of a simulated cluster: the steward with its heartbeats and its record exchange, each in a process that
can die and starts again.

The real one (`roost.node.coordinator`) also runs local nodes and watches folders of a real disk; what it does for the
others is wired here in the same way.
"""

import asyncio
import random
from functools import partial

from roost.checkpoints.steward import Steward
from roost.client.session import hello_of, open_session
from roost.cluster.agent import Agent
from roost.cluster.exchange import record_handlers
from roost.cluster.membership import describe_self
from roost.cluster.pulse import Pulse
from roost.codec.records import encode_record
from roost.core.cluster import Address, View
from roost.net.contacts import Contacts
from roost.net.server import Call, Handlers, Reply, Server
from roost.net.stream import Peer
from roost.node.coordinator import _node_changed
from roost.security.identity import Identity
from roost.testing.cluster import BLOCK_BYTES, PORT
from roost.testing.disk import MemoryDisk
from roost.testing.process import DiskSpeed, SimProcess
from roost.wire.messages import GetNodes, Hello, Ping, Pong
from sim.identities import member
from sim.world import World

INSTANCE_BYTES = 16
RATE = 50 * 1024 * 1024
STEPS_MAX = 3000
WAIT_S = 30.0


class Coordinator:
    """One coordinator over all its lives."""

    def __init__(self, world: World, number: int) -> None:
        self.name = f"coordinator-{number}"
        self.identity: Identity = member(10 + number, machine=200 + number)
        self.home = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.process: SimProcess | None = None
        self._world = world
        self._host = f"10.0.3.{1 + number}"

    def start(self) -> None:
        """Start its process, with what its home remembers."""
        self.process = self._world.cluster.process(self.name, self.identity, self._host, self.home, DiskSpeed())
        self.process.spawn(self._run(self.process), name=self.name)

    def kill(self) -> None:
        """kill -9; its home is as the process left it."""
        assert self.process is not None
        self._world.tell(f"{self.name} is killed")
        self.process.die(silent=False)
        self.home = self.home.kill()

    def cut_power(self, chance: random.Random) -> None:
        """Its machine loses its power; its home is what that leaves."""
        assert self.process is not None
        self._world.tell(f"{self.name} loses its power")
        self.process.die()
        self.home = self.home.crash(chance)

    async def die_at_a_step(self, chance: random.Random) -> None:
        """Let it die at any await of what it does, and start again a while later."""
        assert self.process is not None
        process = self.process
        blow = self.kill if chance.random() < 0.5 else partial(self.cut_power, chance)
        strike = process.before_step(round(STEPS_MAX ** chance.random()), blow)
        if await self._world.cluster.until(lambda: process.dead, within_s=WAIT_S):
            self._world.covered.add("coordinator died")
            await asyncio.sleep(chance.choice((0.1, 3.0, 30.0)))
            self.start()
        strike.call_off()

    async def _run(self, process: SimProcess) -> None:
        runtime, own = process.runtime, self.identity.node_id
        contacts = Contacts(runtime)
        instance = runtime.token_bytes(INSTANCE_BYTES)
        session = await open_session(
            runtime, process.host, self.home, self.identity, None, instance=instance, contacts=contacts
        )
        self._world.echo.wrap(session.links, process)
        agent = Agent(
            runtime, session.links, session.membership, session.catalogue, own=own, remembered=session.remembered.nodes
        )
        steward = Steward(session.peers, session.catalogue, grace_s=self._world.setting.grace_s, rate=RATE)
        pulse = Pulse(
            runtime, session.links, session.membership, contacts, own=own, rhythm=self._world.setting.rhythm,
            on_change=partial(_node_changed, agent, steward),
        )  # fmt: skip

        async def ping(call: Call) -> Reply:
            return Reply(Pong(runtime.now()))

        def greeting(peer: Peer) -> Hello:
            return hello_of(self.identity.cluster_hash, instance=instance)

        handlers: Handlers = {
            **record_handlers(session.catalogue, changed=agent.wake), Ping: ping, GetNodes: pulse.get_nodes
        }  # fmt: skip
        server = Server(
            runtime, handlers, greeting=greeting, contacts=contacts,
            refuse=lambda peer: session.membership.refuse_revoked(peer.fingerprint),
        )  # fmt: skip

        def changed(view: View) -> None:
            agent.wake()
            steward.wake()
            session.links.review()
            server.review()

        session.membership.changed = changed
        address = Address(self._host, PORT)
        await server.listen(process.host, address)
        known = session.membership.newest(own)
        described = describe_self(
            self.identity, known, name=self.name, machine=self.identity.machine, capacity=0, addresses=[address],
            storage=False,
        )  # fmt: skip
        await session.catalogue.add(encode_record(described))
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run())
            group.create_task(pulse.run())
            group.create_task(steward.run())
