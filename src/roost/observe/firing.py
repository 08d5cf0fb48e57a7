"""Which alerts fire, and what each way of telling has still to tell: begun, lasting, over; each thing once.

It decides only; the clock and what the rules found are arguments. What is kept over a restart has ages in place of
times, so that no time passes while nobody looks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from roost.observe.alerts import Rule, Severity
from roost.observe.conditions import Moment
from roost.observe.samples import Labels

RESUME_S = 300.0
"""How long, after a start, what fired before is taken to last: much is not known yet."""
FORGET_S = 86_400.0
"""How long an alert about a machine of which nothing is seen stays as it was."""
RETRY_S = (60.0, 120.0, 300.0, 900.0, 1800.0)
"""How long a way of telling that failed is left alone, the first time, the second, and so on."""
TOLD_MAX = 5000

Key = tuple[str, Labels]
"""A rule's name and the labels of a series: what tells an alert from all others."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires. `since` is in seconds since 1970, by the clock of who looks."""

    name: str
    labels: Labels
    severity: Severity
    summary: str
    action: str
    since: float

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.name, self.labels


@dataclass(slots=True)
class _Seen:
    """A series for which a rule's condition held: since when, and when last, on the clock that never goes back."""

    begun_s: float
    last_s: float
    alert: Alert
    firing: bool = False
    hold_s: float = 0.0
    """It is not over before this time."""


@dataclass(frozen=True, slots=True)
class KeptSeen:
    """What is kept of one series that a rule holds for, or held for."""

    alert: Alert
    begun_ago_s: float
    last_ago_s: float
    firing: bool


class Firing:
    """The alerts of `rules` that fire."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._seen: dict[Key, _Seen] = {}

    @property
    def alerts(self) -> list[Alert]:
        """Those that fire now, in the order of the rules, the critical ones first."""
        order = {rule.name: number for number, rule in enumerate(self._rules)}
        firing = [seen.alert for seen in self._seen.values() if seen.firing]
        return sorted(firing, key=lambda a: (a.severity != "critical", order[a.name], a.labels))

    @property
    def pending(self) -> int:
        """How many do not fire yet, but will if what they are about lasts."""
        return sum(1 for seen in self._seen.values() if not seen.firing)

    def look(self, moment: Moment) -> None:
        """Judge all rules over what is seen now."""
        shown = {sample.labels.get("instance", "") for sample in moment.samples}
        for rule in self._rules:
            found = {match.labels: match for match in rule.matches(moment)}
            for labels, match in found.items():
                seen = self._seen.get((rule.name, labels))
                since = seen.alert.since if seen is not None else moment.wall_s
                alert = Alert(rule.name, labels, rule.severity, *rule.words(match), since)
                if seen is None:
                    seen = self._seen[rule.name, labels] = _Seen(moment.now_s, moment.now_s, alert)
                seen.alert, seen.last_s = alert, moment.now_s
                seen.firing = seen.firing or moment.now_s - seen.begun_s >= rule.for_s
            for key in [key for key in self._seen if key[0] == rule.name and key[1] not in found]:
                if self._is_over(rule, self._seen[key], shown, moment.now_s):
                    del self._seen[key]

    def _is_over(self, rule: Rule, seen: _Seen, shown: Collection[str], now_s: float) -> bool:
        if now_s < seen.hold_s:
            return False
        if not seen.firing:
            return True
        instance = dict(seen.alert.labels).get("instance")
        if instance is not None and instance not in shown:  # nothing is known of it: that is not good news
            return now_s - seen.last_s > FORGET_S
        return now_s - seen.last_s >= rule.keep_s

    def kept(self, now_s: float) -> list[KeptSeen]:
        """What `restore` takes."""
        return [
            KeptSeen(seen.alert, now_s - seen.begun_s, now_s - seen.last_s, seen.firing) for seen in self._seen.values()
        ]

    def restore(self, kept: Sequence[KeptSeen], now_s: float) -> None:
        """Go on from what was kept, as if no time had passed; what there is no rule for any more is left out."""
        names = {rule.name for rule in self._rules}
        for each in kept:
            if each.alert.name in names:
                begun_s, last_s = now_s - each.begun_ago_s, now_s - each.last_ago_s
                self._seen[each.alert.key] = _Seen(begun_s, last_s, each.alert, each.firing, now_s + RESUME_S)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told at once: alerts that began, that last, and that are over."""

    begun: tuple[Alert, ...] = ()
    lasting: tuple[Alert, ...] = ()
    over: tuple[Alert, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.begun or self.lasting or self.over)


@dataclass(slots=True)
class _Told:
    alert: Alert
    at_s: float


@dataclass(slots=True)
class Ledger:
    """What one way of telling has told. What lasts is told again every `repeat_s` seconds (0: never), together with all
    else that lasts; what began and ended before it could be told is told by nobody."""

    repeat_s: float
    _told: dict[Key, _Told] = field(default_factory=dict)
    _failures: int = 0
    _not_before_s: float | None = None

    def due(self, firing: Sequence[Alert], now_s: float) -> Notice:
        """What there is to tell now: nothing while it is left alone after a failure."""
        if self._not_before_s is not None and now_s < self._not_before_s:
            return Notice()
        now = {alert.key: alert for alert in firing}
        begun = tuple(alert for key, alert in now.items() if key not in self._told)
        over = tuple(told.alert for key, told in self._told.items() if key not in now)
        old = [alert for key, alert in now.items() if key in self._told]
        due = self.repeat_s > 0 and any(now_s - self._told[alert.key].at_s >= self.repeat_s for alert in old)
        return Notice(begun, tuple(old) if due else (), over)

    def delivered(self, notice: Notice, now_s: float) -> None:
        """`notice` was told."""
        self._failures, self._not_before_s = 0, None
        for alert in notice.over:
            self._told.pop(alert.key, None)
        for alert in (*notice.begun, *notice.lasting):
            if alert.key in self._told or len(self._told) < TOLD_MAX:
                self._told[alert.key] = _Told(alert, now_s)

    def failed(self, now_s: float) -> float:
        """It could not be told: try again after so many seconds, which are returned."""
        wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._not_before_s = now_s + wait_s
        return wait_s

    def kept(self, now_s: float) -> list[tuple[Alert, float]]:
        """What `restore` takes: each alert that was told and is not over, with how long ago that was."""
        return [(told.alert, now_s - told.at_s) for told in self._told.values()]

    def restore(self, kept: Sequence[tuple[Alert, float]], now_s: float) -> None:
        """Go on from what was kept, as if no time had passed."""
        self._told = {alert.key: _Told(alert, now_s - ago_s) for alert, ago_s in kept}


def gravest(alerts: Sequence[Alert]) -> Severity | None:
    """The severity of the gravest of them."""
    if not alerts:
        return None
    return "critical" if any(alert.severity == "critical" for alert in alerts) else "warning"


def fields_of(notice: Notice) -> Mapping[str, str]:
    """What a notice is as a whole: its ``state``, ``severity`` and ``priority``."""
    alerts = (*notice.begun, *notice.lasting)
    state = "firing" if notice.begun else "repeated" if notice.lasting else "resolved"
    severity = gravest(alerts) or "info"
    return {"state": state, "severity": severity, "priority": {"critical": "5", "warning": "3", "info": "2"}[severity]}
