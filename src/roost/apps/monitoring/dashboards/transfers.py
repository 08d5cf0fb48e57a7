"""The dashboard of the transfers: how much goes between whom, how fast, what runs, and what fails."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from roost.apps.monitoring.dashboards import panels

RATE = "$__rate_interval"
PAIR = 'instance=~"$node",peer=~"$peer"'


def dashboard() -> Dashboard:
    """Who moves how much to whom. `peer` is a node's name, or ``client`` for whoever stores and gathers."""
    page = panels.page("roost-transfers", "Roost: transfers", "How much goes between whom, how fast, and what fails.",
                       since="now-1h", refresh="10s")  # fmt: skip
    page.with_variable(panels.choice("node", "Node", "label_values(roost_transfer_bytes_total, instance)"))
    page.with_variable(panels.choice("peer", "Other end", "label_values(roost_transfer_bytes_total, peer)"))
    for title, of_it in (("Operations", _operations()), ("Bytes", _bytes()), ("Chunks", _chunks())):
        page.with_row(panels.row(title))
        for panel in of_it:
            page.with_panel(panel)
    return page


def _operations() -> list[panels.Panel]:
    return [
        panels.graph("Running", {"{{kind}}": "sum by (kind) (roost_operations_running)"}, "short", stacked=True),
        panels.graph("Speed of what runs", {"{{kind}}": "sum by (kind) (roost_operation_rate_bytes)"}, "Bps"),
    ]


def _bytes() -> list[panels.Panel]:
    rate = f"rate(roost_transfer_bytes_total{{{PAIR}}}[{RATE}])"
    total = f"increase(roost_transfer_bytes_total{{{PAIR}}}[$__range])"
    return [
        panels.graph("All nodes together", {"{{direction}}": f"sum by (direction) ({rate})"}, "Bps"),
        panels.graph("Each node", {"{{instance}} {{direction}}": f"sum by (instance, direction) ({rate})"}, "Bps"),
        panels.graph("Each pair",
                     {"{{instance}} {{direction}}, {{peer}}": f"sum by (instance, direction, peer) ({rate})"}, "Bps"),
        panels.bars("In the time that is shown",
                    {"{{instance}} {{direction}}": f"sum by (instance, direction) ({total})"}, "bytes",
                    base=panels.NEUTRAL),
    ]  # fmt: skip


def _chunks() -> list[panels.Panel]:
    pair = "instance, direction, peer"
    errors = f"increase(roost_transfer_errors_total{{{PAIR}}}[{RATE}])"
    seconds = f"sum by ({pair}) (rate(roost_chunk_transfer_seconds_sum{{{PAIR}}}[{RATE}]))"
    return [
        panels.graph(
            "Speed of a chunk",
            {"{{instance}} {{direction}}, {{peer}}":
             f"sum by ({pair}) (rate(roost_transfer_bytes_total{{{PAIR}}}[{RATE}])) / {seconds}"}, "Bps",
            about="Bytes a second while a chunk is on its way: the slowest pair is the bottleneck.",
        ),
        panels.graph(
            "Time of a chunk", {
                f"{{{{direction}}}}, {share} of 100":
                f"histogram_quantile({share / 100}, sum by (le, direction)"
                f" (rate(roost_chunk_transfer_seconds_bucket{{{PAIR}}}[{RATE}])))" for share in (50, 95)
            }, "s",
        ),
        panels.graph(
            "What failed, by reason",
            {"{{reason}}": f"sum by (reason) ({errors}) or on() vector(0)"}, "short", stacked=True,
        ),
        panels.graph(
            "What failed, by the other end",
            {"{{instance}}, {{peer}}": f"sum by (instance, peer) ({errors}) or on() vector(0)"}, "short", stacked=True,
        ),
    ]  # fmt: skip
