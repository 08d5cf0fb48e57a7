"""Who may ask the API: on loopback programs and browsers of this machine; at any other address who has the token.

A browser carries requests of foreign pages too. So on loopback the host that was asked for must be a name of this
machine (a foreign name that was pointed at 127.0.0.1 is none), and what changes something must come from our own page
or from no page at all.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
BEARER = "bearer "
COOKIE = "roost_token"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered, and with which status."""

    status: int
    code: str
    message: str
    hint: str


def refusal(method: str, headers: dict[str, str], token: str | None) -> Refusal | None:
    """Whether a request with these headers (lower-case names) is refused; `token` is None on loopback."""
    host = headers.get("host", "")
    if token is None and not _is_here(host):
        return Refusal(403, "not-admitted", f"{host[:80]!r} is not this machine", "ask 127.0.0.1 or localhost")
    if token is not None and not _is_same(_token_of(headers), token):
        hint = "send it as: Authorization: Bearer TOKEN; in a browser open /?token=TOKEN once"
        return Refusal(401, "not-admitted", "the token is missing or wrong", hint)
    origin = headers.get("origin")
    if method not in SAFE and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return Refusal(403, "not-admitted", "this was asked by a page of another site", "ask from the page of Roost")
    return None


def _token_of(headers: dict[str, str]) -> str:
    given = headers.get("authorization", "")
    if given.lower().startswith(BEARER):
        return given[len(BEARER) :]
    crumbs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return next((value for name, _, value in crumbs if name == COOKIE), "")


def _is_same(said: str, token: str) -> bool:
    return hmac.compare_digest(said.encode(), token.encode())


def _is_here(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Answers in the place of `app` what is refused. An ASGI application."""

    def __init__(self, app: App, *, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._token is not None and self._shows_token(scope):
                await self._let_in(send)
                return
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            found = refusal(scope["method"], headers, self._token)
            if found is not None:
                from roost.apps.api.answers import error_answer

                await error_answer(found.status, found.code, found.message, found.hint)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _shows_token(self, scope: Scope) -> bool:
        """Whether a browser brings the token in the address of the page."""
        said = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        return scope["path"] == "/" and self._token is not None and _is_same(said, self._token)

    async def _let_in(self, send: Send) -> None:
        """Keep the token in a cookie, which no script and no other site gets, and take it out of the address."""
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
