"""The words in which alerts are told: a title, and what is wrong, since when, and what to do."""

import datetime
from collections.abc import Iterator, Sequence

from roost.observe.firing import Alert, Notice

TOLD_MAX = 20
"""Alerts that one message spells out; of more it tells how many."""
TITLE_CHARACTERS_MAX = 120


def title_of(notice: Notice, *, cluster: str) -> str:
    """One line: how grave it is, and what. ``home: CRITICAL: pi-2 does not answer ... (and 2 more)``."""
    firing = (*notice.begun, *notice.lasting)
    shown = notice.begun or notice.lasting or notice.over
    word = "over" if not firing else "CRITICAL" if any(a.severity == "critical" for a in shown) else "warning"
    if firing and not notice.begun:
        word = f"still {word}"
    more = len(notice.begun) + len(notice.lasting) + len(notice.over) - 1
    text = plain(f"{cluster}: {word}: {shown[0].summary}")
    tail = f" (and {more} more)" if more else ""
    most = TITLE_CHARACTERS_MAX - len(tail)
    return (text if len(text) <= most else f"{text[: most - 3].rstrip()}...") + tail


def text_of(notice: Notice, *, wall_s: float, machine: str) -> str:
    """All of it, for people."""
    parts = [
        *_part("", notice.begun, wall_s, with_action=True),
        *_part("Still so:", notice.lasting, wall_s, with_action=not notice.begun),
        *_part("Over:", notice.over, wall_s, with_action=False),
        f"Told by Roost on {plain(machine)}, {_at(wall_s)}. How it is now: roost status.",
    ]
    return "\n\n".join(parts) + "\n"


def _part(heading: str, alerts: Sequence[Alert], wall_s: float, *, with_action: bool) -> Iterator[str]:
    if alerts and heading:
        yield heading
    for alert in alerts[:TOLD_MAX]:
        severity = "CRITICAL" if alert.severity == "critical" else "warning"
        since = f"{alert.name}, since {_at(alert.since)} ({_span(wall_s - alert.since)})"
        if heading == "Over:":
            yield f"{plain(alert.summary)}\n  That is over. {since}"
        else:
            action = f"\n  What to do: {plain(alert.action)}" if with_action else ""
            yield f"{severity}: {plain(alert.summary)}{action}\n  {since}"
    if len(alerts) > TOLD_MAX:
        yield f"and {len(alerts) - TOLD_MAX} more"


def plain(text: str) -> str:
    """`text` on one line, without what no line of a message may hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _at(wall_s: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(wall_s, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def _span(seconds: float) -> str:
    for bound, size, unit in ((172_800, 86_400, "days"), (7_200, 3_600, "hours"), (120, 60, "minutes")):
        if seconds >= bound:
            return f"for {seconds / size:.0f} {unit}"
    return "just now" if seconds < 60 else "for a minute"
