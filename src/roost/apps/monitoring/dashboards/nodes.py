"""The dashboard of the nodes: disks, processors, memory, temperature, and how fast each moves a chunk."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from roost.apps.monitoring.dashboards import panels

NODE = 'role="node",instance=~"$node"'
RATE = "$__rate_interval"
SCRUBBED = f'time() - min(roost_last_success_timestamp_seconds{{{NODE},job="scrub"}})'


def dashboard() -> Dashboard:
    """One or many nodes, chosen by name."""
    page = panels.page("roost-nodes", "Roost: nodes", "Disks, processors, memory, temperature, and speed, by node.")
    page.with_variable(panels.choice("node", "Node", 'label_values(up{role="node"}, instance)'))
    for title, of_it in (("Now", _now()), ("The machines", _machine()), ("Chunks", _chunks())):
        page.with_row(panels.row(title))
        for panel in of_it:
            page.with_panel(panel)
    return page


def _of(metric: str, legend: str = "{{instance}}") -> dict[str, str]:
    return {legend: f"{metric}{{{NODE}}}"}


def _now() -> list[panels.Panel]:
    return [
        panels.number("Answer", f"sum(up{{{NODE}}})", base=panels.NEUTRAL,
                      about="Nodes whose metrics could be fetched."),
        panels.number("Do not answer", f"sum(1 - up{{{NODE}}})", steps=[(1, panels.WORST)]),
        panels.number("Objects", f"sum(roost_objects{{{NODE}}})", base=panels.NEUTRAL),
        panels.number("In quarantine", f"sum(roost_quarantined_objects{{{NODE}}})", steps=[(1, panels.BAD)],
                      about="Files whose bytes were not what their names say. They are kept to be looked at."),
        panels.number("Oldest whole scrub", f"{SCRUBBED} or on() vector(0)", "s", base=panels.NEUTRAL,
                      about="Since its end; 0 before the first."),
        panels.number("Longest silence", "max(roost_heartbeat_age_seconds)", "s",
                      steps=[(5, panels.FAIR), (30, panels.WORST)],
                      about="Since the coordinator last heard of a node."),
        panels.bars(
            "Disks, taken", {"{{instance}}": f"1 - roost_disk_free_bytes{{{NODE}}} / roost_disk_total_bytes{{{NODE}}}"},
            "percentunit", most=1, steps=[(0.8, panels.FAIR), (0.95, panels.WORST)],
            about="By whatever lies there. What is free is counted above the node's reserve.",
        ),
        panels.bars("Taken by Roost's objects", _of("roost_disk_used_bytes"), "bytes", base=panels.NEUTRAL),
    ]  # fmt: skip


def _machine() -> list[panels.Panel]:
    return [
        panels.graph("Temperature", _of("roost_host_temperature_celsius"), "celsius", least=None,
                     about="Of the processor, where the machine tells it. A Raspberry Pi slows down from 80 °C on."),
        panels.graph("Processors, busy", _of("roost_host_cpu_ratio"), "percentunit", most=1),
        panels.graph("Memory, available", _of("roost_host_memory_available_bytes"), "bytes"),
        panels.graph("Disk, free above the reserve", _of("roost_disk_free_bytes"), "bytes"),
        panels.graph(
            "Running for", {"{{instance}}": f"roost_running_seconds{{{NODE}}}",
                            "{{instance}}: the machine": f"time() - roost_host_boot_time_seconds{{{NODE}}}"}, "s",
            about="A line that falls to 0 is a restart.",
        ),
        panels.graph("Since it was last heard of", {"{{peer}}": 'roost_heartbeat_age_seconds{peer=~"$node"}'}, "s"),
    ]  # fmt: skip


def _chunks() -> list[panels.Panel]:
    by = "instance, direction"
    count = f"sum by ({by}) (rate(roost_chunk_transfer_seconds_count{{{NODE}}}[{RATE}]))"
    speed = (
        f"sum by ({by}) (rate(roost_transfer_bytes_total{{{NODE}}}[{RATE}]))"
        f" / sum by ({by}) (rate(roost_chunk_transfer_seconds_sum{{{NODE}}}[{RATE}]))"
    )
    return [
        panels.graph(
            "Speed of a chunk", {"{{instance}} {{direction}}": speed}, "Bps",
            about="Bytes a second while a chunk is on its way; no line where none was.",
        ),
        panels.graph(
            "Time of a chunk", {
                f"{{{{instance}}}} {{{{direction}}}}, {share} of 100":
                f"histogram_quantile({share / 100}, sum by (le, {by})"
                f" (rate(roost_chunk_transfer_seconds_bucket{{{NODE}}}[{RATE}])))" for share in (50, 95)
            }, "s",
        ),
        panels.graph("Chunks a second", {"{{instance}} {{direction}}": count}, "cps"),
        panels.graph("Objects", _of("roost_objects"), "short"),
    ]  # fmt: skip
