"""A process measured from outside: how long it took, the processor's seconds, its memory, and the bytes it wrote."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.apps.cli.demo_cluster import environment
from roost.core.errors import Failed

LIMIT_S = 600.0
SAID_CHARACTERS = 600
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """One command that ended well: its JSON result, wall-clock and processor seconds, its peak of resident memory, and
    all that it handed to write and send (None where the system does not tell)."""

    result: Mapping[str, Any]
    seconds: float
    cpu_seconds: float
    rss_bytes: int
    written_bytes: int | None


def measure(command: Sequence[str], *, folder: Path) -> Run:
    """Run `command` in `folder` to its end. Failed when its exit code is not 0 or it takes longer than ten minutes."""
    said, told = folder / "stdout", folder / "stderr"
    with open(said, "wb") as stdout, open(told, "wb") as stderr:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        alarm = threading.Timer(LIMIT_S, process.kill)
        alarm.start()
        try:
            written = _written_at_the_end(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            alarm.cancel()
        seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = said.read_text(errors="replace").strip().splitlines()
    if process.returncode:
        why = (lines or told.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1][:SAID_CHARACTERS]
        raise Failed(f"{' '.join(command[:4])} ended with exit code {process.returncode} and said: {why}")
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(result, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, written)


def _environment() -> dict[str, str]:
    """That of the temporary cluster's commands; bytecode is kept, as that of an installed Roost is."""
    return {key: value for key, value in environment().items() if key != "PYTHONDONTWRITEBYTECODE"}


def _written_at_the_end(pid: int) -> int | None:
    """Wait for the process to end and, before it is reaped, ask the system what it wrote."""
    if not hasattr(os, "waitid"):
        return None
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(OSError, KeyError, ValueError):
        return int(_fields(Path(f"/proc/{pid}/io"))["wchar"])
    return None


def settle(folder: Path, bytes_to_come: int) -> None:
    """Let the disk finish what it was given, and touch so much of the page cache as the next step will fill: a virtual
    machine pays seconds a GB for memory that it has not used for a while, whoever writes first."""
    scratch, piece = folder / "scratch", bytes(PIECE_BYTES)
    os.sync()
    with open(scratch, "wb") as file:
        for _ in range(0, bytes_to_come, PIECE_BYTES):
            file.write(piece)
    scratch.unlink()


def peak_rss_bytes(pids: Iterable[int]) -> int | None:
    """The largest peak of resident memory that any of these processes had so far; None where it is not told."""
    peaks = []
    for pid in pids:
        with contextlib.suppress(OSError, KeyError, ValueError):
            peaks.append(int(_fields(Path(f"/proc/{pid}/status"))["VmHWM"].split()[0]) * 1024)
    return max(peaks, default=None)


def cpu_seconds(pids: Iterable[int]) -> float:
    """The processor's seconds that these processes have used so far, as far as the system tells."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
