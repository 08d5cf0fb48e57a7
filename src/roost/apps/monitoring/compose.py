"""The compose file: five programs, each pinned, on the host's network and its loopback address alone.

The host's network, because the coordinator answers on loopback and nobody but this machine, and a name such as
``host.docker.internal`` is none of this machine's to its guard (`apps/api/guard.py`). The programs run as who exported,
so that what only that user may read (tokens, passwords, logs) need not be opened to others.
"""

from roost.apps.monitoring.loki import LOGS
from roost.apps.monitoring.plan import Plan
from roost.apps.monitoring.yaml_text import quoted

IMAGES = {
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
    "ALERTMANAGER_IMAGE": "prom/alertmanager:v0.28.1",
    "GRAFANA_IMAGE": "grafana/grafana:11.6.0",
    "LOKI_IMAGE": "grafana/loki:3.4.2",
    "ALLOY_IMAGE": "grafana/alloy:v1.8.1",
}
DATA = ("prometheus", "alertmanager", "grafana", "loki", "alloy")
"""Each program keeps what it keeps in a folder of this name below ``data``."""
_COMPOSE = """\
# Written by `roost monitoring export`, which writes it anew each time. What you change belongs into
# compose.override.yaml.
#
#   docker compose up -d      start, and start again at every boot
#   docker compose ps         is all running
#   docker compose down       stop; what was measured stays in ./data
#
# All of it answers on 127.0.0.1 only. Docker Desktop (macOS, Windows): switch on "Enable host networking" in its
# settings. Docker without root, or Podman: ROOST_USER=0:0 docker compose up -d.
name: roost-monitoring

x-each: &each
  network_mode: host
  user: ${ROOST_USER:-@USER@}
  restart: unless-stopped
  security_opt: ["no-new-privileges:true"]

services:
  prometheus:
    <<: *each
    image: @PROMETHEUS_IMAGE@
    command:
      - --config.file=/etc/prometheus/prometheus.yml
      - --storage.tsdb.path=/prometheus
      - --storage.tsdb.retention.time=180d
      - --storage.tsdb.retention.size=4GB
      - --web.listen-address=127.0.0.1:@PROMETHEUS@
    volumes:
      - ./prometheus:/etc/prometheus:ro
      - ./data/prometheus:/prometheus

  alertmanager:
    <<: *each
    image: @ALERTMANAGER_IMAGE@
    command:
      - --config.file=/etc/alertmanager/alertmanager.yml
      - --storage.path=/alertmanager
      - --web.listen-address=127.0.0.1:@ALERTMANAGER@
      - --cluster.listen-address=
    volumes:
      - ./alertmanager:/etc/alertmanager:ro
      - ./data/alertmanager:/alertmanager

  grafana:
    <<: *each
    image: @GRAFANA_IMAGE@
    environment:
      GF_SERVER_HTTP_ADDR: 127.0.0.1
      GF_SERVER_HTTP_PORT: "@GRAFANA@"
      # A page of another site cannot pretend to be this one.
      GF_SERVER_DOMAIN: localhost
      GF_SERVER_ENFORCE_DOMAIN: "true"
      # Who is on this machine may look; who changes something is admin, with the password in grafana/@PASSWORD_FILE@.
      GF_AUTH_ANONYMOUS_ENABLED: "true"
      GF_AUTH_ANONYMOUS_ORG_ROLE: Viewer
      GF_SECURITY_ADMIN_PASSWORD__FILE: /etc/roost-@PASSWORD_FILE@
      GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: /etc/roost-dashboards/cluster.json
      GF_ANALYTICS_REPORTING_ENABLED: "false"
      GF_ANALYTICS_CHECK_FOR_UPDATES: "false"
      GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES: "false"
      GF_PLUGINS_PREINSTALL_DISABLED: "true"
    volumes:
      - ./grafana/provisioning:/etc/grafana/provisioning:ro
      - ./grafana/dashboards:/etc/roost-dashboards:ro
      - ./grafana/@PASSWORD_FILE@:/etc/roost-@PASSWORD_FILE@:ro
      - ./data/grafana:/var/lib/grafana

  loki:
    <<: *each
    image: @LOKI_IMAGE@
    command: [-config.file=/etc/loki/loki.yaml]
    volumes:
      - ./loki:/etc/loki:ro
      - ./data/loki:/loki

  # Reads the logs of Roost on this machine, and hands them to Loki.
  alloy:
    <<: *each
    image: @ALLOY_IMAGE@
    command:
      - run
      - /etc/alloy/config.alloy
      - --server.http.listen-addr=127.0.0.1:@ALLOY@
      - --storage.path=/var/lib/alloy
      - --disable-reporting
    volumes:
      - ./alloy:/etc/alloy:ro
      - ./data/alloy:/var/lib/alloy
"""
_LOG_FOLDER = """\
      - type: bind
        source: {source}
        target: {target}
        read_only: true
        bind: {{create_host_path: false}}
"""


def compose_text(plan: Plan, *, password_file: str) -> str:
    """compose.yaml."""
    text = _COMPOSE
    for name, value in (*IMAGES.items(), ("PASSWORD_FILE", password_file), ("USER", plan.user)):
        text = text.replace(f"@{name}@", value)
    for name, port in plan.ports.items():
        text = text.replace(f"@{name.upper()}@", str(port))
    for folder in plan.logs:
        source = quoted(str(folder.path).replace("$", "$$"))  # a single one would be a variable
        text += _LOG_FOLDER.format(source=source, target=f"{LOGS}/{folder.instance}")
    return text
