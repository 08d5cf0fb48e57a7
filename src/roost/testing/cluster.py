"""A simulated cluster: real nodes and real clients on virtual time, each a process that can die, each home a disk that
comes back as a power cut may leave it.

What happens to it, and what must hold, is the business of `tests/sim`.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roost.client.session import Session, open_session
from roost.cluster.remembered import Remembered
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, RoostError
from roost.core.ids import NodeId
from roost.node.node import Node, NodeOptions
from roost.security.authority import fingerprint
from roost.security.identity import Identity
from roost.testing.disk import MemoryDisk
from roost.testing.network import Line, SimNetwork
from roost.testing.process import DiskSpeed, SimProcess

PORT = 7400
RESERVE_BYTES = 64 * 1024
BLOCK_BYTES = 16 * 1024


@dataclass(slots=True, eq=False)
class SimNode:
    """One storage node over all its lives. `disk` is its home, also while it is down; `gone` is down for ever,
    `left` is a member no more; `wall_off_s` how wrong its wall clock is; `problem` why it ended by itself."""

    number: int
    identity: Identity
    address: Address
    disk: MemoryDisk
    speed: DiskSpeed
    process: SimProcess | None = None
    node: Node | None = None
    ready: bool = False
    gone: bool = False
    left: bool = False
    wall_off_s: float = 0.0
    problem: RoostError | None = None

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    @property
    def up(self) -> bool:
        """Whether its process runs (it may be starting, frozen, or cut off)."""
        return self.process is not None and not self.process.dead

    def set_wall(self, off_s: float) -> None:
        """Let its wall clock be so many seconds off, now and in all lives to come."""
        self.wall_off_s = off_s
        if self.process is not None:
            self.process.runtime.wall_off_s = off_s


Watch = Callable[[SimNode, Node], None]
Shape = Callable[[NodeOptions], NodeOptions]


class SimCluster:
    """The world and its nodes. `tell` hears what happens, in words; `crashes` of every bug that a task ended with;
    `watch` of each node before it runs; `shape` may change the options of each, so that its periods fit the length of
    a simulation. All chance comes from `seed`."""

    def __init__(
        self, seed: str, identities: Sequence[Identity], *, line: Line, tell: Callable[[str], None],
        crashes: Callable[[str], None], watch: Watch, shape: Shape = lambda options: options,
    ) -> None:  # fmt: skip
        self.world = SimNetwork(random.Random(f"{seed} network"), line=line)
        self._seed = seed
        self._tell = tell
        self._crashes = crashes
        self._watch = watch
        self._shape = shape
        self._chance = random.Random(f"{seed} cluster")
        self._lives = 0
        self._moves = 0
        self._machines: list[str] = []
        self.nodes: list[SimNode] = []
        for identity in sorted(identities, key=lambda identity: identity.machine):
            self._machine_of(identity)
        for identity in identities:
            self.add(identity)

    def _machine_of(self, identity: Identity) -> int:
        if identity.machine not in self._machines:
            self._machines.append(identity.machine)
        return self._machines.index(identity.machine)

    def add(self, identity: Identity) -> SimNode:
        """A further node with an empty disk, admitted, which knows nobody yet and does not run."""
        number = len(self.nodes)
        address = Address(f"10.0.0.{1 + self._machine_of(identity)}", PORT + number)
        node = SimNode(number, identity, address, MemoryDisk(block_bytes=BLOCK_BYTES), DiskSpeed())
        identity.save(node.disk)
        self.nodes.append(node)
        return node

    def node_of(self, node_id: NodeId) -> SimNode:
        return next(node for node in self.nodes if node.node_id == node_id)

    def domain_of(self, node: SimNode) -> str:
        """What is lost together with it: its machine, or itself when all are on one."""
        machines = {other.identity.machine for other in self.nodes}
        return str(node.node_id if len(machines) == 1 else node.identity.machine)

    def introduce(self, disk: MemoryDisk, nodes: Sequence[SimNode]) -> None:
        """Let the home on `disk` remember where `nodes` are."""
        remembered = Remembered(disk)
        remembered.load()
        for node in nodes:
            remembered.worked(node.node_id, node.address)

    def start(self, node: SimNode) -> None:
        """Start its process; `node.ready` says when it serves."""
        assert not node.up
        assert not node.gone
        process = self.process(node.name, node.identity, node.address.host, node.disk, node.speed)
        process.died = lambda: self._died_by_disk(node)
        process.runtime.wall_off_s = node.wall_off_s
        node.process, node.ready, node.problem = process, False, None
        process.spawn(self._run(node, process), name=node.name)

    async def _run(self, node: SimNode, process: SimProcess) -> None:
        options = NodeOptions(name=node.name, listen=node.address, reserve_bytes=RESERVE_BYTES)
        node.node = Node(process.runtime, process.host, node.disk, node.identity, self._shape(options))
        self._watch(node, node.node)

        def ready(address: Address) -> None:
            node.ready = True
            self._tell(f"{node.name} serves at {address}")

        try:
            await node.node.run(ready=ready)
        except* RoostError as errors:
            if not process.dead:
                node.problem = next(iter(_leaves(errors)))
                node.left = isinstance(node.problem, NotAdmitted)
                self._tell(f"{node.name} ended by itself: {node.problem!r}")
                process.die(silent=False)
                node.disk = node.disk.kill()

    def cut_power(self, node: SimNode, *, for_ever: bool = False) -> None:
        """The machine loses its power now; its disk is what a power cut may leave."""
        assert node.process is not None
        self._tell(f"{node.name} loses its power{' for ever' if for_ever else ''}")
        node.process.die()
        node.disk = node.disk.crash(self._chance)
        node.gone = for_ever

    def kill(self, node: SimNode) -> None:
        """kill -9: the disk is as the process left it, synced or not."""
        assert node.process is not None
        self._tell(f"{node.name} is killed")
        node.process.die(silent=False)
        node.disk = node.disk.kill()

    def _died_by_disk(self, node: SimNode) -> None:
        self._tell(f"{node.name} loses its power in the middle of a write")
        node.disk = node.disk.crash(self._chance)

    async def client(self, name: str, identity: Identity, host: str, disk: MemoryDisk) -> tuple[SimProcess, Session]:
        """A client's process with its session; a client of that name that still runs dies."""
        process = self.process(name, identity, host, disk, DiskSpeed())
        opening = open_session(process.runtime, process.host, disk, identity, None)
        return process, await process.spawn(opening, name=f"{name} opens")

    def move(self, node: SimNode) -> None:
        """Give a node that is down another address for its next life."""
        self._moves += 1
        node.address = Address(f"10.0.1.{self._moves}", PORT)
        self._tell(f"{node.name} moves to {node.address}")

    def process(self, name: str, identity: Identity, address: str, disk: MemoryDisk, speed: DiskSpeed) -> SimProcess:
        """A new process of a member on the machine at `address`; one of that name that still runs dies."""
        self._lives += 1
        host = self.world.host(
            name, identity.node_id, fingerprint(identity.certificate), address, certificate=identity.certificate
        )
        chance = random.Random(f"{self._seed} {name} {self._lives}")
        return SimProcess(host, disk, chance, crashes=self._crashes, speed=speed)

    async def until(self, holds: Callable[[], bool], *, within_s: float, every_s: float = 0.25) -> bool:
        """Wait until `holds`, looking every now and then; False when it still does not after `within_s`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while not holds():
            if loop.time() >= end:
                return False
            await asyncio.sleep(every_s)
        return True


def _leaves(errors: BaseExceptionGroup[RoostError]) -> list[RoostError]:
    found: list[RoostError] = []
    for error in errors.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
