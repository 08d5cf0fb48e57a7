"""The agent keeps this machine's record set equal to everybody's: at the start, every minute, when woken, and with
each member that comes back."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

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
PAUSE_S = 2.0
PAUSE_MAX_S = 60.0
"""A peer with which an exchange failed is left out of the rounds for 2 s, then 4 s, and up to a minute, unless it is
met again: what wakes us wakes often, and the dead would be dialled each time."""
ALONE_S = 5.0
"""How often all are tried while nobody at all answers: after a power cut all may be back at other addresses, and then
only one that keeps its own brings them together, as soon as it is there too."""


@dataclass(slots=True)
class _Failed:
    """A peer with which the last exchange failed, and until when it is left alone."""

    pause_s: float
    until: float


class Agent:
    """Runs until cancelled. A peer that does not answer is tried again in a later round. `remembered` are nodes that
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
        self._everybody = False
        self._met: set[NodeId] = set()
        self._failed: dict[NodeId, _Failed] = {}

    def wake(self) -> None:
        """Something changed here: tell the others soon."""
        self._everybody = True
        self._woken.set()

    def meet(self, node: NodeId) -> None:
        """`node` is there again: exchange with it soon."""
        self._failed.pop(node, None)
        self._met.add(node)
        self._woken.set()

    async def run(self) -> None:
        """Exchange with up to 16 members a round, all at once, for ever."""
        await self.round()
        while True:
            try:
                every_s = ALONE_S if self._alone() else EVERY_S
                async with self._runtime.timeout(every_s * (0.9 + 0.2 * self._runtime.random())):
                    await self._woken.wait()
            except TimeoutError:
                self._everybody = True
            else:
                await self._runtime.sleep(SETTLE_S)
            met = sorted(self._met)
            everybody = self._everybody
            self._rest()
            for later in met[PEERS_A_ROUND:]:
                self.meet(later)
            known = self._known()
            rested = known if self._alone() else self._rested(known)
            others = rested - set(met) if everybody else set()
            await self._exchange(self._choose(others, first=met[:PEERS_A_ROUND]))

    async def round(self) -> dict[NodeId, Exchanged | RoostError]:
        """One round with everybody, also those that failed a moment ago; per peer what was exchanged or why not."""
        self._rest()
        return await self._exchange(self._choose(self._known()))

    def _rest(self) -> None:
        self._woken.clear()
        self._everybody = False
        self._met.clear()

    def _known(self) -> set[NodeId]:
        view = self._membership.view
        strangers = {node for node in self._remembered() if view.member(node) is None}
        return ({m.node_id for m in view.members if m.addresses} | strangers) - {self._own}

    def _alone(self) -> bool:
        """Whether there are others, and the last exchange failed with each."""
        known = self._known()
        return bool(known) and known <= self._failed.keys()

    def _rested(self, nodes: set[NodeId]) -> set[NodeId]:
        """Without those that failed a moment ago."""
        self._failed = {node: failed for node, failed in self._failed.items() if node in nodes}
        now = self._runtime.now()
        return {node for node in nodes if node not in self._failed or self._failed[node].until <= now}

    def _choose(self, nodes: Collection[NodeId], *, first: Collection[NodeId] = ()) -> list[NodeId]:
        """At most 16 of all, by chance, after the `first`."""
        others = sorted(nodes)
        others.sort(key=lambda _: self._runtime.random())
        return sorted([*sorted(first), *others][:PEERS_A_ROUND])

    async def _exchange(self, peers: list[NodeId]) -> dict[NodeId, Exchanged | RoostError]:
        async def one(node: NodeId) -> Exchanged | RoostError:
            try:
                async with self._runtime.timeout(LIMIT_S):
                    done = await exchange(self._links, node, self._records)
            except TimeoutError:
                return self._note(node, RoostError(f"record exchange with {node[:8]} took longer than {LIMIT_S:.0f} s"))
            except RoostError as error:
                return self._note(node, error)
            self._failed.pop(node, None)
            return done

        async with asyncio.TaskGroup() as group:
            tasks = {node: group.create_task(one(node)) for node in peers}
        return {node: task.result() for node, task in tasks.items()}

    def _note(self, node: NodeId, error: RoostError) -> RoostError:
        before = self._failed.get(node)
        pause = min(PAUSE_MAX_S, 2 * before.pause_s) if before is not None else PAUSE_S
        self._failed[node] = _Failed(pause, self._runtime.now() + pause)
        return error
