"""Nothing grows: after a run, all that was borrowed is back, and what is kept in memory is what is on the disk."""

from roost.chunks.disk import PUTS_MAX, READS_MAX
from roost.net.links import BULK_LINKS_MAX
from roost.node.node import Node
from roost.testing.cluster import SimNode
from sim.disks import objects_on
from sim.ledger import Violation
from sim.world import World

SERVICES_MAX = 25
"""Tasks of a node that nobody talks to."""
TASKS_A_CONNECTION = 4
LINKS_A_PEER = 1 + BULK_LINKS_MAX
QUIET_LIMIT_S = 20.0


async def require_bounded(world: World) -> None:
    """Violation when a node that nobody asks anything any more still holds what it should have given back, or ever had
    more under way at once than a cluster so small can ask of it."""
    for node in world.surviving():
        assert node.process is not None
        peers = len(world.cluster.world.known()) - 1
        most = SERVICES_MAX + TASKS_A_CONNECTION * 2 * LINKS_A_PEER * peers  # to each peer, and from it
        if (peak := node.process.tasks_peak) > most:
            raise Violation(f"{node.name} had {peak} tasks at once, with {peers} peers")
        if not await world.cluster.until(lambda node=node: not _held(node), within_s=QUIET_LIMIT_S, every_s=0.05):  # type: ignore[misc]
            raise Violation(f"{node.name} does not give back: {_held(node)}")


def _held(node: SimNode) -> str:
    """What the node holds and should not; empty when there is nothing."""
    assert node.node is not None
    assert node.process is not None
    store, ages = node.node.store, node.node.collector.ages
    counts = {
        "puts": PUTS_MAX - store._to_receive._places._value,
        "reads": READS_MAX - store._to_read._places._value,
        "receiving": len(store._receiving),
        "bytes promised": sum(promise.left for promise in store._promises),
        "idle slices": max(0, len(store._to_receive._idle) + len(store._to_read._idle) - 2 * PUTS_MAX - READS_MAX),
        "objects indexed that are not there": max(0, store.objects - len(objects_on(node.disk))),
        "ages of nothing": max(0, len(ages) - store.objects - len(node.node.records)),
        "tasks": max(0, node.process.tasks - SERVICES_MAX - TASKS_A_CONNECTION * _connections(node.node)),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _connections(node: Node) -> int:
    """How many connections it has, those that it serves and its own. Those of machines that died go after a while."""
    peers = node.links._peers.values()
    own = sum(len(peer.idle) + len(peer.busy) + (peer.control is not None) for peer in peers)
    assert node._server is not None
    return own + len(node._server._open)
