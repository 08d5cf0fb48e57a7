"""The world of one run: its cluster, its ledger, its trace, and all chance, which comes from the seed alone."""

import asyncio
import random
from functools import partial
from typing import Any

from roost.codec.manifest import Manifest
from roost.core.ids import RecordId
from roost.node.node import Node
from roost.testing.cluster import SimCluster, SimNode
from sim.echo import Echo
from sim.ledger import Ledger, Violation
from sim.setting import draw_setting


class World:
    """What everything in a run stands on. `happened` are the faults that somebody came to feel so far, `covered` what
    the run came to, `bugs` what broke where nobody could be told, `draining` the nodes that somebody wants to be
    emptied."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loop = asyncio.get_running_loop()
        self.trace: list[str] = []
        self.covered: set[str] = set()
        self.happened: set[str] = set()
        self.bugs: list[str] = []
        self.draining: set[int] = set()
        self.longest_s = 0.0
        self.setting = setting = draw_setting(self.chance("setting"))
        self.cluster = SimCluster(
            str(seed), setting.identities, line=setting.line, tell=self.tell, crashes=self.bugs.append,
            watch=self._watch, shape=setting.shape,
        )  # fmt: skip
        self.ledger = Ledger(self.cluster, hasty=setting.hasty)
        self.echo = Echo(
            self.chance("echo"), steady=setting.echo, came=lambda kind: self.covered.add(f"twice: {kind}"),
            felt=partial(self.happened.add, "twice"),
        )  # fmt: skip
        self.cluster.world.felt = self.happened.add
        self.loop.set_exception_handler(self._unhandled)

    def chance(self, topic: str) -> random.Random:
        """The chance of one part of the run, which no other part disturbs."""
        return random.Random(f"{self.seed} {topic}")

    def tell(self, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():.6f} {what}")

    def check(self) -> None:
        """Violation when a promise was broken somewhere, or something crashed."""
        if self.ledger.errors or self.bugs:
            raise Violation("; ".join([*self.ledger.errors, *self.bugs]))

    @property
    def troubled(self) -> bool:
        """Whether anything was felt that may make an operation fail."""
        return bool(self.happened)

    def surviving(self) -> list[SimNode]:
        """The nodes that are not gone for good."""
        return [node for node in self.cluster.nodes if not node.gone and not node.left]

    def _watch(self, place: SimNode, node: Node) -> None:
        """Hear of every version that a node comes to list, and of what it does to its disk."""
        learn = node.records._added

        def added(record: RecordId, decoded: Any) -> None:
            learn(record, decoded)
            if isinstance(decoded, Manifest):
                self.ledger.hear(place, record, decoded)

        node.records._added = added
        assert place.process is not None
        self.echo.wrap(node.links, place.process)
        place.disk.on_fault = self.happened.add
        place.speed.felt = partial(self.happened.add, "slow disk")
        place.disk.on_harm = partial(self.ledger.harm, place)
        place.disk.on_change = partial(self.ledger.watch, place)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.bugs.append(f"{context.get('message')}: {context.get('exception')!r} {context.get('task')}")
