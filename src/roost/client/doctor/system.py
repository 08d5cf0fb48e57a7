"""Looking at this machine: what Python, the kernel and the system's own tools say of it. Nothing is judged or changed.

What cannot be read is None, for no machine has all of it.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from roost.client.doctor.clock import ClockSeen
from roost.client.doctor.machine import Inotify, MachineSeen
from roost.client.doctor.radio import Radio
from roost.settings.paths import Home

INOTIFY = Path("/proc/sys/fs/inotify")
CARDS = Path("/sys/class/net")
SIGNALS = Path("/proc/net/wireless")
COMMAND_LIMIT_S = 3.0
TOOLS = os.pathsep.join(("/usr/sbin", "/sbin"))
"""Where `iw` is, which is not on every user's path."""

Said = Callable[[Sequence[str]], str | None]
"""What a command prints; None when it is missing or fails."""


def said(words: Sequence[str]) -> str | None:
    """What a command of the system prints; None when it is missing, fails, or does not end within 3 s."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{TOOLS}"}
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_LIMIT_S, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def look_at_machine(inotify: Path = INOTIFY) -> MachineSeen:
    """This Python, and what the kernel allows."""
    return MachineSeen(
        processor=platform.machine() or "unknown",
        bits=64 if sys.maxsize > 2**32 else 32,
        python=sys.version_info[:3],
        inotify=_inotify(inotify),
    )


def _inotify(folder: Path) -> Inotify | None:
    try:
        watches, instances = (
            int((folder / name).read_text()) for name in ("max_user_watches", "max_user_instances")
        )  # fmt: skip
    except (OSError, ValueError):
        return None
    return Inotify(watches, instances)


def look_at_clock(home: Home, now_s: float, run: Said = said) -> ClockSeen:
    """This machine's clock alone."""
    try:
        written_s = (home.identity / "certificate.der").stat().st_mtime
    except OSError:
        written_s = 0.0
    kept = run(("timedatectl", "show", "--property=NTPSynchronized", "--value")) if sys.platform == "linux" else None
    known = {"yes": True, "no": False}
    return ClockSeen(sys.platform, now_s, written_s, known.get(kept.strip()) if kept is not None else None)


def look_at_radios(cards: Path = CARDS, signals: Path = SIGNALS, run: Said = said) -> list[Radio]:
    """The Wi-Fi interfaces of a Linux machine; elsewhere none is seen."""
    names = sorted(path.parent.name for path in cards.glob("*/wireless"))
    levels = _levels(signals) if names else {}
    told = {name: run(("iw", "dev", name, "get", "power_save")) for name in names}
    return [Radio(name, _saves_power(told[name]), levels.get(name)) for name in names]


def _saves_power(told: str | None) -> bool | None:
    _, _, word = (told or "").partition("Power save:")
    return {"on": True, "off": False}.get(word.strip())


def _levels(signals: Path) -> dict[str, float]:
    """The signal of each interface by ``/proc/net/wireless``, whose third number is the level; only negative ones are
    in dBm (others are of no unit)."""
    try:
        lines = signals.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for name, numbers in _rows(lines):
        try:
            level = float(numbers[2].rstrip("."))
        except (IndexError, ValueError):
            continue
        if level < 0:
            found[name] = level
    return found


def _rows(lines: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    for line in lines:
        name, colon, rest = line.partition(":")
        if colon:
            yield name.strip(), rest.split()
