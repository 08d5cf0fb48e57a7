"""The floor's measuring: every step is really done, what it costs is plausible, and nothing is left of it."""

import asyncio
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from roost.apps.cli.bench_floor import connected, measured
from roost.apps.cli.demo_checkpoint import weights
from roost.client.floor import measuring
from roost.client.floor.reckoning import Cost
from roost.core.errors import Failed
from roost.core.runtime import SystemRuntime

CHUNK = weights(512 * 1024)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "STEP_BYTES", 2_000_000)
    monkeypatch.setattr(measuring, "STEP_S", 0.01)


def test_every_step_costs_something_and_nothing_is_left(tmp_path: Path) -> None:
    costs = asyncio.run(measuring.measure(SystemRuntime(), tmp_path, connected, CHUNK))
    for step, cost in asdict(costs).items():
        assert 0 < cost["wall_s"] < 1000, step
        assert 0 <= cost["cpu_s"] < 1000, step
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    def broken() -> tuple[Any, Any]:
        one, other = connected()
        other.shutdown(socket.SHUT_RDWR)
        return one, other

    with pytest.raises(Failed, match="TLS over loopback"):
        asyncio.run(measuring.measure(SystemRuntime(), tmp_path, broken, CHUNK))
    assert list(tmp_path.iterdir()) == []


class Clock(SystemRuntime):
    """Time that passes only when a step says so."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def now(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("rates", "sizes", "best"),
    [
        ([1e8, 4e8, 2e8], [1_000_000, 1_000_000, 1_000_000], 2.5),  # the better of two, and the trial no better
        ([1e9, 4e9, 2e9], [1_000_000, 2_000_000, 2_000_000], 0.25),  # never more than STEP_BYTES
        ([1e6], [1_000_000], 1000.0),  # slow: the trial is all
    ],
)
def test_the_best_of_as_much_as_fits(rates: list[float], sizes: list[int], best: float) -> None:
    runtime, asked = Clock(), []

    async def step(size: int) -> int:
        asked.append(size)
        runtime.time += size / rates[len(asked) - 1]
        return size

    cost = asyncio.run(measuring._best(runtime, step, 1_000_000))
    assert asked == sizes
    assert cost.wall_s == pytest.approx(best)


def test_a_process_of_its_own_tells_the_costs(tmp_path: Path) -> None:
    costs = measured(tmp_path)
    assert isinstance(costs.tls, Cost)
    assert costs.tls.cpu_s > costs.read.cpu_s > 0
    assert not (tmp_path / "floor").exists()
