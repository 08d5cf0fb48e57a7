"""What the doctor makes of the machine, its clock and its disk, from observations that are planted."""

import pytest

from roost.client.doctor.clock import WRITTEN_S, ClockSeen, Skew, judge_clock
from roost.client.doctor.disk import DiskSeen, Written, judge_disk
from roost.client.doctor.findings import Finding, Level, all_well
from roost.client.doctor.machine import Inotify, MachineSeen, judge_machine

GIB = 1 << 30
NOW_S = WRITTEN_S + 50_000_000.0
WELL = MachineSeen("aarch64", 64, (3, 13, 1), Inotify(100_000, 1024))


def bad(findings: list[Finding]) -> list[tuple[str, Level]]:
    """The findings that are not well; each that must be mended says how."""
    assert all(finding.mend for finding in findings if finding.is_bad)
    assert all(finding.text for finding in findings)
    return [(finding.check, finding.level) for finding in findings if finding.level is not Level.OK]


def machine(seen: MachineSeen) -> list[Finding]:
    return list(judge_machine(seen))


def test_a_machine_that_is_well() -> None:
    assert [finding.check for finding in machine(WELL)] == ["64-bit", "python", "inotify"]
    assert bad(machine(WELL)) == []
    assert all_well(machine(WELL))


@pytest.mark.parametrize(
    ("processor", "why"), [("aarch64", "its programs do not"), ("armv7l", "the processor is armv7l")]
)
def test_32_bits_are_a_problem_whoever_has_them(processor: str, why: str) -> None:
    found = machine(MachineSeen(processor, 32, (3, 13, 1), None))
    assert bad(found) == [("64-bit", Level.PROBLEM)]
    assert why in found[0].text
    assert not all_well(found)


def test_an_old_python_is_a_problem() -> None:
    found = machine(MachineSeen("x86_64", 64, (3, 9, 2), None))
    assert bad(found) == [("python", Level.PROBLEM)]
    assert "3.9.2" in found[1].text
    assert "python3.11" in found[1].mend


def test_tight_inotify_limits_are_noted_with_the_command_for_those_alone_that_are_tight() -> None:
    found = machine(MachineSeen("x86_64", 64, (3, 11, 2), Inotify(1024, 1024)))
    assert bad(found) == [("inotify", Level.NOTE)]
    assert found[2].mend == "sudo sysctl fs.inotify.max_user_watches=65536"
    both = machine(MachineSeen("x86_64", 64, (3, 11, 2), Inotify(1024, 64)))
    assert "max_user_watches=65536 fs.inotify.max_user_instances=1024" in both[2].mend


def clock(
    *, now_s: float = NOW_S, home_s: float = NOW_S - 60, kept: bool | None = True, skews: tuple[Skew, ...] = (),
    platform: str = "linux",
) -> list[Finding]:  # fmt: skip
    return list(judge_clock(ClockSeen(platform, now_s, home_s, kept, skews)))


def test_a_clock_that_is_right() -> None:
    assert bad(clock()) == []
    [agrees] = clock(skews=(Skew("a", 0.4, 0.1), Skew("b", -1.0, 0.1)))
    assert "2 other machines" in agrees.text


def test_a_clock_that_was_never_set() -> None:
    [found] = clock(now_s=12.0, home_s=0.0, kept=None)
    assert (found.check, found.level) == ("clock", Level.WARNING)
    assert "1970-01-01" in found.text
    assert "timedatectl" in found.mend
    assert "sntp" in clock(now_s=12.0, home_s=0.0, kept=None, platform="darwin")[0].mend


def test_a_clock_that_went_back_behind_the_home() -> None:
    [found] = clock(home_s=NOW_S + 3600)
    assert found.level is Level.WARNING
    assert "the identity in this home was written" in found.text


def test_it_is_our_clock_that_is_off_where_most_others_disagree_with_it() -> None:
    [found] = clock(skews=(Skew("a", 70.0, 0.1), Skew("b", 71.0, 0.1), Skew("c", 0.2, 0.1)))
    assert found.text.startswith("this machine's clock is off: the clock of a is 70 s ahead; the clock of b is 71 s")
    assert not found.mend.startswith("on ")


def test_it_is_the_other_clock_that_is_off_where_it_is_the_only_one() -> None:
    [found] = clock(skews=(Skew("a", -90.0, 0.1), Skew("b", 0.0, 0.1), Skew("c", 0.2, 0.1)))
    assert found.text.startswith("the clock of a is 90 s behind")
    assert found.mend.startswith("on a: ")


def test_of_two_clocks_nobody_knows_which_is_off() -> None:
    [found] = clock(skews=(Skew("a", -90.0, 0.1),))
    assert found.mend.startswith("there or here: ")


def test_a_slow_answer_is_no_skew() -> None:
    assert bad(clock(skews=(Skew("a", 9.0, 5.0),))) == []


def test_a_clock_that_nothing_keeps_right_is_noted() -> None:
    assert bad(clock(kept=False)) == [("clock", Level.NOTE)]
    assert bad(clock(kept=None)) == []


def disk(*, free: int = 100 * GIB, written: Written | None = None, exists: bool = True) -> list[Finding]:
    return list(judge_disk(DiskSeen("/home/pi/roost", exists, free, 200 * GIB, GIB, written)))


def test_a_disk_with_room_that_is_fast() -> None:
    found = disk(written=Written(32 << 20, 0.5))
    assert bad(found) == []
    assert "64.0 MiB/s" in found[1].text


def test_a_disk_below_its_reserve_is_a_problem_and_one_just_above_it_a_warning() -> None:
    assert bad(disk(free=GIB - 1)) == [("disk", Level.PROBLEM)]
    assert bad(disk(free=2 * GIB - 1)) == [("disk", Level.WARNING)]
    assert bad(disk(free=2 * GIB)) == []


def test_a_slow_disk_is_a_warning() -> None:
    found = disk(written=Written(4 << 20, 2.0))
    assert bad(found) == [("disk-speed", Level.WARNING)]
    assert "2.00 MiB/s" in found[1].text


def test_without_a_home_the_speed_is_noted_as_not_measured() -> None:
    assert bad(disk(exists=False)) == [("disk-speed", Level.NOTE)]
