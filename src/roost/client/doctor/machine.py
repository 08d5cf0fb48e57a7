"""Judging the machine itself: its bits, its Python, and how many files it lets programs watch."""

from collections.abc import Iterator
from dataclasses import dataclass

from roost.client.doctor.findings import Finding, Level

PYTHON_MIN = (3, 11)
WATCHES_MIN = 8192
INSTANCES_MIN = 128


@dataclass(frozen=True, slots=True)
class Inotify:
    """What Linux allows one user of inotify(7)."""

    watches_max: int
    instances_max: int


@dataclass(frozen=True, slots=True)
class MachineSeen:
    """`processor` is what the kernel calls it (``aarch64``), `bits` how many this very Python has; `inotify` is None
    where there is none."""

    processor: str
    bits: int
    python: tuple[int, int, int]
    inotify: Inotify | None


def judge_machine(seen: MachineSeen) -> Iterator[Finding]:
    """One finding for the bits, the Python, and (on Linux) inotify."""
    yield _bits(seen)
    yield _python(seen)
    if seen.inotify is not None:
        yield _inotify(seen.inotify)


def _bits(seen: MachineSeen) -> Finding:
    if seen.bits >= 64:
        return Finding("64-bit", Level.OK, f"{seen.processor}, {seen.bits}-bit")
    why = "its kernel has 64, its programs do not" if "64" in seen.processor else f"the processor is {seen.processor}"
    return Finding(
        "64-bit", Level.PROBLEM,
        f"this system has {seen.bits} bits ({why}): a checkpoint of some GiB does not fit into a program",
        "write a 64-bit system to the card: Raspberry Pi Imager, Raspberry Pi OS (64-bit)",
    )  # fmt: skip


def _python(seen: MachineSeen) -> Finding:
    version = ".".join(map(str, seen.python))
    if seen.python[:2] >= PYTHON_MIN:
        return Finding("python", Level.OK, f"Python {version}")
    least = ".".join(map(str, PYTHON_MIN))
    return Finding(
        "python", Level.PROBLEM, f"Python {version} is too old: Roost needs {least} or newer",
        f"install Python {least} (sudo apt install python{least}, or brew install python@{least}), and Roost with it",
    )  # fmt: skip


def _inotify(limits: Inotify) -> Finding:
    low = [
        (key, allowed, least)
        for key, allowed, least in (
            ("max_user_watches", limits.watches_max, WATCHES_MIN),
            ("max_user_instances", limits.instances_max, INSTANCES_MIN),
        )
        if allowed < least
    ]
    if not low:
        text = f"a user may watch {limits.watches_max:,} folders, in {limits.instances_max:,} programs"
        return Finding("inotify", Level.OK, text)
    told = " and ".join(f"{key} is {allowed:,}, less than {least:,}" for key, allowed, least in low)
    values = " ".join(f"fs.inotify.{key}={8 * least}" for key, _, least in low)
    # Roost's own watcher looks through its folders and needs none of them; a training beside it may.
    return Finding("inotify", Level.NOTE, f"few folders can be watched: {told}", f"sudo sysctl {values}")
