"""A notifier is there where the settings name somebody to be told, and elsewhere nothing of it is loaded."""

import sys
from pathlib import Path

import pytest

from roost.client.alert_memory import AlertMemory, read_alerts, write_alerts
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.node.alerting import Alerting
from roost.node.notifier import notifier_of
from roost.observe.samples import Sample
from roost.settings.load import parse
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings

TOLD = "alerts: {webhook: {url: 'http://127.0.0.1:1/', template: ntfy}}"


async def notifier(home: Path, settings: Settings) -> Alerting | None:
    """That of a node in `home`."""

    async def look() -> list[Sample]:
        raise AssertionError("nobody looks before it runs")

    runtime = SystemRuntime()
    try:
        return await notifier_of(
            runtime, PosixDisk(home), Home(home), settings, "node", cluster="home", look=lambda: look,
            say=lambda _: None,
        )  # fmt: skip
    finally:
        runtime.close()


async def test_where_nobody_is_to_be_told_nothing_is_loaded_or_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_alerts(PosixDisk(tmp_path), Home(tmp_path), AlertMemory((), {}, {"mail": "refused"}, (), 1.0))
    assert read_alerts(PosixDisk(tmp_path), Home(tmp_path)) is not None
    monkeypatch.setitem(sys.modules, "roost.node.alerting", None)
    assert await notifier(tmp_path, default_settings()) is None
    assert read_alerts(PosixDisk(tmp_path), Home(tmp_path)) is None


async def test_where_somebody_is_it_judges_what_its_process_can_see(tmp_path: Path) -> None:
    made = await notifier(tmp_path, parse(TOLD, file=None).settings)
    assert made is not None
    assert [rule.name for rule in made._firing._rules] == ["RoostCoordinatorDown"]
