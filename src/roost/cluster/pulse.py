"""The pulse of one process: it pings who is silent, keeps how each member stands, and tells what changes.

It judges by `roost.cluster.heartbeat` and by nothing that others say. It also finds out that the others refuse us, so
that a process with a copied key, or with a revoked certificate, ends.
"""

import asyncio
from collections.abc import Callable

from roost.cluster.heartbeat import Heartbeats, Rhythm, Seen
from roost.cluster.membership import Membership
from roost.core.cluster import NodeState
from roost.core.errors import NotAdmitted, Refused, RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.contacts import LIVELY_S, Contacts
from roost.net.links import Links
from roost.net.server import Call, Reply
from roost.wire.fields import NodeSeen
from roost.wire.messages import Nodes, Ping, Pong

PING_LIMIT_S = 30.0
"""Enough for a ping that has to try several addresses. Nobody waits for it: a silent peer is judged by its silence."""
REFUSED_S = LIVELY_S + 2.0
"""Who is refused for so long is not taken any more for the process that a machine lost a moment ago."""
JITTER = 0.1
TROUBLE_MAX = 1024

OnChange = Callable[[NodeId, NodeState], None]


class Pulse:
    """Runs until cancelled. `on_change` is told when a member's state changes, and when it says that it found more
    damage, or trouble, than before; `trouble` says what this process itself has."""

    def __init__(
        self, runtime: Runtime, links: Links, membership: Membership, contacts: Contacts, *, own: NodeId,
        on_change: OnChange, rhythm: Rhythm | None = None, trouble: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._links = links
        self._membership = membership
        self._contacts = contacts
        self._own = own
        self._on_change = on_change
        self._rhythm = rhythm or Rhythm()
        self._trouble = trouble
        self._beats = Heartbeats(own, begun_s=runtime.now(), rhythm=self._rhythm)
        self._told: dict[NodeId, NodeState] = {}
        self._pongs: dict[NodeId, Pong] = {}
        self._asking: set[NodeId] = set()
        self._refusals: dict[NodeId, tuple[float, float, Refused]] = {}
        contacts.heard = self.heard
        contacts.refused_us = self._refused

    # -- what is known ---------------------------------------------------------------------------------------------

    def states(self) -> dict[NodeId, Seen]:
        """How every member that serves stands, but for ourselves: alive, suspect or down."""
        return self._beats.states(self._membership.view, self._runtime.now())

    def alive(self) -> frozenset[NodeId]:
        """The members that were heard of lately, ourselves included."""
        return frozenset({self._own, *(node for node, seen in self.states().items() if seen.state is NodeState.ALIVE)})

    def pong(self, node: NodeId) -> Pong | None:
        """What a member said last of itself; None when it never did."""
        return self._pongs.get(node)

    def seen(self) -> list[NodeSeen]:
        """How the storage members stand, ourselves included, as others are told it."""
        states = self.states()
        told = []
        for member in self._membership.view.storage:
            node = member.node_id
            seen = Seen(NodeState.ALIVE, 0.0) if node == self._own else states[node]
            draining = member.draining and seen.state is NodeState.ALIVE
            told.append(
                NodeSeen(
                    node_id=node,
                    state=str(NodeState.DRAINING if draining else seen.state),
                    heard_s=-1.0 if seen.silent_s is None else seen.silent_s,
                    address=str(self._links.address_of(node) or ""),
                    trouble=self._trouble_of(node)[:TROUBLE_MAX],
                )
            )
        return told

    def _trouble_of(self, node: NodeId) -> str:
        pong = self._pongs.get(node)
        own = self._trouble() if node == self._own else pong.trouble if pong is not None else ""
        return "; ".join(text for text in (self._contacts.doubled(node), own) if text)

    async def get_nodes(self, call: Call) -> Reply:
        """The handler of `GetNodes`."""
        return Reply(Nodes(self.seen()))

    # -- what happens ----------------------------------------------------------------------------------------------

    def heard(self, node: NodeId) -> None:
        """Something came from `node`."""
        self._beats.heard(node, self._runtime.now())
        if self._told.get(node) in (NodeState.SUSPECT, NodeState.DOWN):
            self._tell(node, NodeState.ALIVE)

    def _tell(self, node: NodeId, state: NodeState) -> None:
        self._told[node] = state
        self._on_change(node, state)

    async def run(self) -> None:
        """Ping and judge, for ever. Raises NotAdmitted once no fewer members refuse us than let us in."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._look()
                self._require_welcome()
                for node in self._beats.due(self._membership.view, self._runtime.now(), asking=self._asking):
                    self._asking.add(node)
                    group.create_task(self._ping(node), name=f"ping {node[:8]}")
                await self._runtime.sleep(self._rhythm.every_s * (1 - JITTER + 2 * JITTER * self._runtime.random()))

    def _look(self) -> None:
        """Tell what changed since the last look, and forget who is no member any more."""
        states = self.states()
        for gone in self._told.keys() - states.keys():
            self._told.pop(gone)
            self._pongs.pop(gone, None)
        for node, seen in states.items():
            before = self._told.get(node)
            if before is None and seen.state is NodeState.SUSPECT:
                self._told[node] = seen.state  # one that we have not heard of yet is no news
            elif before is not seen.state:
                self._tell(node, seen.state)

    async def _ping(self, node: NodeId) -> None:
        try:
            async with self._runtime.timeout(PING_LIMIT_S):
                answer = await self._links.call(node, Ping())
        except (RoostError, TimeoutError):
            return
        finally:
            self._asking.discard(node)
        if isinstance(answer, Pong):
            self._refusals.pop(node, None)
            self._beats.answered(node, self._runtime.now())
            self._learn(node, answer)

    def _learn(self, node: NodeId, pong: Pong) -> None:
        before, self._pongs[node] = self._pongs.get(node), pong
        if before is None:
            worse = pong.trouble != ""
        else:
            restarted = pong.running_s < before.running_s
            worse = pong.damaged_total > (0 if restarted else before.damaged_total) or pong.trouble != before.trouble
        if worse and node in self._told:
            self._on_change(node, self._told[node])

    def _refused(self, node: NodeId, error: Refused) -> None:
        now = self._runtime.now()
        first, _, _ = self._refusals.get(node, (now, now, error))
        self._refusals[node] = (first, now, error)

    def _require_welcome(self) -> None:
        """Who is refused for good ends. A single peer may err (it met the copy first), so the more count."""
        now = self._runtime.now()
        fresh_s = 2 * PING_LIMIT_S
        self._refusals = {node: told for node, told in self._refusals.items() if now - told[1] <= fresh_s}
        lasting = [told for told in self._refusals.values() if told[1] - told[0] >= REFUSED_S]
        welcome = self.alive() - {self._own} - self._refusals.keys()
        if lasting and len(lasting) >= len(welcome):
            error = max(lasting, key=lambda told: told[1])[2]
            raise NotAdmitted(error.message, hint=error.hint)
