"""What the commands that tell of trouble answer: alerts, who was told, and the files that watch from outside."""

import msgspec


class FiringAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that fires; `labels` say where, `since` when it began."""

    alert: str
    severity: str
    summary: str
    action: str
    labels: dict[str, str]
    since: str


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: `expr` in the language of Prometheus, which has to hold for `for_s` seconds."""

    alert: str
    severity: str
    for_s: int
    expr: str
    summary: str
    action: str


class AlertsShown(msgspec.Struct, frozen=True, kw_only=True):
    """What `roost alerts` tells. `firing` is null where nobody has looked yet; `troubles` say why someone cannot be
    told, by the way to them."""

    firing: tuple[FiringAlert, ...] | None
    troubles: dict[str, str]
    looked_at: str | None
    rules: tuple[AlertRule, ...]


class WayTried(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a test message was taken, and why not."""

    way: str
    to: str
    ok: bool
    seconds: float
    message: str
    hint: str


class AlertsTried(msgspec.Struct, frozen=True, kw_only=True):
    """What `roost alerts test` came to; `failed` counts the ways that took no message."""

    ways: tuple[WayTried, ...]
    failed: int


class MonitoringExported(msgspec.Struct, frozen=True, kw_only=True):
    """What `roost monitoring export` wrote: the folder, the files in it, the `coordinator`'s address, where each
    program will answer, and what a person should know."""

    path: str
    files: tuple[str, ...]
    coordinator: str
    urls: dict[str, str]
    notes: tuple[str, ...]
