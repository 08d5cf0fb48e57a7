"""The ticker shows an operation's progress as it runs: a line on a terminal, or a few JSON lines a second."""

import asyncio
import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from roost.apps.cli.meter import Meter, Reading
from roost.apps.cli.output import Output, ReaderGone
from roost.apps.cli.words import printable, rate, size, whole_duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roost.client import Progress

JSON_EVERY_S = 0.4
TERMINAL_EVERY_S = 0.15
BAR_CELLS = 24


@contextlib.asynccontextmanager
async def shown(progress: "Progress", output: Output) -> AsyncIterator[None]:
    """Show `progress` for as long as the block runs: on standard error if that is a terminal, or as JSON lines."""
    meter = Meter(progress, time.monotonic)
    async with contextlib.AsyncExitStack() as stack:
        if output.json:
            stack.enter_context(_ticking(JSON_EVERY_S, lambda: report(meter.read(), output)))
        elif sys.stderr.isatty():
            from rich.console import Console

            draw = stack.enter_context(drawing(Console(stderr=True)))
            stack.enter_context(_ticking(TERMINAL_EVERY_S, lambda: draw(meter.read())))
        yield


@contextlib.contextmanager
def shown_beside(progress: "Progress", output: Output) -> Iterator[None]:
    """As `shown`, for work that blocks this thread: another one reads `progress` meanwhile."""
    meter = Meter(progress, time.monotonic)
    with contextlib.ExitStack() as stack:
        if output.json:
            stack.enter_context(_ticking_beside(JSON_EVERY_S, lambda: report(meter.read(), output)))
        elif sys.stderr.isatty():
            from rich.console import Console

            draw = stack.enter_context(drawing(Console(stderr=True)))
            stack.enter_context(_ticking_beside(TERMINAL_EVERY_S, lambda: draw(meter.read())))
        yield


def report(reading: Reading, output: Output) -> None:
    """One JSON progress line."""
    output.progress("progress", dataclasses.asdict(reading))


@contextlib.contextmanager
def drawing(console: "Console") -> Iterator[Callable[[Reading], None]]:
    """A function that draws a reading as the last line of `console`; the line is gone when the block ends."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda reading: live.update(line(reading), refresh=True)


def line(reading: Reading) -> "RenderableType":
    """A reading as one line, cut where the terminal ends."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 2))
    text = Text(caption(reading), no_wrap=True, overflow="ellipsis")
    if reading.bytes_total:
        row.add_row(ProgressBar(reading.bytes_total, reading.bytes_done, width=BAR_CELLS), text)
    else:
        row.add_row(text)
    return row


def caption(reading: Reading) -> str:
    """``312 MiB of 898 MiB, 210 MiB/s, 3 s left, waiting for node-2``."""
    parts = []
    if reading.bytes_total:
        parts += [f"{size(reading.bytes_done)} of {size(reading.bytes_total)}", rate(reading.rate)]
        if reading.seconds_left:
            parts.append(f"{whole_duration(reading.seconds_left)} left")
    waits = reading.waiting_for != reading.phase
    parts.append(f"waiting for {reading.waiting_for}" if waits else reading.phase)
    return printable(", ".join(parts))


@contextlib.contextmanager
def _ticking(every_s: float, tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` every `every_s` seconds while the block runs on the event loop."""

    async def forever() -> None:
        while True:
            await asyncio.sleep(every_s)
            tick()

    task = asyncio.ensure_future(forever())
    try:
        yield
    finally:
        task.cancel()
        if task.done() and not task.cancelled():
            error = task.exception()
            if error is not None:
                raise error


@contextlib.contextmanager
def _ticking_beside(every_s: float, tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` every `every_s` seconds from a thread while the block runs."""
    over = threading.Event()

    def forever() -> None:
        with contextlib.suppress(ReaderGone):  # the command finds out itself, with its result
            while not over.wait(every_s):
                tick()

    thread = threading.Thread(target=forever, name="ticker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
