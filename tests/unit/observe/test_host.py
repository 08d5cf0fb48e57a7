"""How the machine is."""

from types import SimpleNamespace

import psutil
import pytest

from roost.observe.host import Host, hottest


def sensor(*degrees: float | None) -> list[SimpleNamespace]:
    return [SimpleNamespace(current=one) for one in degrees]


def test_a_look_tells_plausible_things() -> None:
    host = Host()
    host.read()
    seen = host.read()
    assert 0.0 <= seen.cpu_ratio <= 1.0
    assert 0 < seen.memory_available_bytes < seen.memory_total_bytes
    assert seen.booted_at > 1_500_000_000
    assert seen.temperature_c is None or 0 < seen.temperature_c < 130


def test_the_processors_sensor_counts_before_all_others() -> None:
    assert hottest({"nvme": sensor(70.0), "cpu_thermal": sensor(48.5, 51.0)}) == 51.0
    assert hottest({"nvme": sensor(70.0), "iwlwifi": sensor(44.0)}) == 70.0


def test_a_sensor_that_tells_nonsense_is_not_believed() -> None:
    assert hottest({"cpu_thermal": sensor(-273.0, None, 65_535.0), "acpitz": sensor(40.0)}) == 40.0
    assert hottest({"cpu_thermal": sensor(None)}) is None
    assert hottest({}) is None


def test_sensors_that_cannot_be_read_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise OSError("input/output error")

    monkeypatch.setattr(psutil, "sensors_temperatures", broken, raising=False)
    assert Host().read().temperature_c is None
