"""The meter and the ticker: rates over the last seconds, time left, what is waited for, and the line on a terminal."""

import asyncio
import io
import threading

import pytest
from rich.console import Console

from roost.apps.cli import ticker
from roost.apps.cli.meter import WINDOW_S, Meter
from roost.apps.cli.output import Output, ReaderGone
from roost.apps.cli.ticker import caption, drawing, line, shown, shown_beside
from roost.client import Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock, progress = Clock(), Progress(bytes_total=10_000)
    meter = Meter(progress, clock)
    for _ in range(10):
        clock.now += 1
        progress.bytes_done += 500
        reading = meter.read()
    assert (reading.rate, reading.seconds_left) == (500, 10.0)
    for _ in range(int(WINDOW_S) + 1):
        clock.now += 1
        reading = meter.read()
    assert (reading.rate, reading.seconds_left) == (0, None)


def test_nothing_is_known_at_first() -> None:
    reading = Meter(Progress(), Clock()).read()
    assert (reading.rate, reading.seconds_left, reading.bytes_total) == (0, None, 0)
    assert caption(reading) == "looking for the nodes"


def test_what_it_waits_for_is_said() -> None:
    clock, progress = Clock(), Progress(phase="receiving", bytes_total=3 << 20)
    meter = Meter(progress, clock)
    clock.now += 1
    progress.bytes_done = 1 << 20
    progress.begin_wait("pi-2")
    assert caption(meter.read()) == "1.00 MiB of 3.00 MiB, 1.00 MiB/s, 2 s left, waiting for pi-2"
    progress.end_wait("pi-2")
    assert caption(meter.read()).endswith(", receiving")


def draw(width: int, **environment: str) -> str:
    clock, progress = Clock(), Progress(phase="receiving", bytes_total=1000, bytes_done=400)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, _environ={"TERM": "xterm-256color", **environment})
    console.print(line(Meter(progress, clock).read()))
    return out.getvalue()


def test_the_line_fits_the_terminal() -> None:
    for width in (120, 60, 30):
        assert draw(width).count("\n") == 1


def test_no_color_is_obeyed() -> None:
    assert "\x1b[" in draw(100)
    assert "\x1b[" not in draw(100, NO_COLOR="1")


def test_the_line_is_gone_when_the_work_ends() -> None:
    out = io.StringIO()
    reading = Meter(Progress(phase="receiving"), Clock()).read()
    with drawing(Console(file=out, force_terminal=True, width=80)) as show:
        show(reading)
        assert "receiving" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[2K")


async def test_off_a_terminal_people_see_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async with shown(Progress(), Output(json=False)):
        await asyncio.sleep(0)
    assert capsys.readouterr() == ("", "")


async def test_a_reader_gone_during_the_work_is_told_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "JSON_EVERY_S", 0.001)
    told = asyncio.Event()

    def gone(*_: object) -> None:
        told.set()
        raise ReaderGone

    monkeypatch.setattr(Output, "progress", gone)
    finished = False
    with pytest.raises(ReaderGone):
        async with shown(Progress(), Output(json=True)):
            await told.wait()
            await asyncio.sleep(0.01)
            finished = True
    assert finished


def test_work_that_blocks_is_shown_from_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "JSON_EVERY_S", 0.001)
    seen, told = threading.Event(), []

    def line(_: Output, event: str, fields: dict[str, object]) -> None:
        told.append((event, fields["bytes_done"]))
        seen.set()

    monkeypatch.setattr(Output, "progress", line)
    with shown_beside(Progress(bytes_done=7), Output(json=True)):
        assert seen.wait(10)
    count = len(told)
    assert told[0] == ("progress", 7)
    assert not any(thread.name == "ticker" for thread in threading.enumerate())
    assert len(told) == count


def test_parts_count_in_the_whole() -> None:
    whole = Progress(bytes_total=30)
    for name in ("a", "b"):
        part = whole.part(name)
        part.bytes_total = 10
        part.enter("receiving")
        part.advance(10)
        part.begin_wait("pi-1")
    assert (whole.bytes_done, whole.bytes_total) == (20, 30)
    assert (whole.phase, whole.waiting_for) == ("b: receiving", "pi-1")
