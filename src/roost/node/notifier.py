"""The notifier of a process, where its settings name somebody to be told; all others do without loading it."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from roost.core.errors import RoostError
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.node.events import Say
from roost.settings.paths import Home
from roost.settings.schema import Settings

if TYPE_CHECKING:
    from roost.node.alerting import Alerting, Look
    from roost.observe.alerts import Watcher


async def notifier_of(
    runtime: Runtime, disk: Disk, home: Home, settings: Settings, watcher: "Watcher", *, cluster: str,
    look: "Callable[[], Look]", say: Say,
) -> "Alerting | None":  # fmt: skip
    """The notifier with the rules that a `watcher` judges, by what `look` makes to look at; None when nobody is to be
    told, and then nothing is remembered of alerts either."""
    if not settings.alerts.wanted:
        await runtime.in_thread(_forget, disk, home)
        return None

    def make() -> "Alerting":
        from roost.node.alerting import Alerting
        from roost.node.thresholds import thresholds_of
        from roost.node.ways import ways_of
        from roost.observe.alerts import all_rules

        rules = [rule for rule in all_rules(thresholds_of(settings)) if rule.watched_by == watcher]
        ways = ways_of(settings.alerts, home)
        return Alerting(runtime, disk, home, settings.alerts, rules, ways, cluster=cluster, look=look(), say=say)

    return await runtime.in_thread(make)


def _forget(disk: Disk, home: Home) -> None:
    with contextlib.suppress(RoostError):  # a disk that fails keeps it
        if disk.exists(home.relative(home.alerts)):
            from roost.client.alert_memory import forget_alerts

            forget_alerts(disk, home)
