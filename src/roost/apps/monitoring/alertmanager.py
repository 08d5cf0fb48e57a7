"""The settings of Alertmanager: to whom alerts are told, how they are gathered, and how often they are told again.

It tells the same people as the coordinator does by itself, from the section `alerts` of the settings. A webhook's own
template is not Alertmanager's to fill; what it can speak are its own JSON, Slack, Discord, and ntfy by that one's own
template.
"""

from collections.abc import Iterator
from typing import Any

from roost.apps.monitoring.plan import Plan
from roost.apps.monitoring.yaml_text import tree
from roost.core.cluster import Address
from roost.settings.alerting import mail_sender

GROUPED_BY = ("alertname", "severity")
"""Many nodes with one trouble are one message."""
ONCE_S = 10 * 365 * 86_400
"""Told again so late that it is never: Alertmanager has no word for that."""
TLS_FIRST_PORT = 465
"""The port at which Alertmanager begins with TLS; it does so at no other."""
_HEAD = "# Written by `roost monitoring export`, which writes it anew each time. It may hold secrets.\n"
_TITLE = "[Roost] {{ .Status | toUpper }}: {{ .GroupLabels.alertname }} ({{ .GroupLabels.severity }})"
_TEXT = """\
{{ range .Alerts.Firing }}{{ .Annotations.summary }}
{{ .Annotations.description }}
Since {{ .StartsAt }}

{{ end }}{{ range .Alerts.Resolved }}It is over: {{ .Annotations.summary }}
From {{ .StartsAt }} to {{ .EndsAt }}

{{ end }}"""
_AUTHORIZATION = "authorization"


def settings_text(plan: Plan) -> str:
    """alertmanager.yml. What begins, or ends, soon after each other is told together.

    When nobody is to be told, alerts are only to be seen in its page and in Grafana.
    """
    route = {
        "receiver": "people",
        "group_by": GROUPED_BY,
        "group_wait": f"{plan.every_s}s",
        "group_interval": f"{4 * plan.every_s}s",
        "repeat_interval": f"{plan.settings.alerts.repeat_s or ONCE_S}s",
    }
    return _HEAD + tree({"route": route, "receivers": [{"name": "people", **_ways(plan)}]})


def is_told(plan: Plan) -> bool:
    """Whether anybody is told of an alert."""
    return bool(_ways(plan))


def untold(plan: Plan) -> Iterator[str]:
    """What of the section `alerts` Alertmanager cannot do as the coordinator does, in words."""
    if not plan.tell:
        return
    mail, hook = plan.settings.alerts.email.smtp, plan.settings.alerts.webhook
    if mail.tls_first and mail.port != TLS_FIRST_PORT:
        yield f"Alertmanager begins with TLS at port {TLS_FIRST_PORT} only: at {mail.port} it tries STARTTLS"
    if hook.url and _webhook(plan) is None:
        yield "Alertmanager cannot fill the template of alerts.webhook: by the webhook only the coordinator tells"
    elif any(_name(header) != _AUTHORIZATION for header in hook.headers):
        yield "Alertmanager sends no headers of alerts.webhook but Authorization"


def _ways(plan: Plan) -> dict[str, Any]:
    if not plan.tell:
        return {}
    found: dict[str, Any] = {}
    if plan.settings.alerts.email.smtp.host:
        found["email_configs"] = [_mail(plan)]
    if plan.settings.alerts.webhook.url and (way := _webhook(plan)) is not None:
        kind, settings = way
        found[kind] = [settings]
    return found


def _mail(plan: Plan) -> dict[str, Any]:
    """One mail for all who are told. It is encrypted, but to a server of this machine that asks for no password."""
    email = plan.settings.alerts.email
    server = Address(email.smtp.host, email.smtp.port)
    return {
        "smarthost": str(server),
        "from": mail_sender(email),
        "to": ", ".join(email.recipients),
        "require_tls": bool(email.smtp.user) or not server.is_loopback,
        **({"auth_username": email.smtp.user, "auth_password": plan.smtp_password} if email.smtp.user else {}),
        "send_resolved": True,
        "headers": {"Subject": _TITLE},
        "text": _TEXT,
        "html": "",
    }


def _webhook(plan: Plan) -> tuple[str, dict[str, Any]] | None:
    """Which kind of receiver of Alertmanager it is, and its settings; None when it can be none."""
    hook = plan.settings.alerts.webhook
    url = hook.url.replace("{secret}", plan.webhook_secret)
    more: dict[str, Any] = {"send_resolved": True, **_authorized(plan)}
    match hook.template:
        case "":
            return "webhook_configs", {"url": url, **more}
        case "ntfy":
            return "webhook_configs", {"url": f"{url}{'&' if '?' in url else '?'}template=alertmanager", **more}
        case "slack":
            return "slack_configs", {"api_url": url, "title": _TITLE, "text": _TEXT, **more}
        case "discord":
            return "discord_configs", {"webhook_url": url, "title": _TITLE, "message": _TEXT, **more}
        case _:
            return None


def _authorized(plan: Plan) -> dict[str, Any]:
    for header in plan.settings.alerts.webhook.headers:
        if _name(header) == _AUTHORIZATION:
            value = header.partition(":")[2].strip().replace("{secret}", plan.webhook_secret)
            kind, _, credentials = value.partition(" ")
            return {"http_config": {_AUTHORIZATION: {"type": kind, "credentials": credentials}}}
    return {}


def _name(header: str) -> str:
    return header.partition(":")[0].strip().lower()
