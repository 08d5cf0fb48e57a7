"""A message to the outside by HTTP: one POST, whose answer must be a success."""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.header import Header
from urllib.parse import quote, urlsplit

from roost.core.errors import Failed, Unreachable

STEP_LIMIT_S = 15.0
ANSWER_BYTES_MAX = 64 * 1024
SAID_CHARACTERS_MAX = 300


@dataclass(slots=True)
class Poster:
    """Posts once. `send` blocks and may be called once; `abort`, from another thread, makes it end soon. No
    message names more of the URL than the host: the rest is often a secret."""

    _connection: http.client.HTTPConnection | None = field(default=None, init=False)
    _aborted: bool = field(default=False, init=False)

    def send(self, url: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Return when the answer is a success. Unreachable when there is none, Failed for any other, also for one that
        sends us elsewhere: nothing is posted to where nobody said."""
        try:
            host = urlsplit(url).hostname or ""
            status, said = self._post(url, data, headers)
        except ssl.SSLCertVerificationError as error:
            raise Failed(
                f"the certificate of the webhook at {host} does not prove who it is: {error.verify_message}",
                hint="is the host in alerts.webhook.url right? If its authority is your own: SSL_CERT_FILE=FILE",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            why = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
            raise Unreachable(
                f"the webhook at {host} does not answer: {why}", hint="check alerts.webhook.url, and the network"
            ) from error
        except ValueError as error:
            raise Failed(f"the webhook's URL cannot be used: {error}", hint="check alerts.webhook.url") from error
        if 300 <= status < 400:
            raise Failed(f"the webhook at {host} is somewhere else now (HTTP {status})", hint="ask for its new URL")
        if not 200 <= status < 300:
            raise Failed(
                f"the webhook at {host} refuses: HTTP {status} {said}".rstrip(),
                hint="check alerts.webhook.url, its template and headers, and the secret",
            )

    def abort(self) -> None:
        """Let `send` end with an error, if it has not ended."""
        self._aborted = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _post(self, url: str, data: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        parts = urlsplit(url)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            trust = ssl.create_default_context()
            trust.minimum_version = ssl.TLSVersion.TLSv1_2
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=STEP_LIMIT_S, context=trust
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=STEP_LIMIT_S)
        self._connection = connection
        try:
            connection.connect()
            if self._aborted:
                raise TimeoutError("it took too long")
            path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
            sent = {"User-Agent": "roost", **{name: _header(value) for name, value in headers.items()}}
            connection.request("POST", path, body=data, headers=sent)
            answer = connection.getresponse()
            said = answer.read(ANSWER_BYTES_MAX).decode("utf-8", "replace")
            return answer.status, " ".join(said.split())[:SAID_CHARACTERS_MAX]
        finally:
            connection.close()


def _header(value: str) -> str:
    """A header's value in ASCII; others as RFC 2047 has them, which ntfy reads."""
    return value if value.isascii() else Header(value, "utf-8", maxlinelen=10_000).encode()
