"""`roost alerts`: what fires, and of what is told; `roost alerts test` sends a message each way."""

import contextlib
import datetime
import platform
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results_watching import AlertRule, AlertsShown, AlertsTried, FiringAlert, WayTried
from roost.apps.cli.words import counted, printable, table
from roost.core.errors import Failed, RoostError, UsageError

if TYPE_CHECKING:
    from roost.client.alert_memory import AlertMemory
    from roost.node.ways import Message, Way
    from roost.observe.alerts import Rule
    from roost.observe.firing import Alert

HOW = "write alerts: {email: {...}} or alerts: {webhook: {...}} into roost.yaml: see docs/guides/alerts.md"


def alerts(
    context: typer.Context,
    rules: Annotated[bool, typer.Option("--rules", help="Show every rule: when it fires, and what to do.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """What fires, as the process that serves this home saw it last."""
    if context.invoked_subcommand is not None:
        if rules or home is not None or config is not None or json:
            raise UsageError("options stand at the end", hint=f"see: roost alerts {context.invoked_subcommand} --help")
        return 0
    from roost.client.alert_memory import alerts_of
    from roost.node.thresholds import thresholds_of
    from roost.observe.alerts import all_rules

    frame = Frame.of(home, config, json)
    memory = alerts_of(frame.home)
    every = all_rules(thresholds_of(frame.settings))
    shown = rule_lines(every) if rules else state_lines(memory, wanted=frame.settings.alerts.wanted)
    frame.output.result(
        AlertsShown(
            firing=tuple(firing_of(alert) for alert in memory.firing) if memory is not None else None,
            troubles=memory.troubles if memory is not None else {},
            looked_at=_time(memory.looked_at) if memory is not None and memory.looked_at else None,
            rules=tuple(rule_of(rule) for rule in every),
        ),
        shown,
    )
    return 0


def firing_of(alert: "Alert") -> FiringAlert:
    """An alert that fires, for scripts."""
    return FiringAlert(
        alert=alert.name, severity=alert.severity, summary=alert.summary, action=alert.action,
        labels=dict(alert.labels), since=_time(alert.since),
    )  # fmt: skip


def rule_of(rule: "Rule") -> AlertRule:
    """A rule for scripts."""
    return AlertRule(
        alert=rule.name, severity=rule.severity, for_s=rule.for_s, expr=rule.expr, summary=rule.summary,
        action=rule.action,
    )  # fmt: skip


def state_lines(memory: "AlertMemory | None", *, wanted: bool) -> Iterator[str]:
    """What fires, and who cannot be told."""
    if memory is None:
        yield "Nobody has looked here yet." if wanted else f"Nobody is told of anything: {HOW}."
        yield "Every rule: roost alerts --rules"
        return
    firing = memory.firing
    looked = f", as of {_time(memory.looked_at)}" if memory.looked_at else ""
    yield f"{counted(len(firing), 'alert')} firing{looked}." if firing else f"Nothing fires{looked}."
    for alert in firing:
        yield ""
        yield f"{alert.severity}: {printable(alert.summary)}"
        yield f"  What to do: {printable(alert.action)}"
        yield f"  {alert.name}, since {_time(alert.since)}"
    for way, why in memory.troubles.items():
        yield ""
        yield f"! this cannot be told by {way}: {printable(why)}"


def rule_lines(rules: "tuple[Rule, ...]") -> Iterator[str]:
    """The table of rules."""
    rows = [(rule.name, rule.severity, _lasting(rule.for_s), rule.summary) for rule in rules]
    yield from table(("ALERT", "SEVERITY", "AFTER", "SAYS"), rows)


def _lasting(seconds: int) -> str:
    from roost.settings.units import format_duration

    return format_duration(seconds) if seconds else "at once"


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- test --------------------------------------------------------------------------------------------------------------


def trial(home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False) -> int:
    """Send a message each way that the settings name, and say whether it was taken. Exit code 1 when one was not."""
    frame = Frame.of(home, config, json)
    return frame.run(_try(frame))


async def _try(frame: Frame) -> int:
    from roost.node.ways import ways_of

    ways = ways_of(frame.settings.alerts, frame.home)
    if not ways:
        raise Failed("the settings name nobody to be told", hint=HOW)
    message = _trial(frame.settings.cluster)
    outcomes = []
    for way in ways:
        frame.output.tell(f"sending to {way.to} ...")
        outcomes.append((way, time.monotonic(), await _outcome(way, message), time.monotonic()))
    rows = tuple(
        WayTried(
            way=way.name, to=way.to, ok=error is None, seconds=round(end - begun, 3),
            message=error.message if error else "", hint=error.hint if error else "",
        )
        for way, begun, error, end in outcomes
    )  # fmt: skip
    failed = sum(1 for _, _, error, _ in outcomes if error is not None)
    frame.output.result(
        AlertsTried(ways=rows, failed=failed), _outcome_lines([(way, error) for way, _, error, _ in outcomes])
    )
    return Failed.exit_code if failed else 0


async def _outcome(way: "Way", message: "Message") -> RoostError | None:
    from roost.core.runtime import SystemRuntime
    from roost.node.ways import deliver

    runtime = SystemRuntime()
    with contextlib.closing(runtime):
        try:
            await deliver(runtime, way, message)
        except RoostError as error:
            return error
    return None


def _outcome_lines(outcomes: "list[tuple[Way, RoostError | None]]") -> Iterator[str]:
    for way, error in outcomes:
        if error is None:
            yield f"{way.name}: {printable(way.to)} took it. Did it arrive?"
        else:
            yield f"{way.name}: FAILED: {printable(error.message)}"
            if error.hint:
                yield f"  {printable(error.hint)}"


def _trial(cluster: str) -> "Message":
    from roost.node.ways import Message

    machine = platform.node() or "a machine"
    return Message(
        title=f"{cluster}: test: nothing is wrong",
        text=f"This is a test of the alerts of the cluster {cluster}, sent by roost alerts test on {machine}. "
        "When something is wrong you will be told like this, with what to do.\n",
        state="test", severity="info", priority="3", cluster=cluster, machine=machine, wall_s=time.time(),
    )  # fmt: skip
