"""Judging the clock: against those of the other machines, and against times that have surely passed.

No clock that is wrong harms what is stored. It makes the times wrong that are shown, and those after which tokens end.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from roost.client.doctor.findings import Finding, Level

WRITTEN_S = 1_735_689_600
"""2025-01-01: no clock that is right told an earlier time to this program."""
SKEW_MAX_S = 5.0
BACK_MAX_S = 60.0
MENDS = {"darwin": "sudo sntp -sS time.apple.com"}
MEND = "sudo timedatectl set-ntp true"


@dataclass(frozen=True, slots=True)
class Skew:
    """How many seconds another machine's clock is ahead of ours, and how far from the truth this may be at most."""

    name: str
    ahead_s: float
    uncertain_s: float

    @property
    def is_off(self) -> bool:
        return abs(self.ahead_s) - self.uncertain_s > SKEW_MAX_S


@dataclass(frozen=True, slots=True)
class ClockSeen:
    """`now_s` and `home_s` (when the identity in the home was written; 0 without one) are seconds since 1970 by this
    machine's clock. `kept` says whether the system keeps the clock right; None where it does not tell."""

    platform: str
    now_s: float
    home_s: float
    kept: bool | None
    skews: Sequence[Skew] = ()


def judge_clock(seen: ClockSeen) -> Iterator[Finding]:
    """What is wrong with this machine's clock, or another's; else that it is right, as far as that is known."""
    found = list(_wrong(seen)) or list(_apart(seen))
    yield from found
    if seen.kept is False and not any(finding.is_bad for finding in found):
        yield Finding("clock", Level.NOTE, "nothing keeps the clock of this machine right", _mend(seen))
    elif not found:
        with_whom = f", within {SKEW_MAX_S:.0f} s of {_names(seen.skews)}" if seen.skews else ""
        yield Finding("clock", Level.OK, f"the clock says {_date(seen.now_s)}{with_whom}")


def _wrong(seen: ClockSeen) -> Iterator[Finding]:
    if seen.now_s < WRITTEN_S:
        text = f"the clock says {_date(seen.now_s)}: it was never set since this machine started"
        yield Finding("clock", Level.WARNING, text, _mend(seen))
    elif seen.home_s - seen.now_s > BACK_MAX_S:
        text = f"the clock says {_date(seen.now_s)}, but the identity in this home was written {_date(seen.home_s)}"
        yield Finding("clock", Level.WARNING, text, _mend(seen))


def _apart(seen: ClockSeen) -> Iterator[Finding]:
    """Where most others disagree with us it is our clock that is wrong; else theirs, one by one."""
    off = [skew for skew in seen.skews if skew.is_off]
    if 1 < len(seen.skews) < 2 * len(off):
        text = f"this machine's clock is off: {'; '.join(map(_told, off))}"
        yield Finding("clock", Level.WARNING, text, _mend(seen))
        return
    for skew in off:
        whose = "there or here" if len(seen.skews) == 1 else f"on {skew.name}"
        yield Finding("clock", Level.WARNING, f"{_told(skew)}, compared with this machine's", f"{whose}: {_mend(seen)}")


def _told(skew: Skew) -> str:
    return f"the clock of {skew.name} is {abs(skew.ahead_s):,.0f} s {'ahead' if skew.ahead_s > 0 else 'behind'}"


def _mend(seen: ClockSeen) -> str:
    return MENDS.get(seen.platform, MEND)


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _names(skews: Sequence[Skew]) -> str:
    return skews[0].name if len(skews) == 1 else f"{len(skews):,} other machines"
