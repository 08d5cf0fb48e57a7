"""Where the live view's snapshots come from: whom it asks for health, for rates, and when."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from msgspec.structs import replace

from cli_stand_in import NODE, STATUS, row
from roost.apps.tui.source import ASK_EVERY_S, ClusterSource
from roost.apps.vitals import Vital
from roost.client import ClusterStatus, Listing
from roost.core.errors import Unreachable
from roost.core.runtime import SystemRuntime
from roost.settings.paths import Home

ALONE = replace(STATUS, coordinator_running=False)


METRICS = b"""# HELP roost_transfer_bytes_total bytes
roost_transfer_bytes_total{peer="pi-2",direction="in"} 100.0
roost_transfer_bytes_total{direction="in",peer="a } \\" client"} 5.0
roost_transfer_bytes_total{peer="pi-2",direction="out"} 1e+03
roost_objects 7
"""


class Clock(SystemRuntime):
    """A runtime whose clock is turned by hand."""

    at = 100.0

    def now(self) -> float:
        """The time that it was turned to."""
        return self.at


@dataclass
class Overviewed:
    """A cluster that gives overviews, and remembers whether it was to ask the nodes for health."""

    clock: Clock
    status: ClusterStatus = ALONE
    asked: list[bool] = field(default_factory=list)

    @property
    def session(self) -> SimpleNamespace:
        """Its clock and threads."""
        return SimpleNamespace(runtime=self.clock)

    async def overview(self, *, ask: bool) -> tuple[ClusterStatus, Listing]:
        """As `AsyncCluster.overview`."""
        self.asked.append(ask)
        return self.status, Listing((row("a/b"),), True, ())

    async def node_metrics(self, node: str) -> bytes:
        """As `AsyncCluster.node_metrics`."""
        if node != NODE.id:
            raise Unreachable("no answer")
        return METRICS


def source(home: Path) -> tuple[ClusterSource, Overviewed]:
    cluster = Overviewed(Clock())
    return ClusterSource(cluster, Home(home)), cluster  # type: ignore[arg-type]


async def test_without_a_coordinator_the_nodes_are_asked_each_minute(tmp_path: Path) -> None:
    asking, cluster = source(tmp_path)
    for at in (0.0, 2.0, ASK_EVERY_S - 1, ASK_EVERY_S, ASK_EVERY_S + 2):
        cluster.clock.at = 100 + at
        found = await asking.look()
    assert cluster.asked == [True, False, False, True, False]
    assert (found.operations, found.events) == (None, ())
    assert found.vitals == {NODE.id: Vital(0.0, 0.0)}


async def test_they_are_asked_at_once_when_a_node_has_gone(tmp_path: Path) -> None:
    asking, cluster = source(tmp_path)
    await asking.look()
    await asking.look()
    cluster.status = replace(cluster.status, nodes=(replace(NODE, state="down"),))
    await asking.look()
    await asking.look()
    await asking.look()
    assert cluster.asked == [True, False, False, True, False]


async def test_a_node_that_does_not_tell_has_no_rate(tmp_path: Path) -> None:
    asking, cluster = source(tmp_path)
    cluster.status = replace(cluster.status, nodes=(NODE, replace(NODE, id="1" * 32)))
    await asking.look()
    cluster.clock.at += 1
    assert set((await asking.look()).vitals) == {NODE.id}
