"""Who is told of trouble, and by which way: the section `alerts` of `roost.yaml`, and what may stand in it."""

import re
from dataclasses import dataclass

import msgspec

from roost.core.errors import UsageError

SMTP_PORTS = {"smtp": 587, "smtps": 465}
_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}\Z|[0-9A-Fa-f:.]{2,45}\Z")
_MAILBOX = re.compile(r"[^\s@<>,;:\"()\\]{1,64}@[^\s@<>,;:\"()\\]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server that takes mail. With `tls_first` the connection begins with TLS (`smtps`), else by STARTTLS. With a
    `user` it asks for a password. An empty `host` is none at all."""

    host: str = ""
    port: int = 0
    user: str = ""
    tls_first: bool = False

    @classmethod
    def parse(cls, text: str) -> "MailServer":
        """``HOST:PORT``, ``smtp://USER@HOST:PORT`` or ``smtps://USER@HOST:PORT``, where all but the host may be left
        out, or nothing; UsageError for anything else, and for a password."""
        if not text:
            return cls()
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "smtp", text
        user, _, place = rest.removesuffix("/").rpartition("@")
        if ":" in user:
            raise UsageError(
                "a password does not belong into the settings",
                hint="write the user alone, and put the password into $ROOST_HOME/smtp-password",
            )
        host, port = place, ""
        if (not (place.startswith("[") and place.endswith("]")) and place.count(":") == 1) or "]:" in place:
            host, _, port = place.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        number = SMTP_PORTS.get(scheme, 0) if not port else int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
        if scheme not in SMTP_PORTS or not _HOST.match(host) or not 1 <= number <= 65535 or not user.isprintable():
            raise UsageError(
                f"not a mail server: {place[:80]!r}", hint="write one like smtp://me@example.org@smtp.example.org:587"
            )
        return cls(host, number, user, scheme == "smtps")

    def __str__(self) -> str:
        if not self.host:
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.tls_first else 'smtp'}://{self.user}{'@' if self.user else ''}{host}:{self.port}"


class Email(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts are mailed; without a host nowhere."""

    smtp: MailServer
    sender: str = msgspec.field(name="from")
    recipients: tuple[str, ...] = msgspec.field(name="to")


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """The URL that alerts are posted to (empty: none), by a template or the name of one, with headers."""

    url: str
    template: str
    headers: tuple[str, ...]


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of trouble, and of what: a machine that is gone for `node_down_s`, nothing stored for `backup_age_s`
    (0: never told), a machine hotter than `hot` degrees Celsius, transfers slower than `slow` bytes a second (0: never
    told). It is looked every `every_s`, and what lasts is told again every `repeat_s` (0: once)."""

    email: Email
    webhook: Webhook
    node_down_s: int = msgspec.field(name="node_down")
    backup_age_s: int = msgspec.field(name="backup_age")
    hot: int
    slow: int
    every_s: int = msgspec.field(name="every")
    repeat_s: int = msgspec.field(name="repeat")

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.email.smtp.host or self.webhook.url)


def mailbox(text: str) -> str:
    """`text`, if it is empty or an address of mail; else UsageError."""
    if text and not (_MAILBOX.match(text) and text.isprintable()):
        raise UsageError(f"not an address of mail: {text[:80]!r}", hint="write one like me@example.org")
    return text


def recipient(text: str) -> str:
    """`text`, if it is an address of mail; else UsageError."""
    return mailbox(text or "nobody")


def missing(alerts: Alerts) -> tuple[str, str] | None:
    """The key that is missing beside those that are set, and why; None when all is there."""
    email = alerts.email
    if email.smtp.host and not email.recipients:
        return "alerts.email.to", "alerts.email.smtp is set, and nobody to mail to"
    if not email.smtp.host and (email.recipients or email.sender):
        return "alerts.email.smtp", "alerts.email is set, and no server that takes mail"
    if email.smtp.host and not email.sender and not mail_sender(email):
        return "alerts.email.from", "alerts.email is set, and nothing says from whom the mail is"
    if not alerts.webhook.url and (alerts.webhook.template or alerts.webhook.headers):
        return "alerts.webhook.url", "alerts.webhook is set, and nothing says where to"
    return None


def mail_sender(email: Email) -> str:
    """From whom the mail is: as set, else the user of the server where that is an address; empty when neither."""
    return email.sender or (email.smtp.user if _MAILBOX.match(email.smtp.user) else "")
