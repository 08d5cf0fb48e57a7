"""The agent keeps this machine's record set equal to everybody's: at the start, every minute, and when woken."""

import asyncio
from collections.abc import Callable, Iterable

from roost.cluster.exchange import Exchanged, exchange
from roost.cluster.membership import Membership
from roost.cluster.records import RecordSet
from roost.core.errors import RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.links import Links

EVERY_S = 60.0
SETTLE_S = 0.2
"""After a wake-up the agent waits this long, so that a burst of changes makes one round."""
PEERS_A_ROUND = 16
LIMIT_S = 60.0


class Agent:
    """Runs until cancelled. A peer that does not answer is tried again in the next round. `remembered` are nodes that
    answered once: the first that a new member knows."""

    def __init__(
        self, runtime: Runtime, links: Links, membership: Membership, records: RecordSet, *, own: NodeId,
        remembered: Callable[[], Iterable[NodeId]],
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._links = links
        self._membership = membership
        self._records = records
        self._own = own
        self._remembered = remembered
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something changed here: tell the others soon."""
        self._woken.set()

    async def run(self) -> None:
        """Exchange with up to 16 members a round, all at once, for ever."""
        while True:
            await self.round()
            try:
                async with self._runtime.timeout(EVERY_S * (0.9 + 0.2 * self._runtime.random())):
                    await self._woken.wait()
            except TimeoutError:
                continue
            await self._runtime.sleep(SETTLE_S)

    async def round(self) -> dict[NodeId, Exchanged | RoostError]:
        """One round; per peer what was exchanged or why not."""
        self._woken.clear()
        view = self._membership.view
        strangers = {node for node in self._remembered() if view.member(node) is None}
        peers = sorted(({m.node_id for m in view.members if m.addresses} | strangers) - {self._own})
        peers.sort(key=lambda _: self._runtime.random())
        peers = sorted(peers[:PEERS_A_ROUND])

        async def one(node: NodeId) -> Exchanged | RoostError:
            try:
                async with self._runtime.timeout(LIMIT_S):
                    return await exchange(self._links, node, self._records)
            except TimeoutError:
                return RoostError(f"record exchange with {node[:8]} took longer than {LIMIT_S:.0f} s")
            except RoostError as error:
                return error

        async with asyncio.TaskGroup() as group:
            tasks = {node: group.create_task(one(node)) for node in peers}
        return {node: task.result() for node, task in tasks.items()}
