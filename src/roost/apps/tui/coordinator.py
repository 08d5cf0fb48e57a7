"""What the coordinator of this home tells beside what the nodes do: operations wherever they run, and events as they
come. Asked over its own HTTP, on this machine."""

import collections
import contextlib
import http.client
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from roost.node.operations import OperationRow

LIMIT_S = 3.0
FOLLOW_LIMIT_S = 60.0
"""Longer than the coordinator is silent: it says every 15 s that there is nothing new."""
AGAIN_S = 2.0
EVENTS_MAX = 200
ANSWER_BYTES_MAX = 4 * 1024 * 1024


class Happened(msgspec.Struct, frozen=True):
    """An event: seconds since 1970, its kind, and what happened in words."""

    at: int
    text: str
    kind: str = ""


class _Operations(msgspec.Struct, frozen=True):
    operations: tuple[OperationRow, ...]


class Coordinator:
    """The coordinator whose page is at `page`; whoever asks shows the token in the file `token`, if there is one.

    The methods block, for `LIMIT_S` at most, and never raise. Close it when done.
    """

    def __init__(self, page: str, token: Path) -> None:
        self.page = page
        self._token = token
        self._events: collections.deque[Happened] = collections.deque(maxlen=EVENTS_MAX)
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        threading.Thread(target=self._follow_on, name="events", daemon=True).start()

    def close(self) -> None:
        """Ask nothing any more. Idempotent."""
        self._closed.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def events(self) -> Sequence[Happened]:
        """The last events, the newest first. Waits for nothing."""
        return tuple(reversed(self._events.copy()))

    def operations(self) -> Sequence[OperationRow] | None:
        """What runs and what ended lately, as it tells; None when it does not."""
        told = self._ask("/api/v1/operations")
        try:
            return msgspec.json.decode(told, type=_Operations).operations if told is not None else None
        except msgspec.DecodeError:
            return None

    def _ask(self, path: str) -> bytes | None:
        try:
            with contextlib.closing(self._connection(LIMIT_S)) as connection:
                connection.request("GET", path, headers=self._headers())
                answer = connection.getresponse()
                return answer.read(ANSWER_BYTES_MAX) if answer.status == http.client.OK else None
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def _connection(self, limit_s: float) -> http.client.HTTPConnection:
        address = urlsplit(self.page)
        return http.client.HTTPConnection(address.hostname or "", address.port, timeout=limit_s)

    def _headers(self) -> dict[str, str]:
        try:
            return {"Authorization": f"Bearer {self._token.read_text(encoding='ascii').strip()}"}
        except (OSError, ValueError):
            return {}

    # -- events ------------------------------------------------------------------------------------------------------

    def _follow_on(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
                self._follow()
            self._closed.wait(AGAIN_S)

    def _follow(self) -> None:
        """Take events until the connection ends. One that was started again counts anew, so all are taken anew."""
        with contextlib.closing(self._connection(FOLLOW_LIMIT_S)) as connection:
            connection.connect()
            self._socket = connection.sock
            if self._closed.is_set():
                return
            connection.request("GET", "/api/v1/events", headers=self._headers())
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                return
            self._events.clear()
            kind = ""
            while line := answer.readline(ANSWER_BYTES_MAX):
                name, _, value = line.decode(errors="replace").rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind != "operation":
                    self._take(kind, value)

    def _take(self, kind: str, data: str) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.json.decode(data, type=Happened)
            self._events.append(Happened(told.at, told.text, kind))
