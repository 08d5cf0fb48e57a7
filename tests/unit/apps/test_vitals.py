"""How fast bytes come and go at a node and how warm it is, from what it tells Prometheus."""

import asyncio
from dataclasses import dataclass, field

from msgspec.structs import replace

from cli_stand_in import NODE
from roost.apps.vitals import WANTED_S, Vital, Vitals
from roost.core.errors import Unreachable

TEXT = """\
# TYPE roost_transfer_bytes_total counter
roost_transfer_bytes_total{{peer="desk",direction="in"}} {into}
roost_transfer_bytes_total{{direction="in",peer="a }} \\" client"}} 5.0
roost_transfer_bytes_total{{peer="desk",direction="out"}} 7.0
roost_host_temperature_celsius 51.5
roost_host_boot_time_seconds 1.0
"""
DOWN = replace(NODE, id="1" * 32, name="pi-2", state="down")


@dataclass
class Nodes:
    """Nodes that tell their metrics, and are looked at."""

    into: float = 100.0
    at: float = 0.0
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vitals = Vitals(self.metrics, lambda: self.at)

    async def metrics(self, node: str) -> bytes:
        self.asked.append(node)
        if self.error is not None:
            raise self.error
        return TEXT.format(into=self.into).encode()

    def look(self) -> Vital:
        asyncio.run(self.vitals.look([NODE, DOWN]))
        return self.vitals.of(NODE.id)


def test_rates_are_those_since_it_was_asked_before() -> None:
    nodes = Nodes()
    nodes.vitals.of(NODE.id)
    assert nodes.look() == Vital(None, None, 51.5)
    nodes.at, nodes.into = 10.0, 600.0
    assert nodes.look() == Vital(50.0, 0.0, 51.5)
    nodes.at, nodes.into = 20.0, 0.0  # started again
    assert nodes.look() == Vital(None, None, 51.5)
    assert nodes.asked == [NODE.id] * 3, "who is down is not asked"


def test_what_does_not_answer_is_not_known() -> None:
    nodes = Nodes()
    nodes.vitals.of(NODE.id)
    nodes.look()
    nodes.error = Unreachable("away")
    assert nodes.look() == Vital()


def test_nobody_is_asked_while_nobody_looks() -> None:
    nodes = Nodes()
    asyncio.run(nodes.vitals.look([NODE]))
    assert nodes.asked == []
    nodes.look()
    nodes.at += WANTED_S + 1
    asyncio.run(nodes.vitals.look([NODE]))
    assert nodes.asked == []
    assert nodes.vitals.found == {}
    nodes.look()
    nodes.look()
    assert nodes.asked == [NODE.id]
