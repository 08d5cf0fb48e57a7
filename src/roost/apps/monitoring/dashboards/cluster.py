"""The dashboard of the cluster as a whole: is everything safe, who is here, what happens."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from roost.apps.monitoring.dashboards import panels

STATE = (("alive", panels.GOOD), ("suspect", panels.FAIR), ("down", panels.WORST), ("draining", panels.NEUTRAL),
         ("left", "text"))  # fmt: skip
"""The states of a node, in the order of the numbers that `STATE_NUMBER` makes of them."""
STATE_NUMBER = "sum by (peer) ({})".format(
    " or ".join(f'roost_node_state{{state="{name}"}} * {number}' for number, (name, _) in enumerate(STATE))
)


def dashboard() -> Dashboard:
    """Is everything safe, who is here, what happens."""
    page = panels.page("roost-cluster", "Roost: cluster", "Is everything safe, who is here, what happens.")
    for panel in (*_verdict(), *_health(), *_work()):
        page.with_panel(panel)
    return page


def _verdict() -> list[panels.Panel]:
    one_is_bad = [(1, panels.WORST)]
    return [
        panels.number(
            "Checkpoints in danger", 'sum(roost_checkpoints{health=~"at-risk|lost"})', steps=one_is_bad,
            about="Newest versions of which a chunk has one copy left, or none.",
        ),
        panels.number("Chunks lost", 'sum(roost_chunks{health="lost"})', steps=one_is_bad,
                      about="No good copy was found at the last look, which is once a minute."),
        panels.number("Nodes not alive", 'sum(roost_node_state{state=~"suspect|down"})', steps=[(1, panels.WORST)]),
        panels.number("Alerts", 'count(ALERTS{alertstate="firing"}) or on() vector(0)', steps=one_is_bad),
        panels.number("Checkpoints", "sum(roost_checkpoints)", base=panels.NEUTRAL),
        panels.words("Version", 'roost_build_info{role="coordinator"}', "version"),
        panels.rows(
            "Alerts that fire", 'ALERTS{alertstate="firing"}', hidden=["alertstate", "__metrics_path__"],
            about="What Prometheus holds to be wrong now. Alertmanager tells people of it.",
        ),
    ]  # fmt: skip


def _health() -> list[panels.Panel]:
    return [
        panels.states("Nodes", {"{{peer}}": STATE_NUMBER}, STATE, about="What the coordinator holds of each."),
        panels.graph(
            "Checkpoints", {"{{health}}": "sum by (health) (roost_checkpoints)"}, "short", stacked=True,
            colors=panels.HEALTH_COLORS, about="The newest version of each name, by how it is.",
        ),
        panels.graph(
            "Chunks", {"{{health}}": "sum by (health) (roost_chunks)"}, "short", stacked=True,
            colors=panels.HEALTH_COLORS,
        ),
    ]  # fmt: skip


def _work() -> list[panels.Panel]:
    return [
        panels.graph(
            "Running now", {"{{kind}}": "sum by (kind) (roost_operations_running)"}, "short", stacked=True,
            about="Stores, gathers and others, wherever they run, as they are reported to the coordinator.",
        ),
        panels.graph("Speed of what runs", {"{{kind}}": "sum by (kind) (roost_operation_rate_bytes)"}, "Bps"),
        panels.graph(
            "Repair", {"to {{peer}}": "sum by (peer) (rate(roost_repair_bytes_total[$__rate_interval]))"
                       " or on() vector(0)"}, "Bps", stacked=True, about="Bytes of the copies made again.",
        ),
        panels.bars(
            "Free space", {"{{instance}}": 'roost_disk_free_bytes{role="node"}'}, "bytes", base=panels.NEUTRAL,
            about="Above each node's reserve. Nodes on one disk each count all of it.",
        ),
    ]  # fmt: skip
