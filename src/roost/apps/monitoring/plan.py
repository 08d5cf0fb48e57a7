"""What an export is made from: where the coordinator answers, who is told of alerts, which ports, whose logs."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from roost.core.cluster import Address
from roost.core.errors import Failed, UsageError
from roost.settings.paths import Home
from roost.settings.schema import Settings

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where who listens everywhere is reached from here
PORTS: Mapping[str, int] = {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000, "loki": 3100, "alloy": 12345}
"""Where each program of the compose file listens on loopback if nothing else is said. Loki takes the next port too."""
EVERY_S = 15
EVERY_S_MAX = 120
"""Prometheus forgets a series that it has not seen for five minutes, and a rule looks back over a few scrapes."""
_TOKEN = re.compile(r"[0-9a-f]{48}\Z")


@dataclass(frozen=True, slots=True)
class LogFolder:
    """A folder of log files, and the name that their lines get."""

    instance: str
    path: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """One export. `token` is what the coordinator wants to be shown; None on loopback. `user` runs the programs. With
    `tell` Alertmanager tells those whom the settings name, and has what their server or webhook wants to be shown."""

    coordinator: Address
    token: str | None = field(repr=False)
    settings: Settings
    logs: Sequence[LogFolder]
    user: str
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    every_s: int = EVERY_S
    tell: bool = True
    smtp_password: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    grafana_password: str = field(default="", repr=False)

    def url(self, program: str) -> str:
        """Where a program of the compose file answers."""
        return f"http://127.0.0.1:{self.ports[program]}"


def coordinator_address(home: Home, settings: Settings, given: str | None) -> Address:
    """Where the coordinator's HTTP is: `given`, else where it runs now, else where the settings say that it will.

    UsageError when that is no address, Failed when only a running coordinator could tell.
    """
    if given is not None:
        found = Address.parse(given)
    else:
        found = _running(home) or settings.api.listen
    if found.port == 0:
        raise Failed(
            "api.listen leaves the port open, and no coordinator runs in this home to tell which it took",
            hint="set a port in api.listen, or run this beside roost start",
        )
    return Address(LOOPBACK.get(found.host, found.host), found.port)


def _running(home: Home) -> Address | None:
    from roost.client.run_state import serving

    state = serving(home) if home.root.exists() else None
    page = urlsplit(state.page).netloc if state is not None else ""
    return Address.parse(page) if page else None


def coordinator_token(home: Home, settings: Settings, at: Address) -> str | None:
    """What the coordinator wants to be shown; None when it listens on loopback.

    Failed when it will want a token, and this home has none yet.
    """
    if settings.api.listen.is_loopback and at.is_loopback:
        return None
    try:
        token = home.api_token.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        token = ""
    except OSError as error:
        raise Failed(
            f"{home.api_token} cannot be read: {error.strerror}", hint="run this as who runs roost start"
        ) from None
    if not _TOKEN.match(token):
        raise Failed(
            f"the API at {at} wants a token, and {home.api_token} holds none",
            hint="start the coordinator once with its api.listen: it makes the token; then run this again",
        )
    return token


def secrets_of(home: Home, settings: Settings) -> tuple[str, str]:
    """The password of the mail server, and what stands for ``{secret}`` in the webhook; empty where none is needed.
    Failed when one is needed, and is not there or others can read it."""
    from roost.node.ways import PASSWORD_VARIABLE, SECRET_VARIABLE, secret

    alerts = settings.alerts
    hook = "".join((alerts.webhook.url, *alerts.webhook.headers))
    return (
        secret(home, home.smtp_password.name, PASSWORD_VARIABLE) if alerts.email.smtp.user else "",
        secret(home, home.webhook_secret.name, SECRET_VARIABLE) if "{secret}" in hook else "",
    )


def log_folders(home: Home) -> list[LogFolder]:
    """The folders of logs on this machine: the coordinator's, and those of the local nodes that are there now."""
    found = [LogFolder("coordinator", home.logs)] if home.logs.is_dir() else []
    numbers = sorted(int(path.name) for path in home.nodes.glob("*") if path.name.isascii() and path.name.isdigit())
    for number in numbers:
        logs = home.nodes / str(number) / "logs"
        if logs.is_dir():
            found.append(LogFolder(f"local-{number}", logs))
    return found


def ports_of(given: Sequence[str]) -> dict[str, int]:
    """The ports with those that ``NAME=PORT`` in `given` change. UsageError for anything else."""
    ports = dict(PORTS)
    for each in given:
        name, _, number = each.partition("=")
        if name not in PORTS or not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 65534:
            raise UsageError(f"not NAME=PORT: {each[:80]!r}", hint=f"NAME is one of {', '.join(PORTS)}")
        ports[name] = int(number)
    taken = [*ports.values(), ports["loki"] + 1]
    if len(set(taken)) < len(taken):
        raise UsageError("two programs would listen on one port", hint="Loki takes its port and the next one")
    return ports


def this_user() -> str:
    """Who runs this, as Docker names users: so that the programs may read what only this user may."""
    return f"{os.getuid()}:{os.getgid()}"
