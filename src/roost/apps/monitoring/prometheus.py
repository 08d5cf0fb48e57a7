"""The settings of Prometheus: where it asks who is there, how often it scrapes, its rules, and whom it tells."""

from roost.apps.monitoring.plan import Plan
from roost.apps.monitoring.yaml_text import quoted, tree
from roost.node.thresholds import thresholds_of
from roost.observe.alerts import rules_file

TOKEN_FILE = "api-token"  # noqa: S105  # its name, not its value
_SETTINGS = """\
# Written by `roost monitoring export`, which writes it anew each time.
global:
  scrape_interval: {every}
  scrape_timeout: {timeout}
  evaluation_interval: {every}

rule_files: [rules.yml]

alerting:
  alertmanagers:
    - static_configs:
        - targets: [{alertmanager}]

scrape_configs:
  # The coordinator tells who is there, and fetches the metrics of the nodes itself. A node that is down stays in the
  # list, so that it is seen to be down.
  - job_name: roost
    http_sd_configs:
      - url: {discovery}
        refresh_interval: {refresh}
{authorization_in_sd}{authorization}    # Roost has a label `job` of its own (store, scrub, repair): it is kept.
    honor_labels: true
"""
_AUTHORIZATION = """\
authorization:
  credentials_file: {file}
"""


def settings_text(plan: Plan) -> str:
    """prometheus.yml."""
    every = f"{plan.every_s}s"
    authorization = _AUTHORIZATION.format(file=TOKEN_FILE) if plan.token is not None else ""
    return _SETTINGS.format(
        every=every,
        timeout=f"{min(10, plan.every_s)}s",
        refresh=f"{min(30, 2 * plan.every_s)}s",
        alertmanager=quoted(f"127.0.0.1:{plan.ports['alertmanager']}"),
        discovery=quoted(f"http://{plan.coordinator}/sd"),
        authorization_in_sd=_indented(authorization, 8),
        authorization=_indented(authorization, 4),
    )


def rules_text(plan: Plan) -> str:
    """rules.yml, of the same list of alerts by which the coordinator itself mails."""
    return "# Written by `roost monitoring export`, which writes it anew each time.\n" + tree(
        rules_file(thresholds_of(plan.settings))
    )


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}" for line in text.splitlines(keepends=True))
