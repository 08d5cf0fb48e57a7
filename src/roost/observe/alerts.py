"""The alerts: one list of rules, of which both the rules for Prometheus and the built-in notifier are made.

Each says when it holds, for how long it has to hold, how grave it is, what it means in words, and what to do. What a
person may want otherwise is in `Thresholds`; no threshold is written anywhere else.

*critical*: what is stored is lost or about to be, or nobody looks after it: today. *warning*: this week.
"""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from roost.observe.conditions import (
    Absent,
    Case,
    Compare,
    Increase,
    Match,
    Moment,
    Quantity,
    Select,
    Share,
    Since,
    any_expr,
    any_match,
    promql_duration,
)

Severity = Literal["critical", "warning"]
Watcher = Literal["coordinator", "node"]

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MIB, GIB = 1024**2, 1024**3
SETTLE_S = 5 * MINUTE_S
"""How long, beyond the grace, repair has before anybody is told."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a person may choose; the defaults are those of `roost.yaml`. A 0 of `scrub_every_s`, `backup_age_s` or
    `slow_rate` means that nobody wants to be told."""

    grace_s: int = 10 * MINUTE_S
    scrub_every_s: int = 30 * DAY_S
    node_down_s: int = 5 * MINUTE_S
    backup_age_s: int = 7 * DAY_S
    hot_celsius: int = 85
    slow_rate: int = MIB

    @property
    def beyond_grace_s(self) -> int:
        """How long copies may be missing: repair waits for the grace, and then needs its time."""
        return self.grace_s + min(SETTLE_S, self.grace_s)

    @property
    def scrub_overdue_s(self) -> int:
        """How old the last scrub may be: half as long again as it is every, and a day for a short one."""
        return self.scrub_every_s + max(self.scrub_every_s // 2, DAY_S)


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert. It fires for each series for which one of `cases` held for `for_s` seconds, and goes on for `keep_s`
    after that. `summary` says what is wrong, `action` what to do; in braces, the value and labels of the series.

    `watched_by` says whose built-in notifier judges it: the coordinator's, or that of a node (a dead coordinator
    cannot tell of itself).
    """

    name: str
    severity: Severity
    cases: tuple[Case, ...]
    summary: str
    action: str
    for_s: int = 0
    keep_s: int = 0
    watched_by: Watcher = "coordinator"

    @property
    def expr(self) -> str:
        """The condition for Prometheus."""
        return any_expr(self.cases)

    @property
    def compared(self) -> tuple[Compare, ...]:
        """All comparisons in it."""
        return tuple(compare for case in self.cases for compare in case.compared)

    def matches(self, moment: Moment) -> list[Match]:
        """The series for which the condition holds now."""
        return any_match(self.cases, moment)

    def words(self, match: Match) -> tuple[str, str]:
        """The summary and the action for a series."""
        labels = dict(match.labels)

        def fill(name: str, form: str) -> str:
            return FORMS[form].words(match.value) if name == "value" else labels.get(name, "?")

        return _filled(self.summary, fill), _filled(self.action, fill)

    def prometheus(self) -> dict[str, Any]:
        """The rule as an entry of a rules file."""

        def fill(name: str, form: str) -> str:
            return f"{{{{ {FORMS[form].template} }}}}" if name == "value" else f"{{{{ $labels.{name} }}}}"

        rule: dict[str, Any] = {"alert": self.name, "expr": self.expr}
        if self.for_s:
            rule["for"] = promql_duration(self.for_s)
        if self.keep_s:
            rule["keep_firing_for"] = promql_duration(self.keep_s)
        rule["labels"] = {"severity": self.severity}
        rule["annotations"] = {"summary": _filled(self.summary, fill), "description": _filled(self.action, fill)}
        return rule


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written: `words` here, `template` by Prometheus."""

    words: Callable[[float], str]
    template: str


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def _span(seconds: float) -> str:
    for unit, size in (("days", DAY_S), ("hours", HOUR_S), ("minutes", MINUTE_S)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


FORMS: Mapping[str, Form] = {
    "": Form(lambda value: f"{value:,.0f}", 'printf "%.0f" $value'),
    "bytes": Form(_bytes, 'printf "%sB" (humanize1024 $value)'),
    "share": Form(lambda value: f"{100 * value:.3g}%", "humanizePercentage $value"),
    "span": Form(_span, "humanizeDuration $value"),
}


def _filled(text: str, fill: Callable[[str, str], str]) -> str:
    return "".join(
        literal + (fill(name, form or "") if name is not None else "")
        for literal, name, form, _ in string.Formatter().parse(text)
    )


def _is(metric: str, operator: Literal[">", "<", "=="], than: float, **where: str) -> Compare:
    return Compare(_select(metric, **where), operator, than)


def _select(metric: str, **where: str) -> Select:
    return Select(metric, tuple(where.items()))


def _when(quantity: Quantity, operator: Literal[">", "<", "=="], than: float) -> Case:
    return Case(Compare(quantity, operator, than))


def _stored_as(health: str) -> tuple[Case, ...]:
    """Newest versions, or chunks of any version."""
    return tuple(Case(_is(metric, ">", 0, health=health)) for metric in ("roost_checkpoints", "roost_chunks"))


def all_rules(thresholds: Thresholds) -> tuple[Rule, ...]:
    """Every rule, the gravest first."""
    return (*_of_copies(thresholds), *_of_members(thresholds), *_of_backups(thresholds), *_of_machines(thresholds))


def rules_file(thresholds: Thresholds) -> dict[str, Any]:
    """What a rules file of Prometheus holds."""
    return {"groups": [{"name": "roost", "rules": [rule.prometheus() for rule in all_rules(thresholds)]}]}


def _of_copies(thresholds: Thresholds) -> tuple[Rule, ...]:
    return (
        Rule(
            "RoostUnrecoverable", "critical",
            _stored_as("lost"),
            "Something that is stored is LOST: every machine answers, and no good copy of some part of it is left.",
            "See what: roost ls --health, then roost show NAME. If a machine or disk with copies exists anywhere, even "
            "one that was struck off, keep it as it is and run it again: roost join. If the training still has the "
            "files, store them again: roost store PATH. Older versions may be whole: roost ls.",
            keep_s=SETTLE_S,
        ),
        Rule(
            "RoostOutOfReach", "critical",
            _stored_as("unknown"),
            "Something that is stored cannot be had now: the only copies are on machines that do not answer.",
            "See who is missing: roost nodes. Switch these machines on again; nothing has to be repaired by hand. One "
            "that will never come back: roost nodes forget NODE, and what it alone had is lost.",
            for_s=thresholds.beyond_grace_s,
        ),
        Rule(
            "RoostAtRisk", "critical",
            (Case(_is("roost_chunks", ">", 0, health="at-risk")),),
            "Chunks with only one copy left: {value}. One more machine gone, and what they belong to is lost.",
           "See which machines are missing, and which are full: roost nodes. Bring one back, free or add space, or "
            "let another machine join: roost token create. What stops repair is in roost status; to have it done at "
            "once: roost repair.",
            for_s=thresholds.beyond_grace_s,
        ),
        Rule(
            "RoostUnderReplicated", "warning",
            (Case(_is("roost_chunks", ">", 0, health="degraded")),),
            "Chunks with fewer copies than asked: {value}, for longer than repair should need.",
            "See what stops repair: roost status. Is there a machine for each copy, with space: roost nodes. To have "
            "it done at once: roost repair.",
            for_s=thresholds.beyond_grace_s,
        ),
        Rule(
            "RoostIntegrityFailure", "warning",
            (_when(Increase(_select("roost_integrity_failures_total"), HOUR_S, ("instance", "peer")), ">", 0),),
            "Bad copies found on {peer} in the last hour: {value}. Its disk did not give back what was written.",
            "They were set aside, and are made again from good copies. Look at that disk (smartctl -a), and at the "
            "memory; have everything on it read: roost scrub {peer}. When it happens again, replace the disk: roost "
            "nodes drain {peer} first.",
        ),
    )  # fmt: skip


def _of_members(thresholds: Thresholds) -> tuple[Rule, ...]:
    coordinator = _select("up", role="coordinator")
    per_peer = Increase(_select("roost_transfer_errors_total"), 5 * MINUTE_S, ("instance", "peer"))
    rules = [
        Rule(
            "RoostCoordinatorDown", "critical",
            (_when(coordinator, "==", 0), _when(Absent(coordinator), "==", 1)),
            "The coordinator does not answer: nothing is watched, repaired or told of until it is back.",
            "What is stored is safe on the nodes. On the coordinator's machine: roost service status, or roost start. "
            "Is that machine gone, any other of the cluster takes over: roost start there.",
            for_s=thresholds.node_down_s, watched_by="node",
        ),
        Rule(
            "RoostNodeDown", "warning",
            (Case(_is("roost_node_state", "==", 1, state="down")),),
            "{peer} does not answer: it is off, asleep, or cut off from the network.",
            "On that machine: roost doctor, then roost service status, or roost join. If it is gone for good: roost "
            "nodes forget {peer}. If it may sleep: a longer alerts.node_down.",
            for_s=thresholds.node_down_s,
        ),
        Rule(
            "RoostTransferErrors", "warning",
            (Case(Compare(per_peer, ">", 3)),),
            "Transfers between {instance} and {peer} keep failing: {value} in the last 5 minutes.",
            "See why: roost status, and roost doctor on both machines. A loose cable, a weak Wi-Fi or a full disk are "
            "the usual reasons.",
            for_s=15 * MINUTE_S, keep_s=10 * MINUTE_S,
        ),
    ]  # fmt: skip
    if thresholds.slow_rate:
        rate = _is("roost_operation_rate_bytes", "<", thresholds.slow_rate, kind="store|gather")
        running = _is("roost_operations_running", ">", 0, kind="store|gather")
        slow = Rule(
            "RoostSlowTransfers", "warning",
            (Case(rate, also=(running,)),),
            "A {kind} is running at only {value:bytes} a second.",
           "See what it waits for: roost status. Measure here: roost bench; look at the network: roost doctor. If "
            "this is what your network gives: a lower alerts.slow, or 0.",
            for_s=10 * MINUTE_S, keep_s=10 * MINUTE_S,
        )  # fmt: skip
        rules.append(slow)
    return tuple(rules)


def _of_backups(thresholds: Thresholds) -> tuple[Rule, ...]:
    stored = Since(_select("roost_last_success_timestamp_seconds", job="store"))
    failures = Increase(_select("roost_backup_failures_total"), HOUR_S, ("instance",))
    storing = _is("roost_operations_running", ">", 0, kind="store")  # a backlog waits for its turn
    rules = [
        Rule(
            "RoostBackupFailed", "warning",
            (Case(Compare(failures, ">", 0), unless=(Compare(stored, "<", 15 * MINUTE_S),), on=("instance",)),),
            "Backups that failed in the last hour: {value}. None has succeeded since.",
           "See why: roost status, on the coordinator's machine and on the one that trains. It is tried again by "
            "itself; to do it by hand: roost store PATH.",
            for_s=15 * MINUTE_S,
        ),
        Rule(
            "RoostWatcherStuck", "warning",
            (Case(_is("roost_watch_oldest_pending_seconds", ">", HOUR_S), unless=(storing,), on=("instance",)),),
            "Something in a watched folder has waited for {value:span} and is not stored.",
           "See what, and why: roost status. A file that its writer never finished waits for ever: remove it, or "
            "store it as it is: roost store PATH.",
            for_s=5 * MINUTE_S, keep_s=HOUR_S // 2,
        ),
    ]  # fmt: skip
    if thresholds.backup_age_s:
        old = Rule(
            "RoostBackupOld", "warning",
            (_when(stored, ">", thresholds.backup_age_s),),
            "Nothing was stored for {value:span}.",
           "If something is being trained: does it write into a watched folder, and does the watcher run? roost "
            "status. If nothing is: a longer alerts.backup_age, or 0.",
            for_s=5 * MINUTE_S,
        )  # fmt: skip
        rules.append(old)
    return tuple(rules)


def _of_machines(thresholds: Thresholds) -> tuple[Rule, ...]:
    free = _select("roost_disk_free_bytes", role="node")
    memory = Share(_select("roost_host_memory_available_bytes"), "roost_host_memory_total_bytes")
    rules = [
        Rule(
            "RoostDiskFull", "critical",
            (_when(free, "<", 256 * MIB),),
            "The disk of {instance} is full: it takes no more copies.",
           "Free space on that machine, or forget what is not needed: roost rm NAME --now. Or add a machine: roost "
            "token create.",
            for_s=5 * MINUTE_S, keep_s=5 * MINUTE_S,
        ),
        Rule(
            "RoostDiskLow", "warning",
            (Case(Compare(Share(free, "roost_disk_total_bytes"), "<", 0.10), also=(Compare(free, "<", 50 * GIB),)),),
            "The disk of {instance} is nearly full: {value:share} is left.",
           "Free space on that machine, or forget what is not needed: roost rm NAME. Or add a machine: roost token "
            "create.",
            for_s=10 * MINUTE_S, keep_s=10 * MINUTE_S,
        ),
        Rule(
            "RoostHostHot", "warning",
            (_when(_select("roost_host_temperature_celsius"), ">", thresholds.hot_celsius),),
            "The machine of {instance} is at {value} degrees Celsius.",
           "Is its fan running and its air free? A machine this hot slows down, and wears out. If it is made for "
            "that: a higher alerts.hot.",
            for_s=10 * MINUTE_S, keep_s=10 * MINUTE_S,
        ),
        Rule(
            "RoostHostMemoryLow", "warning",
            (_when(memory, "<", 0.05),),
            "The machine of {instance} has only {value:share} of its memory left.",
            "See what takes it: top. When memory runs out, the system ends programs, and Roost may be one of them.",
            for_s=10 * MINUTE_S, keep_s=10 * MINUTE_S,
        ),
    ]  # fmt: skip
    if thresholds.scrub_every_s:
        done = Compare(Since(_select("roost_last_success_timestamp_seconds", job="scrub")), ">", 0)
        late = thresholds.scrub_overdue_s
        never = Case(_is("roost_running_seconds", ">", late), unless=(done,), on=("instance",))
        overdue = Rule(
            "RoostScrubOverdue", "warning",
            (Case(Compare(done.quantity, ">", late)), never),
            "{instance} has not read back all that it keeps for {value:span}: bad copies may go unseen.",
           "A machine that is often off never gets through it: leave it on for a while, or do it now: roost scrub "
            "{instance}. Is the disk too large for scrub.rate, raise that.",
            for_s=DAY_S,
        )  # fmt: skip
        rules.append(overdue)
    return tuple(rules)
