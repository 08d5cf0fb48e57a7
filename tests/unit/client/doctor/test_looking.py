"""How the doctor looks: what it reads of a system, what it leaves on a disk, and what becomes of a look that fails."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from roost.client.doctor import examination, scratch
from roost.client.doctor.clock import ClockSeen
from roost.client.doctor.findings import Finding, Level
from roost.client.doctor.machine import Inotify
from roost.client.doctor.radio import Radio
from roost.client.doctor.system import look_at_clock, look_at_machine, look_at_radios, said
from roost.core.errors import DiskFault
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home
from roost.settings.schema import default_settings
from roost.testing.loop import run_simulated

WIRELESS = """\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   54.  -71.  -256        0      0      0      0      0        0
 wlan1: 0000   54.   40.  -256        0      0      0      0      0        0
"""


def test_inotify_limits_are_read_where_there_are_any(tmp_path: Path) -> None:
    assert look_at_machine(tmp_path / "none").inotify is None
    (tmp_path / "max_user_watches").write_text("8192\n")
    (tmp_path / "max_user_instances").write_text("128\n")
    assert look_at_machine(tmp_path).inotify == Inotify(8192, 128)


def test_the_power_and_the_signal_of_each_radio_are_read(tmp_path: Path) -> None:
    for name in ("wlan0", "wlan1", "wlan2"):
        (tmp_path / "net" / name / "wireless").mkdir(parents=True)
    (tmp_path / "net" / "eth0").mkdir()
    (tmp_path / "signals").write_text(WIRELESS)

    def run(words: Sequence[str]) -> str | None:
        return {"wlan0": "Power save: on\n", "wlan1": "Power save: off\n"}.get(words[2])

    assert look_at_radios(tmp_path / "net", tmp_path / "signals", run) == [
        Radio("wlan0", True, -71.0), Radio("wlan1", False, None), Radio("wlan2", None, None),
    ]  # fmt: skip
    assert look_at_radios(tmp_path / "none", tmp_path / "none", run) == []


@pytest.mark.parametrize(("told", "kept"), [("yes\n", True), ("no\n", False), ("", None), (None, None)])
def test_whether_the_clock_is_kept_right(
    told: str | None, kept: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert look_at_clock(Home(tmp_path), 5.0, lambda words: told) == ClockSeen("linux", 5.0, 0.0, kept)
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "certificate.der").write_bytes(b"")
    os.utime(tmp_path / "identity" / "certificate.der", (100, 100))
    assert look_at_clock(Home(tmp_path), 5.0, lambda words: told).home_s == 100.0


def test_a_command_that_is_missing_or_fails_says_nothing() -> None:
    assert said(("echo", "so")) == "so\n"
    assert said(("false",)) is None
    assert said(("roost-has-no-such-command",)) is None


async def test_a_disk_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    seen = await scratch.look_at_disk(SystemRuntime(), Home(tmp_path), reserve=0)
    assert seen.exists
    assert seen.written is not None
    assert 4 << 20 <= seen.written.bytes <= 32 << 20
    assert list(tmp_path.iterdir()) == []


async def test_without_a_home_or_without_room_nothing_is_written(tmp_path: Path) -> None:
    seen = await scratch.look_at_disk(SystemRuntime(), Home(tmp_path / "a" / "b"), reserve=0)
    assert (seen.exists, seen.written) == (False, None)
    assert seen.total > 0
    full = await scratch.look_at_disk(SystemRuntime(), Home(tmp_path), reserve=seen.total)
    assert (full.exists, full.written) == (True, None)
    assert list(tmp_path.iterdir()) == []


async def test_a_measurement_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DiskFault("the disk fails")

    monkeypatch.setattr(scratch, "_write_durably", fail)
    with pytest.raises(DiskFault):
        await scratch.measure(SystemRuntime(), PosixDisk(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_look_that_fails_or_hangs_is_a_finding() -> None:
    async def fails(error: Exception) -> None:
        raise error

    async def main() -> list[object]:
        hangs = asyncio.get_running_loop().create_future()
        return [
            await examination.guarded("disk", fails(DiskFault("I/O error", hint="replace it")), limit_s=5),
            await examination.guarded("disk", fails(PermissionError(13, "Permission denied")), limit_s=5),
            await examination.guarded("disk", fails(ZeroDivisionError("by zero")), limit_s=5),
            await examination.guarded("disk", asyncio.wait_for(hangs, None), limit_s=5),
        ]

    found = [each for each in run_simulated(main(), seconds_max=10) if isinstance(each, Finding)]
    assert [(each.check, each.level) for each in found] == [("disk", Level.WARNING)] * 4
    assert [told in each.text for each, told in zip(found, ("I/O", "denied", "by zero", "5 s"), strict=True)] == [
        True
    ] * 4
    assert found[0].mend == "replace it"
    assert all(each.mend for each in found)


def test_what_could_not_be_looked_at_keeps_nothing_else_from_being_told() -> None:
    failed = {
        check: Finding(check, Level.WARNING, "failed", "x")
        for check in ("clock", "disk", "certificates", "discovery", "members", "wifi")
    }
    told = list(
        examination.judge({"machine": look_at_machine(), **failed}, default_settings(), platform="linux")
    )  # fmt: skip
    assert told[: len(failed)] == list(failed.values())
    assert "64-bit" in {finding.check for finding in told}
