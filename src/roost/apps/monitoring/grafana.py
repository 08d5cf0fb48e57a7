"""What Grafana finds when it starts: its data sources, its dashboards, and where they lie."""

from importlib.resources import files

from roost.apps.monitoring.plan import Plan

PASSWORD_FILE = "admin-password"  # noqa: S105  # its name, not its value
_SOURCES = """\
# Written by `roost monitoring export`, which writes it anew each time.
apiVersion: 1
datasources:
  - name: Prometheus
    uid: roost-prometheus
    type: prometheus
    access: proxy
    url: {prometheus}
    isDefault: true
    editable: false
    jsonData:
      httpMethod: POST
      timeInterval: {every_s}s
      alertmanagerUid: roost-alertmanager
  - name: Alertmanager
    uid: roost-alertmanager
    type: alertmanager
    access: proxy
    url: {alertmanager}
    editable: false
    jsonData:
      implementation: prometheus
  - name: Loki
    uid: roost-loki
    type: loki
    access: proxy
    url: {loki}
    editable: false
"""
_BOARDS = """\
# Written by `roost monitoring export`, which writes it anew each time.
apiVersion: 1
providers:
  - name: roost
    folder: Roost
    type: file
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: /etc/roost-dashboards
"""


def sources_text(plan: Plan) -> str:
    """The data sources, by the ids that the dashboards name."""
    return _SOURCES.format(
        prometheus=plan.url("prometheus"), alertmanager=plan.url("alertmanager"), loki=plan.url("loki"),
        every_s=plan.every_s,
    )  # fmt: skip


def boards_text() -> str:
    """Where the dashboards lie."""
    return _BOARDS


def dashboards() -> dict[str, str]:
    """The dashboards' JSON, by the name of the file."""
    folder = files("roost.apps.monitoring.dashboards").joinpath("json")
    return {each.name: each.read_text(encoding="utf-8") for each in sorted(folder.iterdir(), key=lambda e: e.name)}
