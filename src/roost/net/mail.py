"""Mail to the outside by SMTP: encrypted and to a server whose certificate was verified, or not at all.

The one exception is a server on this machine (loopback) that asks for no password: nothing leaves the machine.
"""

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid

from roost.core.cluster import Address
from roost.core.errors import Failed, RoostError, Unreachable

STEP_LIMIT_S = 15.0
"""How long the server may take for one answer."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail. `date` is in the form of RFC 5322."""

    sender: str
    recipients: Sequence[str]
    subject: str
    text: str
    date: str
    urgent: bool = False

    def message(self) -> EmailMessage:
        """It as bytes will be; no line of a header can be smuggled in, for the email package refuses that."""
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Subject"] = self.subject
        message["Date"] = self.date
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2] or "roost.invalid")
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
        if self.urgent:
            message["Importance"] = "high"
        message.set_content(self.text)
        return message


@dataclass(slots=True)
class Mailer:
    """Sends one letter to one server. `send` blocks and may be called once; `abort`, from another thread, makes it end
    soon."""

    host: str
    port: int
    tls_first: bool
    user: str
    _connection: smtplib.SMTP | None = field(default=None, init=False)
    _aborted: bool = field(default=False, init=False)

    def send(self, letter: Letter, password: str = "") -> None:
        """Return when the server has taken it for at least one recipient. Unreachable when the server cannot be reached
        or ends the conversation; Failed when it refuses, or is not encrypted as it must be."""
        try:
            with self._connected(password) as connection:
                refused = connection.send_message(letter.message(), letter.sender, list(letter.recipients))
        except smtplib.SMTPException as error:
            raise self._meaning(error) from error
        except ssl.SSLCertVerificationError as error:
            raise Failed(
                f"the certificate of {self._place} does not prove who it is: {error.verify_message}",
                hint="is it the right name in alerts.email.smtp? If its authority is your own: SSL_CERT_FILE=FILE",
            ) from error
        except OSError as error:
            raise Unreachable(
                f"{self._place} does not answer: {error.strerror or error}",
                hint="are alerts.email.smtp's host and port right, and does the network let it out? Some block port 25",
            ) from error
        if refused:
            told = "; ".join(f"{who}: {_said(why)}" for who, why in refused.items())
            raise Failed(f"{self._place} does not take mail for {told}", hint="check alerts.email.to")

    def abort(self) -> None:
        """Let `send` end with an error, if it has not ended."""
        self._aborted = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    @property
    def _place(self) -> str:
        return f"the mail server {Address(self.host, self.port)}"

    @contextlib.contextmanager
    def _connected(self, password: str) -> Iterator[smtplib.SMTP]:
        trust = ssl.create_default_context()
        trust.minimum_version = ssl.TLSVersion.TLSv1_2
        connection: smtplib.SMTP
        if self.tls_first:
            connection = smtplib.SMTP_SSL(self.host, self.port, timeout=STEP_LIMIT_S, context=trust)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=STEP_LIMIT_S)
        self._connection = connection
        try:
            if self._aborted:
                raise TimeoutError("it took too long")
            connection.ehlo_or_helo_if_needed()
            if not self.tls_first and not (Address(self.host, self.port).is_loopback and not self.user):
                self._start_tls(connection, trust)
            if self.user:
                self._log_in(connection, password)
            yield connection
            with contextlib.suppress(smtplib.SMTPException, OSError):  # it has the mail; how it parts is its affair
                connection.quit()
        finally:
            connection.close()

    def _log_in(self, connection: smtplib.SMTP, password: str) -> None:
        try:
            connection.login(self.user, password)
        except UnicodeEncodeError:
            raise Failed(
                "user and password for mail may have only the letters of ASCII",
                hint="let the mail server give you another password, such as an app password",
            ) from None

    def _start_tls(self, connection: smtplib.SMTP, trust: ssl.SSLContext) -> None:
        if not connection.has_extn("starttls"):
            raise Failed(
                f"{self._place} does not offer STARTTLS, and nothing is sent to it unencrypted",
                hint=f"use its port for encrypted mail (587, or smtps://{self.host}:465)",
            )
        connection.starttls(context=trust)
        connection.ehlo()

    def _meaning(self, error: smtplib.SMTPException) -> RoostError:
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return Failed(
                f"{self._place} refuses user and password: {_said((error.smtp_code, error.smtp_error))}",
                hint="check the user in alerts.email.smtp and the password in $ROOST_HOME/smtp-password; Gmail and "
                "others want an app password",
            )
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            told = "; ".join(f"{who}: {_said(why)}" for who, why in error.recipients.items())
            return Failed(f"{self._place} does not take mail for {told}", hint="check alerts.email.to")
        if isinstance(error, smtplib.SMTPSenderRefused):
            return Failed(
                f"{self._place} does not take mail from {error.sender}: {_said((error.smtp_code, error.smtp_error))}",
                hint="check alerts.email.from; most servers want a user: smtp://USER@HOST:PORT",
            )
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return Failed(f"{self._place} cannot do what is asked: {error}", hint="is it a server for sending mail?")
        if isinstance(error, smtplib.SMTPResponseException):
            said = _said((error.smtp_code, error.smtp_error))
            return Failed(f"{self._place} refuses: {said}", hint="what it says tells why; it is tried again later")
        return Unreachable(f"{self._place} ended the conversation: {error}", hint="it is tried again later")


def _said(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())[:300]}"
