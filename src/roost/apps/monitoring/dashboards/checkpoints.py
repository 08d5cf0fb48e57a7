"""The dashboard of the checkpoints: how they are, what is stored and gathered, what waits, what was read back."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from roost.apps.monitoring.dashboards import panels


def dashboard() -> Dashboard:
    """What was asked for: that checkpoints are stored, stay, and come back."""
    page = panels.page(
        "roost-checkpoints", "Roost: checkpoints", "How they are, what is stored and gathered, what waits."
    )
    for title, of_it in (
        ("Now", _now()),
        ("Stored and gathered", _moved()),
        ("Waiting", _waiting()),
        ("Kept", _kept()),
    ):
        page.with_row(panels.row(title))
        for panel in of_it:
            page.with_panel(panel)
    return page


def _now() -> list[panels.Panel]:
    colors = panels.HEALTH_COLORS
    healths = [
        panels.number(health.capitalize(), f'sum(roost_checkpoints{{health="{health}"}})', base=base, steps=steps)
        for health, base, steps in (
            ("healthy", panels.GOOD, ()),
            ("degraded", panels.GOOD, [(1, colors["degraded"])]),
            ("at-risk", panels.GOOD, [(1, colors["at-risk"])]),
            ("lost", panels.GOOD, [(1, colors["lost"])]),
        )
    ]
    return [
        *healths,
        panels.number("Since the last store", _since('job="store"'), "s", base=panels.NEUTRAL),
        panels.number("Backups that failed", "sum(increase(roost_backup_failures_total[$__range])) or on() vector(0)",
                      decimals=0, steps=[(1, panels.BAD)], about="In the time that is shown."),
    ]  # fmt: skip


def _since(matchers: str) -> str:
    """Seconds since a job last succeeded; none before it first did."""
    return f"time() - max(roost_last_success_timestamp_seconds{{{matchers}}})"


def _moved() -> list[panels.Panel]:
    found = []
    for kind in ("store", "gather"):
        metric = f"roost_{kind}_seconds"
        found += [
            panels.graph(
                f"{kind.capitalize()}s", {"{{result}}": f"sum by (result) (increase({metric}_count[1h]))"}, "short",
                stacked=True, about="In the hour before; those of all machines, as they are reported.",
                colors={"ok": panels.GOOD, "degraded": panels.FAIR, "failed": panels.WORST},
            ),
            panels.graph(
                f"Time of a {kind}", {
                    f"{share} of 100 within":
                    f"histogram_quantile({share / 100}, sum by (le) (increase({metric}_bucket[1h])))"
                    for share in (50, 95)
                }, "s",
            ),
        ]  # fmt: skip
    return found


def _waiting() -> list[panels.Panel]:
    return [
        panels.graph("Waiting to be stored", {"files and folders": "sum(roost_watch_pending)"}, "short",
                     about="What the watcher sees in the watched folders and has not stored."),
        panels.graph("For how long the oldest waits", {"seconds": "max(roost_watch_oldest_pending_seconds)"}, "s"),
        panels.graph(
            "Backups that failed",
            {"{{reason}}": "sum by (reason) (increase(roost_backup_failures_total[1h])) or on() vector(0)"}, "short",
            stacked=True, about="A program's or the watcher's, in the hour before.", width=24,
        ),
    ]  # fmt: skip


def _kept() -> list[panels.Panel]:
    return [
        panels.graph(
            "Bad copies found",
            {"on {{peer}}": "sum by (peer) (increase(roost_integrity_failures_total[1h])) or on() vector(0)"}, "short",
            stacked=True, about="In the hour before. Each is made again from a good one, if there is any.",
        ),
        panels.graph(
            "Copies made again",
            {"on {{peer}}": "sum by (peer) (increase(roost_repair_bytes_total[1h])) or on() vector(0)"}, "bytes",
            stacked=True, about="In the hour before.",
        ),
        panels.graph("Since the last whole scrub",
                     {"{{instance}}": 'time() - roost_last_success_timestamp_seconds{job="scrub"}'
                      ' or up{role="node"} * 0'}, "s", about="0 before the first."),
        panels.graph("Since the last repair", {"seconds": _since('job="repair"')}, "s",
                     about="Since the coordinator last looked and left nothing to be done."),
    ]  # fmt: skip
