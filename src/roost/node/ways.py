"""The ways by which alerts are told: mail and a webhook, as the settings have them, each with its secret.

Secrets are in no settings: the environment has them, or a file in the home that only its owner reads.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

from roost.core.errors import Failed, NotFound, Unreachable
from roost.core.runtime import Runtime
from roost.disk.durable import read_small
from roost.disk.posix import PosixDisk
from roost.net.mail import Letter, Mailer
from roost.net.webhook import Poster
from roost.settings.alerting import Alerts, Email, Webhook, mail_sender
from roost.settings.paths import Home
from roost.settings.template import fill, fill_body, headers_of

SEND_LIMIT_S = 60.0
SECRET_BYTES_MAX = 4096
PASSWORD_VARIABLE = "ROOST_SMTP_PASSWORD"  # noqa: S105  # its name, not its value
SECRET_VARIABLE = "ROOST_WEBHOOK_SECRET"  # noqa: S105  # the same


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: a line, all of it in words, and what it is as a whole. `state` is firing, repeated, resolved or
    test; `priority` a digit."""

    title: str
    text: str
    state: str
    severity: str
    priority: str
    cluster: str
    machine: str
    wall_s: float


class Sending(Protocol):
    """One attempt to tell."""

    def send(self) -> None:
        """Return when it is told; RoostError when it cannot be. Blocks."""
        ...

    def abort(self) -> None:
        """Let `send` end soon; from another thread."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """One way: its name, to whom it leads (nothing secret), and how an attempt to tell a message is begun."""

    name: str
    to: str
    begin: Callable[[Message], Sending]


def ways_of(alerts: Alerts, home: Home) -> list[Way]:
    """Those that the settings name."""
    ways = []
    if alerts.email.smtp.host:
        ways.append(
            Way("email", ", ".join(alerts.email.recipients), lambda message: _Mail(alerts.email, home, message))
        )
    if alerts.webhook.url:
        host = alerts.webhook.url.partition("://")[2].partition("/")[0].partition("?")[0]
        ways.append(Way("webhook", host, lambda message: _Post(alerts.webhook, home, message)))
    return ways


async def deliver(runtime: Runtime, way: Way, message: Message, *, taken: Callable[[], None] = lambda: None) -> None:
    """Tell `message`; RoostError when that is not possible within a minute. Cancelling ends it soon. `taken` is called
    once it is told, also when it was cancelled in that moment."""
    sending = way.begin(message)
    sent = False

    async def work() -> None:
        nonlocal sent
        sending.send()
        sent = True

    try:
        async with runtime.timeout(SEND_LIMIT_S):
            await runtime.carry(work, cancel=sending.abort)
    except TimeoutError:
        if not sent:
            raise Unreachable(
                f"{way.to} did not take it within {SEND_LIMIT_S:.0f} s", hint="it is tried again later"
            ) from None
    finally:
        if sent:
            taken()


class _Mail:
    """One mail."""

    def __init__(self, email: Email, home: Home, message: Message) -> None:
        self._email = email
        self._home = home
        self._message = message
        server = email.smtp
        self._mailer = Mailer(server.host, server.port, server.tls_first, server.user)
        self.abort = self._mailer.abort

    def send(self) -> None:
        password = ""
        if self._email.smtp.user:
            password = secret(self._home, self._home.smtp_password.name, PASSWORD_VARIABLE)
        message = self._message
        letter = Letter(
            mail_sender(self._email), self._email.recipients, f"[roost] {message.title}", message.text,
            formatdate(message.wall_s), urgent=message.severity == "critical",
        )  # fmt: skip
        self._mailer.send(letter, password)


class _Post:
    """One post to a webhook."""

    def __init__(self, webhook: Webhook, home: Home, message: Message) -> None:
        self._webhook = webhook
        self._home = home
        self._message = message
        self._poster = Poster()
        self.abort = self._poster.abort

    def send(self) -> None:
        hook, message = self._webhook, self._message
        wanted = "{secret}" in "".join((hook.url, hook.template, *hook.headers))
        fields = {
            "title": message.title, "text": message.text, "state": message.state, "severity": message.severity,
            "priority": message.priority, "cluster": message.cluster, "machine": message.machine,
            "secret": secret(self._home, self._home.webhook_secret.name, SECRET_VARIABLE) if wanted else "",
        }  # fmt: skip
        body = fill_body(hook.template, fields)
        headers = {"Content-Type": body.content_type, **headers_of(hook.template, hook.headers, fields)}
        self._poster.send(fill(hook.url, fields), body.data, headers)


def secret(home: Home, name: str, variable: str) -> str:
    """What the environment has as `variable`, else the file `name` in the home. Failed when neither has anything, or
    others can read the file. Blocks."""
    if given := os.environ.get(variable):
        return given
    disk = PosixDisk(home.root)
    try:
        file = disk.open_read(name)
        mode = file.info().mode
        file.close()
        kept = read_small(disk, name, bytes_max=SECRET_BYTES_MAX).decode("utf-8", "replace").strip()
    except NotFound:
        kept, mode = "", 0o600
    if mode & 0o077:
        raise Failed(f"others can read {home.root / name}", hint=f"chmod 600 {home.root / name}")
    if not kept:
        raise Failed(f"there is no secret in {home.root / name}", hint=f"write it there (chmod 600), or set {variable}")
    return kept
