"""What a run is before anything happens in it: its machines, its redundancy, its lines, and its periods.

Periods are those of the product shrunk from hours to seconds, so that what takes a day fits into minutes of virtual
time; nothing else about them is changed.
"""

import random
from dataclasses import dataclass, replace

from roost.checkpoints.collect import Periods
from roost.checkpoints.scrub import Terms
from roost.cluster.heartbeat import Rhythm
from roost.core.checkpoint import Redundancy
from roost.node.node import NodeOptions
from roost.security.identity import Identity
from roost.testing.network import Line
from sim.identities import member

LINES = (Line(), Line(), Line(delay_s=(0.001, 0.02), bytes_per_s=6_000_000))
SLOW_RHYTHM = Rhythm(every_s=6.0, quiet_s=5.0, suspect_s=15.0, down_s=30.0, down_every_s=60.0)
CALM_PROMISE_S = 20.0
ASKED_ONLY_S = 1e5
"""Passes of collection after the first come only when somebody asks for them: at several nodes at once."""
SCRUB = Terms(every_s=600.0, rate=10 * 1024 * 1024)
FAST_SCRUB = Terms(every_s=120.0, rate=1024 * 1024)


@dataclass(frozen=True, slots=True)
class Setting:
    """One cluster. `shared` when several nodes are on one machine; `coordinators` run a steward each, which waits
    `grace_s` for a machine that went down; `echo` is the part of all requests that comes twice."""

    identities: tuple[Identity, ...]
    shared: bool
    redundancies: tuple[Redundancy, ...]
    line: Line
    rhythm: Rhythm
    scrub: Terms
    periods: Periods
    coordinators: int
    grace_s: float
    echo: float

    def shape(self, options: NodeOptions) -> NodeOptions:
        """The options of a node in this setting."""
        return replace(options, rhythm=self.rhythm, scrub=self.scrub, periods=self.periods)

    @property
    def hasty(self) -> bool:
        """Whether reservations may end between two requests of one operation."""
        return self.periods.promise_s < CALM_PROMISE_S

    @property
    def losses(self) -> int:
        """How many machines every checkpoint survives."""
        return min(redundancy.losses for redundancy in self.redundancies)


def draw_setting(chance: random.Random) -> Setting:
    """Three to six nodes, now and then several on one machine."""
    count = chance.choice((3, 3, 4, 4, 5, 6))
    shared = chance.random()
    machines = list(range(count))
    if shared < 0.2:
        machines[-1] = machines[0]
    elif shared < 0.25:
        machines = [0] * count
    identities = tuple(member(number, machine=machine) for number, machine in enumerate(machines))
    places = len(set(machines)) if len(set(machines)) > 1 else count
    wanted = ("2",) if places < 4 or chance.random() < 0.6 else chance.choice((("3",), ("2", "3")))
    promise_s = chance.choice((0.3, 2.0, CALM_PROMISE_S, CALM_PROMISE_S))
    periods = Periods(
        every_s=chance.choice((5.0, 15.0, ASKED_ONLY_S)), retry_s=3.0, save_s=chance.choice((4.0, 10.0)),
        untouched_s=chance.choice((5.0, 15.0)), uptime_s=promise_s + chance.choice((0.0, 5.0)), promise_s=promise_s,
        pressure=chance.choice((0.0, 0.0, 0.8)),
    )  # fmt: skip
    return Setting(
        identities=identities,
        shared=len(set(machines)) < count,
        redundancies=tuple(Redundancy.parse(text) for text in wanted),
        line=chance.choice(LINES),
        rhythm=chance.choice((Rhythm(), SLOW_RHYTHM, SLOW_RHYTHM)),
        scrub=chance.choice((SCRUB, SCRUB, FAST_SCRUB)),
        periods=periods,
        coordinators=chance.choice((0, 1, 2, 2)),
        grace_s=chance.choice((3.0, 20.0)),
        echo=chance.choice((0.0, 0.0, 0.02, 0.2)),
    )
