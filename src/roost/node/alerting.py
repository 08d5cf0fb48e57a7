"""The built-in notifier: looks at the metrics, judges the rules, and tells whom the settings name, each thing once.

Nothing that goes wrong here, neither a server that takes no mail nor a bug in a rule, harms the process around it.
What fires and who was told is kept in the home, so that a restart tells nothing again.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from roost.client.alert_memory import AlertMemory, read_alerts, write_alerts
from roost.core.errors import RoostError
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.node.events import Event, Say
from roost.node.ways import Message, Way, deliver
from roost.observe.alerts import Rule
from roost.observe.conditions import Moment
from roost.observe.firing import Alert, Firing, Ledger, Notice, fields_of
from roost.observe.log import get_logger
from roost.observe.notice import text_of, title_of
from roost.observe.samples import Growth, Sample
from roost.settings.alerting import Alerts
from roost.settings.paths import Home

LOOK_LIMIT_S = 60.0
BEGIN_S = 15.0
"""Before the first look at most, for a process that just began knows nothing of others."""
KEEP_EVERY_S = 600.0
"""How often what is kept is brought up to date while nothing happens."""

Look = Callable[[], Awaitable[Sequence[Sample]]]
"""What the metrics are now, with the labels that a scrape adds."""


class Alerting:
    """Runs until cancelled. `look` gives the metrics that `rules` are about; `cluster` is the cluster's name."""

    def __init__(
        self, runtime: Runtime, disk: Disk, home: Home, alerts: Alerts, rules: Sequence[Rule], ways: Sequence[Way], *,
        cluster: str, look: Look, say: Say,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._disk = disk
        self._home = home
        self._every_s = alerts.every_s
        self._ways = ways
        self._cluster = cluster
        self._look_at = look
        self._say = say
        self._machine = platform.node() or "a machine"
        compared = [compare for rule in rules for compare in rule.compared]
        kept_s = 2.0 * max((compare.window_s for compare in compared), default=0)
        self._growth = Growth((name for compare in compared for name in compare.counters), kept_s=kept_s)
        self._firing = Firing(rules)
        self._ledgers = {way.name: Ledger(alerts.repeat_s) for way in ways}
        self._troubles: dict[str, str] = {}
        self._blind = ""
        self._looked_at = 0.0
        self._kept: object = None
        self._kept_s = 0.0
        self._saving = asyncio.Lock()
        self._looked = asyncio.Condition()

    async def run(self) -> None:
        """Look, judge and tell, for ever."""
        await self._load()
        try:
            async with asyncio.TaskGroup() as group:
                for way in self._ways:
                    group.create_task(self._tell(way))
                await self._runtime.sleep(min(self._every_s, BEGIN_S))
                while True:
                    await self._look()
                    await self._save()
                    await self._runtime.sleep(self._every_s)
        finally:
            await self._save(anyway=True)

    # -- looking -------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Judge all rules over the metrics as they are now. While they cannot be had, all stays as it was."""
        try:
            async with self._runtime.timeout(LOOK_LIMIT_S):
                samples = await self._look_at()
            now_s, wall_s = self._runtime.now(), self._runtime.wall()
            before = {alert.key: alert for alert in self._firing.alerts}
            self._growth.observe(samples, now_s)
            self._firing.look(Moment(samples, self._growth, now_s, wall_s))
        except (RoostError, TimeoutError) as error:
            self._blinded(str(error) or "it takes too long")
            return
        except Exception as error:  # supervised: who looks after copies must not end because who watches it errs
            get_logger(__name__).error("the alerts could not be judged", traceback=True)
            self._blinded(f"{type(error).__name__}: {error}")
            return
        self._blind = ""
        self._looked_at = wall_s
        self._tell_history(before)
        async with self._looked:
            self._looked.notify_all()

    def _blinded(self, why: str) -> None:
        if self._blind != why:
            self._blind = why
            self._say(Event("warning", f"the alerts are not judged, for the metrics cannot be had: {why}"))

    def _tell_history(self, before: dict[tuple[str, tuple[tuple[str, str], ...]], Alert]) -> None:
        now = {alert.key: alert for alert in self._firing.alerts}
        for key, alert in now.items():
            if key not in before:
                data: dict[str, object] = {
                    "alert": alert.name,
                    "severity": alert.severity,
                    "labels": dict(alert.labels),
                }
                self._say(Event("alert", f"{alert.severity}: {alert.summary}", data))
        for key, alert in before.items():
            if key not in now:
                data = {"alert": alert.name, "severity": alert.severity, "labels": dict(alert.labels)}
                self._say(Event("alert-over", f"over: {alert.summary}", data))

    # -- telling -------------------------------------------------------------------------------------------------

    async def _tell(self, way: Way) -> None:
        ledger = self._ledgers[way.name]
        while True:
            async with self._looked:
                await self._looked.wait()
            notice = ledger.due(self._firing.alerts, self._runtime.now())
            if not notice:
                continue
            try:
                await deliver(self._runtime, way, self._message(notice), taken=partial(self._taken, way, notice))
            except RoostError as error:
                self._untold(way, ledger, error.message)
            except Exception as error:  # supervised: as in `_look`
                get_logger(__name__).error("a message could not be sent", traceback=True)
                self._untold(way, ledger, f"{type(error).__name__}: {error}")
            await self._save()

    def _taken(self, way: Way, notice: Notice) -> None:
        self._ledgers[way.name].delivered(notice, self._runtime.now())
        if self._troubles.pop(way.name, None) is not None:
            self._say(Event("alert-told", f"alerts can be told by {way.name} again"))

    def _untold(self, way: Way, ledger: Ledger, why: str) -> None:
        wait_s = ledger.failed(self._runtime.now())
        get_logger(__name__).warning("an alert could not be told", way=way.name, why=why, again_in_s=wait_s)
        if self._troubles.get(way.name) != why:
            self._troubles[way.name] = why
            text = f"alerts cannot be told by {way.name}: {why}; to try it: roost alerts test"
            self._say(Event("warning", text, {"way": way.name}))

    def _message(self, notice: Notice) -> Message:
        wall_s = self._runtime.wall()
        return Message(
            title=title_of(notice, cluster=self._cluster),
            text=text_of(notice, wall_s=wall_s, machine=self._machine),
            cluster=self._cluster, machine=self._machine, wall_s=wall_s, **fields_of(notice),
        )  # fmt: skip

    # -- remembering ---------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        memory = await self._runtime.in_thread(read_alerts, self._disk, self._home)
        if memory is None:
            return
        now_s = self._runtime.now()
        self._growth.restore(memory.counters, now_s)
        self._firing.restore(memory.seen, now_s)
        for name, ledger in self._ledgers.items():
            ledger.restore(memory.told.get(name, ()), now_s)
        self._troubles = {name: why for name, why in memory.troubles.items() if name in self._ledgers}

    async def _save(self, *, anyway: bool = False) -> None:
        """Keep what changed; also, now and then, how long all has lasted. A disk that takes nothing is said in the
        log: at worst something is told twice."""
        async with self._saving:
            now_s = self._runtime.now()
            seen = self._firing.kept(now_s)
            told = {name: tuple(ledger.kept(now_s)) for name, ledger in self._ledgers.items()}
            state = (
                {(each.alert.key, each.firing) for each in seen},
                {(name, alert.key) for name, alerts in told.items() for alert, _ in alerts},
                dict(self._troubles),
            )
            stale = now_s - self._kept_s >= KEEP_EVERY_S
            if not (anyway or state != self._kept or stale):
                return
            counters = tuple(self._growth.kept(now_s))
            memory = AlertMemory(tuple(seen), told, dict(self._troubles), counters, self._looked_at)
            try:
                await self._runtime.in_thread(write_alerts, self._disk, self._home, memory)
            except RoostError as error:
                get_logger(__name__).warning("what was told is not kept", why=error.message)
                return
            self._kept, self._kept_s = state, now_s
