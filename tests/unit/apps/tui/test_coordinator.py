"""What the live view asks of the coordinator over HTTP, and what it makes of answers that are wrong or do not come."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.apps.tui.coordinator import Coordinator

OPERATION = (
    b'{"id": "1", "kind": "store", "name": "a/b", "from": "desk", "begun_at": "2025-01-31T12:00:00Z",'
    b' "state": "running", "bytes_done": 5, "bytes_total": null, "rate": null, "waits_for": "pi-1", "seconds": 1.5,'
    b' "message": "", "new": 1}'
)
STREAM = (
    b'id: 1\nevent: stored\ndata: {"at": 7, "text": "a/b is stored", "name": "a/b"}\n\n'
    b": nothing new\n\n"
    b'id: 2\nevent: operation\ndata: {"id": "1"}\n\n'
    b"id: 3\nevent: odd\ndata: no JSON\n\n"
    b'id: 4\nevent: node-down\ndata: {"at": 9, "text": "pi-1 is down"}\n\n'
)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers from `server.answers`; the event stream stays open until the server closes."""

    def do_GET(self) -> None:
        """What was asked."""
        server: Any = self.server
        server.tokens.append(self.headers.get("Authorization"))
        status, body = server.answers.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.path == "/api/v1/events":
            server.over.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(answers: dict[str, tuple[int, bytes]]) -> Iterator[Any]:
    """A server of these answers, by path; `url` is where."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.handle_error = lambda *_: None  # who asked may be gone
    server.answers, server.tokens, server.over = answers, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def coordinator(answers: dict[str, tuple[int, bytes]], token: Path) -> Iterator[tuple[Coordinator, Any]]:
    """A coordinator that answers so."""
    with serving(answers) as server:
        asked = Coordinator(server.url, token)
        try:
            yield asked, server
        finally:
            asked.close()


def until(holds: Callable[[], bool]) -> None:
    turn = threading.Event()
    for _ in range(1000):
        if holds():
            return
        turn.wait(0.01)
    raise AssertionError("it never held")


def test_operations(tmp_path: Path) -> None:
    answers = {"/api/v1/operations": (200, b'{"operations": [' + OPERATION + b"]}")}
    with coordinator(answers, tmp_path / "none") as (asked, _):
        operations = asked.operations()
        assert operations is not None
        assert [(each.origin, each.bytes_done, each.waits_for) for each in operations] == [("desk", 5, "pi-1")]


@pytest.mark.parametrize("answer", [(404, b""), (200, b"<html>"), (200, b'{"operations": [{}]}'), (401, b"{}")])
def test_an_answer_that_is_none_is_not_taken(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    with coordinator({"/api/v1/operations": answer}, tmp_path / "none") as (asked, _):
        assert asked.operations() is None


def test_events_as_they_come_the_newest_first(tmp_path: Path) -> None:
    with coordinator({"/api/v1/events": (200, STREAM)}, tmp_path / "none") as (asked, _):
        until(lambda: len(asked.events()) == 2)
        assert [(each.at, each.kind, each.text) for each in asked.events()] == [
            (9, "node-down", "pi-1 is down"), (7, "stored", "a/b is stored"),
        ]  # fmt: skip


def test_closing_does_not_wait_for_the_next_event(tmp_path: Path) -> None:
    before = threading.active_count()
    with coordinator({"/api/v1/events": (200, STREAM)}, tmp_path / "none") as (asked, _):
        until(lambda: len(asked.events()) == 2)
        asked.close()
        until(lambda: not any(thread.name == "events" for thread in threading.enumerate()))
    assert threading.active_count() == before


def test_the_token_is_shown(tmp_path: Path) -> None:
    token = tmp_path / "api-token"
    token.write_text("ab" * 24 + "\n")
    with coordinator({}, token) as (asked, server):
        assert asked.operations() is None
        assert f"Bearer {'ab' * 24}" in server.tokens


def test_nobody_there(tmp_path: Path) -> None:
    with serving({}) as server:
        url = server.url
    asked = Coordinator(url, tmp_path / "none")
    try:
        assert asked.operations() is None
        assert asked.events() == ()
    finally:
        asked.close()
