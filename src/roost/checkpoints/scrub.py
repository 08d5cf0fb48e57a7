"""The pace of the scrub: what a node reads back next and when, with the reason in words. Pure.

A *pass* reads back everything that a node holds, objects and records alike, once, in the order of their ids. Ids are
SHA-256 digests, so they lie evenly among all that there could be: where an id lies says how much of a pass is before
it, whatever comes and goes meanwhile. So each id has its own moment in the pass, a little is read now and then and
never much in a row, and all that must be remembered is the last id that was read.

A pass takes half of the period, so that a machine that is on for only half of the time still reads everything back
within the period. Seconds are of the node's running time, which no clock disturbs.
"""

import enum
from dataclasses import dataclass

from roost.settings.units import format_rate

PASS_S_MIN = 60.0
"""However short the period: a small store is not read again and again without a pause."""
LATE = 0.02
"""Part of a pass by which it may be late before that is worth a word."""
_PLACE_BYTES = 8
_PLACES = 1 << 64


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings ask for: everything read back once in `every_s` seconds (0: never), at no more than `rate`
    bytes a second (0: as fast as the disk gives)."""

    every_s: float
    rate: int

    @property
    def pass_s(self) -> float:
        """How long a pass takes when nothing holds it up."""
        return max(PASS_S_MIN, self.every_s / 2)

    def taken_s(self, count: int) -> float:
        """How many seconds reading `count` bytes must take at least."""
        return count / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """How a pass stands: for how long it has been running, the last id that was read (empty: none yet), the next one
    that is here (None: no more), the bytes of all that is here, and for how many seconds the disk must still be left
    alone after the last read."""

    elapsed_s: float
    after: bytes
    following: bytes | None
    held: int
    rest_s: float = 0.0


class Deed(enum.Enum):
    """What is to be done."""

    READ = "read the next one now"
    WAIT = "wait"
    BEGIN = "begin the next pass"
    NOTHING = "never scrub"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now; when it is to wait, for how many seconds; and why, for a person."""

    deed: Deed
    wait_s: float
    reason: str


def part_before(digest: bytes) -> float:
    """The part of all ids, from 0 to 1, that lies before `digest`; 0 for the empty one."""
    return int.from_bytes(digest[:_PLACE_BYTES].ljust(_PLACE_BYTES, b"\0")) / _PLACES


def next_step(terms: Terms, seen: Seen) -> Step:
    """What to do now in the pass that stands as `seen`."""
    if not terms.every_s:
        return Step(Deed.NOTHING, 0.0, "off: scrub.every is 0")
    left_s = terms.pass_s - seen.elapsed_s
    if seen.following is None:
        if left_s <= 0:
            return Step(Deed.BEGIN, 0.0, "all is read: the next pass begins")
        return Step(Deed.WAIT, left_s, f"on pace: all is read, the next pass begins in {in_words(left_s)}")
    due_s = part_before(seen.following) * terms.pass_s - seen.elapsed_s
    wait_s = max(0.0, due_s, seen.rest_s)
    return Step(Deed.WAIT if wait_s else Deed.READ, wait_s, _standing(terms, seen, seen.following, -due_s))


def _standing(terms: Terms, seen: Seen, following: bytes, late_s: float) -> str:
    """How the pass stands, in words."""
    read = f"{100 * part_before(seen.after):.0f} % read"
    limit = f"at the rate limit of {format_rate(terms.rate)}"
    needed_s = terms.taken_s(round(seen.held * (1 - part_before(following))))
    if max(0.0, seen.elapsed_s) + needed_s > max(terms.every_s, PASS_S_MIN):
        return f"too slow: {read}; {limit} the rest takes {in_words(needed_s)}, past scrub.every: raise scrub.rate"
    if late_s > LATE * terms.pass_s:
        how = f"{limit} it is caught up within {in_words(needed_s)}" if terms.rate else "reading without a pause"
        return f"behind: {read}, {in_words(late_s)} late; {how}"
    return f"on pace: {read}, {in_words(max(0.0, terms.pass_s - seen.elapsed_s))} left"


def in_words(seconds: float) -> str:
    """A duration for a person, in one unit: ``12 days``, ``3 hours``, ``1 minute``."""
    for unit, unit_s in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = round(seconds / unit_s)
        if count >= (2 if unit_s > 60 else 1):
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return f"{max(0, round(seconds))} s"
