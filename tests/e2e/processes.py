"""Processes of the tests: `roost` commands that run beside a test, and handles on processes that others started.

A handle is taken while its process surely lives and stays with that very process, so that no signal ever reaches a
stranger that was given the same number later. Nothing here waits without a limit or by sleeping.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READ_BYTES = 64 * 1024
MOVING_BYTES = 4_000_000
"""More than a command writes that moves nothing."""
LOOK_EVERY_S = 0.005
LINE_LIMIT_S = 5.0


if sys.platform == "linux":

    def _grip(pid: int) -> int:
        """A descriptor that becomes readable when the process ends."""
        return os.pidfd_open(pid)

    def _send(descriptor: int, pid: int, number: signal.Signals) -> None:
        signal.pidfd_send_signal(descriptor, number)

else:

    def _grip(pid: int) -> int:
        queue = select.kqueue()
        exits = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        with contextlib.suppress(ProcessLookupError):
            queue.control([exits], 0)
        return os.dup(queue.fileno())

    def _send(descriptor: int, pid: int, number: signal.Signals) -> None:
        os.kill(pid, number)


class Handle:
    """One process, ours or a node's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = _grip(pid)
        self._gone = False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if not self.ended(0):
            with contextlib.suppress(ProcessLookupError):
                _send(self._descriptor, self.pid, number)

    def ended(self, timeout_s: float) -> bool:
        """Whether the process has ended, or ends within `timeout_s`."""
        if not self._gone:
            self._gone = bool(select.select([self._descriptor], [], [], timeout_s)[0])
        return self._gone

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.signal(signal.SIGKILL)
        assert self.ended(10), f"process {self.pid} outlived SIGKILL"

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._gone = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said: its exit code, its one last line of JSON, the progress lines before it, and its words on
    standard error."""

    code: int
    result: dict[str, Any]
    progress: tuple[dict[str, Any], ...]
    errors: str
    seconds: float

    def __str__(self) -> str:
        return f"exit {self.code}: {self.result} {self.errors}"


@dataclass
class Program:
    """One `roost` command that runs beside the test, told to write JSON lines, which are read as they come."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    errors_to: Path
    prefix: Sequence[str] = ()
    """What runs it: words before its own, which replace themselves by it."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    """When each line was read: the clock of `time.monotonic`."""
    starved_at: list[float] = field(default_factory=list)
    """How long it had waited for a processor by then."""
    _rest: bytes = b""
    _ended: bool = False
    _starved: float = 0.0

    def __post_init__(self) -> None:
        self._begun = time.monotonic()
        with self.errors_to.open("wb") as errors:
            self._process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "roost", *self.arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=dict(self.environment),
                cwd=self.directory, start_new_session=True,
            )  # fmt: skip
        self.handle = Handle(self._process.pid)

    def next(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line, or None at the end of the output."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest and not self._ended:
            assert self._readable(deadline - time.monotonic()), f"no word for {timeout_s} s from {self}"
            assert self._process.stdout is not None
            data = os.read(self._process.stdout.fileno(), READ_BYTES)
            self._rest += data
            self._ended = not data
        line, _, self._rest = self._rest.partition(b"\n")
        if not line:
            return None
        told: dict[str, Any] = json.loads(line)
        self.lines.append(told)
        self.read_at.append(time.monotonic())
        self.starved_at.append(self._starved_s())
        return told

    def _readable(self, timeout_s: float) -> bool:
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], max(0, timeout_s))[0])

    def catch_up(self) -> None:
        """Read what it has said by now."""
        while b"\n" in self._rest or (not self._ended and self._readable(0)):
            if self.next(LINE_LIMIT_S) is None:
                return

    def until(self, event: str, *, timeout_s: float = 30, **fields: object) -> dict[str, Any]:
        """Read until a progress line of this event with these fields."""
        deadline = time.monotonic() + timeout_s
        while (told := self.next(deadline - time.monotonic())) is not None:
            if told.get("event") == event and all(told.get(key) == value for key, value in fields.items()):
                return told
        raise AssertionError(f"{self} ended without a word of {event}")

    def until_moving(self, *, past_bytes: int = MOVING_BYTES, timeout_s: float = 30) -> None:
        """Wait until it has moved more than `past_bytes`: a store sends them, and a gather writes them. Where the
        system tells how many a process wrote, it is caught however fast it goes, and else by its progress."""
        deadline = time.monotonic() + timeout_s
        while not self._ended:
            written = self._written_bytes()
            if written is not None and written > past_bytes:
                return
            if b"\n" not in self._rest and not self._readable(LOOK_EVERY_S):
                assert time.monotonic() < deadline, f"it moved {written} bytes in {timeout_s} s: {self}"
                continue
            told = self.next(deadline - time.monotonic())
            if written is None and told is not None and told.get("bytes_done", 0) > past_bytes:
                assert told["bytes_done"] < told["bytes_total"], f"it went too fast to be disturbed: {told}"
                return
        raise AssertionError(f"{self} ended before it moved anything")

    def _written_bytes(self) -> int | None:
        """How many bytes it has handed to write and send so far; None where the system does not tell."""
        try:
            told = dict(line.split(": ") for line in Path(f"/proc/{self.handle.pid}/io").read_text().splitlines())
        except OSError:
            return None
        return int(told["wchar"])

    def _starved_s(self) -> float:
        """How long its first thread, which does all but the work on the bytes, has waited for a processor so far, as
        far as the system tells."""
        with contextlib.suppress(OSError):
            self._starved = int(Path(f"/proc/{self.handle.pid}/schedstat").read_text().split()[1]) / 1e9
        return self._starved

    def stood_still_s(self, *, since: float) -> float:
        """The longest time after `since` in which it moved nothing, as far as its progress told; its last word counts
        as a move. What it waited for a processor meanwhile is left out: that is a busy machine's fault."""
        longest, last_at, last_starved, most = 0.0, since, 0.0, -1
        for line, at, starved in zip(self.lines, self.read_at, self.starved_at, strict=True):
            done = line.get("bytes_done", most)
            moved, most = done > most or line["type"] != "progress", max(most, done)
            if at <= since:
                last_starved = starved
            elif moved:
                longest = max(longest, at - last_at - (starved - last_starved))
                last_at, last_starved = at, starved
        return longest

    def moves(self, *, since: float) -> list[tuple[float, int]]:
        """When after `since` it had moved more bytes, and how many; the last is its end."""
        found: list[tuple[float, int]] = []
        most = -1
        for line, at in zip(self.lines, self.read_at, strict=True):
            done = line.get("bytes_done", most)
            if (done > most or line["type"] != "progress") and at > since:
                found.append((at - since, done))
            most = max(most, done)
        return found

    def wait(self, timeout_s: float = 60) -> Answer:
        """Read to the end; what it said."""
        deadline = time.monotonic() + timeout_s
        while self.next(deadline - time.monotonic()) is not None:
            pass
        code = self._process.wait(timeout=max(1, deadline - time.monotonic()))
        progress = [line for line in self.lines if line["type"] == "progress"]
        results = [line for line in self.lines if line["type"] != "progress"]
        last = results[-1] if results else {}
        assert code < 0 or (len(results) == 1 and self.lines[-1] is last), f"not one last word: {self}"
        return Answer(code, last, tuple(progress), self.errors(), time.monotonic() - self._begun)

    def errors(self) -> str:
        """Its words on standard error so far."""
        return self.errors_to.read_text(errors="replace")

    def end(self) -> None:
        """Make sure that it has ended; by force, if need be."""
        self.handle.resume()
        self.handle.kill()
        self._process.wait()
        self.handle.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __str__(self) -> str:
        return f"roost {' '.join(self.arguments)}: {self.lines[-3:]} {self.errors()[-2000:]}"
