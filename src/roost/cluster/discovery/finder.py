"""The finder: all ways of finding others and being found, kept going while networks come and go.

It looks at this machine's addresses every few seconds; when they change, or a way failed, that way is begun anew.
"""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from roost.cluster.discovery.broadcast import Broadcast
from roost.cluster.discovery.interfaces import Interface, interfaces_of
from roost.cluster.discovery.mdns import Mdns
from roost.cluster.discovery.sightings import Advert, Sighting, Sightings, Way
from roost.core.cluster import Address
from roost.core.errors import RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime

LOOK_EVERY_S = 4.0
ASK_AT_S = (0.0, 0.3, 1.0, 2.0)
"""When a question is broadcast after a beginning: packets get lost, and others begin too."""
ANNOUNCE_EVERY_S = 30.0
RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class WayState:
    """How one way is doing. `problem` is empty while it works, as far as it can be told from here."""

    way: Way
    on: bool
    problem: str = ""
    hint: str = ""


class Finder:
    """Finds members of `cluster` (None: of any), on the networks on which somebody who listens at `host` is reached.

    `found` hears of every sighting that leads somewhere new. `interfaces` tells this machine's networks; it is asked in
    a thread.
    """

    def __init__(
        self, runtime: Runtime, *, cluster: bytes | None, host: str, mdns: bool = True, broadcast: bool = True,
        found: Callable[[Sighting], None] = lambda sighting: None,
        interfaces: Callable[[str], Sequence[Interface]] = interfaces_of,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._cluster = cluster
        self._host = host
        self._wanted = {Way.BROADCAST: broadcast, Way.MDNS: mdns}
        self.found = found
        self._look = interfaces
        self._advert: Advert | None = None
        self._problems: dict[Way, RoostError] = {}
        self._begun_at: dict[Way, float] = {}
        self._mdns = Mdns(self._saw)
        self._broadcast = Broadcast(self._saw, runtime.now)
        self._changed = asyncio.Event()
        self.sightings = Sightings(cluster=cluster)
        self.interfaces: Sequence[Interface] = ()

    def tell(self, advert: Advert) -> None:
        """From now on, tell this of ourselves."""
        if advert != self._advert:
            self._advert = advert
            self._begun_at.clear()
            self._changed.set()

    @property
    def off(self) -> bool:
        """Whether there is no way to look by."""
        return not any(self._wanted.values())

    def addresses(self, node: NodeId) -> list[Address]:
        """Where a node of the cluster was seen lately, the newest first."""
        return self.sightings.addresses(node, now=self._runtime.now())

    def states(self) -> list[WayState]:
        """How each way is doing."""
        found = []
        for way in (Way.MDNS, Way.BROADCAST):
            error = self._problems.get(way)
            problem, hint = (error.message, error.hint) if error is not None else ("", "")
            if not problem and way is Way.BROADCAST and self._broadcast.problem:
                problem, hint = f"packets are not sent: {self._broadcast.problem}", "see: roost doctor"
            if not problem and self._wanted[way] and not self.interfaces:
                problem, hint = "this machine is on no network", "see: roost doctor"
            found.append(WayState(way, self._wanted[way], problem, hint))
        return found

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep all ways going while the block runs."""
        task = asyncio.get_running_loop().create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        """Keep all ways going until cancelled."""
        announced_at, asked = 0.0, 0
        try:
            while True:
                self._changed.clear()
                if await self._keep_up():
                    announced_at, asked = self._runtime.now(), 0
                pause = LOOK_EVERY_S
                if asked < len(ASK_AT_S):
                    self._broadcast.announce()
                    self._broadcast.ask(self._cluster)
                    asked += 1
                    if asked < len(ASK_AT_S):
                        pause = ASK_AT_S[asked] - ASK_AT_S[asked - 1]
                elif self._runtime.now() - announced_at >= ANNOUNCE_EVERY_S:
                    announced_at = self._runtime.now()
                    self._broadcast.announce()
                try:
                    async with self._runtime.timeout(pause):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._broadcast.close()
            await self._mdns.close()

    async def _keep_up(self) -> bool:
        """Begin anew the ways for which something has changed, or which failed a while ago; whether broadcast is."""
        interfaces = tuple(await self._runtime.in_thread(self._look, self._host))
        if interfaces != self.interfaces:
            self.interfaces = interfaces
            self._begun_at.clear()
        anew = [way for way, wanted in self._wanted.items() if wanted and self._is_due(way)]
        for way in anew:
            self._begun_at[way] = self._runtime.now()
            self._problems.pop(way, None)
            try:
                await self._begin(way)
            except RoostError as error:
                self._problems[way] = error
        return Way.BROADCAST in anew

    def _is_due(self, way: Way) -> bool:
        if way not in self._begun_at:
            return True
        return way in self._problems and self._runtime.now() - self._begun_at[way] >= RETRY_S

    async def _begin(self, way: Way) -> None:
        if way is Way.MDNS:
            await self._mdns.close()
            await self._runtime.in_thread(
                importlib.import_module, "zeroconf.asyncio"
            )  # it takes long on a small machine
            if self.interfaces:
                await self._mdns.start([interface.host for interface in self.interfaces], self._advert)
        else:
            self._broadcast.close()
            if self.interfaces:
                await self._broadcast.start(self.interfaces, self._advert)

    def _saw(self, sighting: Sighting) -> None:
        if self._advert is not None and sighting.advert.node == self._advert.node:
            return
        if self.sightings.note(sighting, now=self._runtime.now()):
            self.found(sighting)
