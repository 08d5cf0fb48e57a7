"""The notifier on virtual time: each thing is told once over restarts and failures, and nothing harms others."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from roost.client.alert_memory import alerts_of, read_alerts
from roost.core.errors import NoSpace, RoostError, Unreachable
from roost.node.alerting import KEEP_EVERY_S, Alerting
from roost.node.events import Event
from roost.node.ways import Message, Sending, Way
from roost.observe.alerts import Thresholds, all_rules
from roost.observe.firing import RESUME_S, RETRY_S
from roost.observe.samples import Sample
from roost.settings.load import parse
from roost.settings.paths import Home
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

OWN = {"instance": "coordinator", "role": "coordinator"}
HOME = Home(Path("/home"))
EVERY_S = 10


@dataclass
class Told:
    """A home with a notifier: what it sees, what arrives by which way and when, and what goes wrong."""

    runtime: SimRuntime
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    down: set[str] = field(default_factory=set)
    damaged: int = 0
    blind: Exception | None = None
    failing: dict[str, Exception] = field(default_factory=dict)
    arrived: list[tuple[str, float, Message]] = field(default_factory=list)
    tried: list[tuple[str, float]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ways: tuple[str, ...] = ("email",)
    repeat: str = "0"

    def __post_init__(self) -> None:
        self.begun = self.runtime.now()

    async def look(self) -> list[Sample]:
        if self.blind is not None:
            raise self.blind
        states = [Sample("roost_node_state", {**OWN, "peer": peer, "state": "down"}, 1.0) for peer in sorted(self.down)]
        failures = Sample("roost_integrity_failures_total", {**OWN, "peer": "pi-1"}, float(self.damaged))
        return [Sample("roost_watch_pending", OWN, 0.0), failures, *states]

    def way(self, name: str) -> Way:
        @dataclass
        class Attempt:
            message: Message

            def send(attempt) -> None:  # noqa: N805  # self is the home around it
                self.tried.append((name, self.runtime.now() - self.begun))
                if name in self.failing:
                    raise self.failing[name]
                self.arrived.append((name, self.runtime.now() - self.begun, attempt.message))

            def abort(attempt) -> None:  # noqa: N805
                """Nothing to end."""

        def begin(message: Message) -> Sending:
            return Attempt(message)

        return Way(name, "you", begin)

    def alerting(self) -> Alerting:
        """A notifier as a new start would make it."""
        settings = parse(f"alerts: {{every: {EVERY_S}, repeat: {self.repeat}}}", file=None).settings
        rules = [rule for rule in all_rules(Thresholds(node_down_s=60)) if rule.watched_by == "coordinator"]
        return Alerting(
            self.runtime, self.disk, HOME, settings.alerts, rules, [self.way(name) for name in self.ways],
            cluster="home", look=self.look, say=self.events.append,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def running(self):  # type: ignore[no-untyped-def]
        """A notifier that runs meanwhile."""
        task = asyncio.get_running_loop().create_task(self.alerting().run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def titles(self) -> list[str]:
        return [message.title for _, _, message in self.arrived]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def simulate(script: Callable[[Told], Awaitable[None]], **how: object) -> Told:
    async def main() -> Told:
        told = Told(SimRuntime(random.Random(7)), **how)  # type: ignore[arg-type]
        await script(told)
        return told

    return run_simulated(main(), seconds_max=1e7)


DOWN = "home: warning: pi-2 does not answer: it is off, asleep, or cut off from the network."
OVER = "home: over: pi-2 does not answer: it is off, asleep, or cut off from the network."


def test_it_is_told_when_it_begins_and_when_it_is_over() -> None:
    async def script(told: Told) -> None:
        async with told.running():
            await asyncio.sleep(30)
            told.down.add("pi-2")
            await asyncio.sleep(3000)
            told.down.clear()
            await asyncio.sleep(100)

    told = simulate(script)
    assert told.titles() == [DOWN, OVER]
    assert 90 <= told.arrived[0][1] <= 90 + 2 * EVERY_S
    assert told.arrived[0][2].state == "firing"
    assert "roost doctor" in told.arrived[0][2].text
    assert told.arrived[1][2].state == "resolved"
    assert told.kinds() == ["alert", "alert-over"]


def test_what_comes_back_in_time_is_told_to_nobody() -> None:
    async def script(told: Told) -> None:
        async with told.running():
            told.down.add("pi-2")
            await asyncio.sleep(45)
            told.down.clear()
            await asyncio.sleep(1000)

    told = simulate(script)
    assert told.arrived == []
    assert told.events == []


def test_what_lasts_is_told_again_as_often_as_wished() -> None:
    async def script(told: Told) -> None:
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(2.5 * 3600)

    told = simulate(script, repeat="1h")
    assert told.titles() == [DOWN, DOWN.replace("warning", "still warning"), DOWN.replace("warning", "still warning")]


def test_a_restart_tells_nothing_again_and_goes_on_counting() -> None:
    async def script(told: Told) -> None:
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(200)
        told.down.add("pi-3")
        async with told.running():
            await asyncio.sleep(55)
        async with told.running():
            await asyncio.sleep(25)
            assert told.titles() == [DOWN, DOWN.replace("pi-2", "pi-3")]
            told.down.clear()
            await asyncio.sleep(RESUME_S - 50)
            assert len(told.arrived) == 2  # just begun, it does not know yet that all are there
            await asyncio.sleep(100)

    told = simulate(script)
    assert told.titles()[2:] == [f"{OVER} (and 1 more)"]


def test_what_a_counter_did_before_a_restart_is_not_new_after_it() -> None:
    async def script(told: Told) -> None:
        told.damaged = 3
        async with told.running():
            await asyncio.sleep(30)
            told.damaged = 4
            await asyncio.sleep(30)
        async with told.running():
            await asyncio.sleep(30)

    told = simulate(script)
    assert [title.partition(". ")[0] for title in told.titles()] == [
        "home: warning: Bad copies found on pi-1 in the last hour: 1"
    ]


def test_one_way_that_fails_keeps_nothing_from_the_other_and_is_tried_again_later_and_later() -> None:
    async def script(told: Told) -> None:
        told.failing["email"] = Unreachable("the mail server does not answer")
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(60 + sum(RETRY_S[:3]) + 100)
            memory = read_alerts(told.disk, HOME)
            assert memory is not None
            assert memory.troubles == {"email": "the mail server does not answer"}
            assert [alert.name for alert in memory.firing] == ["RoostNodeDown"]
            told.failing.clear()
            await asyncio.sleep(RETRY_S[3])

    told = simulate(script, ways=("email", "webhook"))
    assert [(name, message.title) for name, _, message in told.arrived] == [("webhook", DOWN), ("email", DOWN)]
    times = [at for name, at in told.tried if name == "email"]
    pauses = [second - first for first, second in itertools.pairwise(times)]
    assert len(pauses) == 4
    assert all(wait <= pause <= wait + 2 * EVERY_S for wait, pause in zip(RETRY_S, pauses, strict=False))
    assert told.kinds() == ["alert", "warning", "alert-told"]
    assert "alerts cannot be told by email: the mail server does not answer" in told.events[1].text


def test_a_bug_in_a_way_or_in_the_metrics_ends_nothing() -> None:
    async def script(told: Told) -> None:
        told.failing["email"] = KeyError("a bug")
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(100)
            told.blind = ZeroDivisionError("another")
            await asyncio.sleep(1000)
            told.blind, told.failing = None, {}
            await asyncio.sleep(1000)

    told = simulate(script)
    assert told.titles() == [DOWN]
    assert told.kinds() == ["alert", "warning", "warning", "alert-told"]


def test_while_nothing_can_be_seen_nothing_is_over() -> None:
    async def script(told: Told) -> None:
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(100)
            told.blind = Unreachable("no node answers")
            told.down.clear()
            await asyncio.sleep(5000)

    told = simulate(script)
    assert told.titles() == [DOWN]
    assert [event.text for event in told.events if event.kind == "warning"] == [
        "the alerts are not judged, for the metrics cannot be had: no node answers"
    ]


def test_a_disk_that_takes_nothing_keeps_nothing_from_being_told() -> None:
    class Full(MemoryDisk):
        def create(self, path: str, *, mode: int = 0o600):  # type: ignore[no-untyped-def]
            raise NoSpace("the disk is full")

    async def script(told: Told) -> None:
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(500)

    assert simulate(script, disk=Full()).titles() == [DOWN]


def test_what_is_kept_gets_no_older_than_minutes() -> None:
    async def script(told: Told) -> None:
        told.down.add("pi-2")
        async with told.running():
            await asyncio.sleep(100 + 3 * KEEP_EVERY_S)
            memory = read_alerts(told.disk, HOME)
            assert memory is not None
            assert memory.seen[0].begun_ago_s >= 2 * KEEP_EVERY_S

    assert simulate(script).titles() == [DOWN]


def test_a_file_that_is_none_is_taken_as_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert alerts_of(home) is None
    for data in (b"", b"{", b"[]", b'{"seen": [1]}', b"\xff"):
        home.alerts.write_bytes(data)
        assert alerts_of(home) is None
    assert issubclass(NoSpace, RoostError)
