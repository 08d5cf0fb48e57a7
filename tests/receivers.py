"""Where alerts arrive in tests: a real SMTP server, with or without TLS, and a real HTTP server, each in a thread."""

import asyncio
import email
import email.policy
import http.server
import queue
import ssl
import threading
import warnings
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ARRIVE_LIMIT_S = 60.0


class Certificates:
    """An authority of our own below `folder`: `trusted` is the file that makes others trust it."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        self.trusted = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.trusted))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(self.context)


class Mailbox:
    """An SMTP server on loopback that takes all mail, of `user` with `password` if they are given. `tls` makes it offer
    STARTTLS, or begin with TLS (`tls_first`). `refuse` is what it answers to every recipient instead."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, tls_first: bool = False, user: str = "", password: str = "",
        refuse: str = "",
    ) -> None:  # fmt: skip
        self.mails: queue.Queue[EmailMessage] = queue.Queue()
        self.encrypted: list[bool] = []
        self.port = 0
        self._tls, self._tls_first, self._refuse = tls, tls_first, refuse
        self._login = (user.encode(), password.encode())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def next(self, timeout_s: float = ARRIVE_LIMIT_S) -> EmailMessage:
        """The next mail that arrives."""
        return self.mails.get(timeout=timeout_s)

    async def handle_RCPT(  # aiosmtpd names it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._refuse:
            return self._refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.encrypted.append(session.ssl is not None or self._tls_first)
        self.mails.put(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login, data.password) == self._login, handled=False)

    def _protocol(self) -> SMTP:
        login = bool(self._login[0])
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")  # it is inside of TLS
        return SMTP(
            self, tls_context=None if self._tls_first else self._tls, auth_required=login,
            authenticator=self._authenticate if login else None, auth_require_tls=not self._tls_first,
            loop=self._loop, hostname="mail.test",
        )  # fmt: skip

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __enter__(self) -> Self:
        async def listen() -> asyncio.Server:
            return await self._loop.create_server(
                self._protocol, "127.0.0.1", 0, ssl=self._tls if self._tls_first else None
            )

        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(30)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)


@dataclass
class Posted:
    """One request: its path with the query, its headers, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """An HTTP server on loopback that takes every POST and answers with `status` and `answer`."""

    status: int = 200
    answer: bytes = b"ok"
    tls: ssl.SSLContext | None = None
    posts: "queue.Queue[Posted]" = field(default_factory=queue.Queue)

    def next(self, timeout_s: float = ARRIVE_LIMIT_S) -> Posted:
        """The next request that arrives."""
        return self.posts.get(timeout=timeout_s)

    def __enter__(self) -> Self:
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server names it so
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posts.put(Posted(self.path, dict(self.headers), body))
                self.send_response(hook.status)
                self.send_header("Content-Length", str(len(hook.answer)))
                self.end_headers()
                self.wfile.write(hook.answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)
