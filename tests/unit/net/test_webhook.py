"""A webhook is posted to once, over TLS that was verified, and whatever it answers but a success is told."""

import socket
from pathlib import Path

import pytest

from receivers import Certificates, Hook
from roost.core.errors import Failed, RoostError, Unreachable
from roost.net.webhook import Poster


def error(url: str) -> RoostError:
    with pytest.raises(RoostError) as caught:
        Poster().send(url, b"x", {})
    assert caught.value.hint
    assert "s3cret" not in caught.value.message + caught.value.hint
    return caught.value


def test_it_arrives_with_headers_path_and_query() -> None:
    with Hook() as hook:
        Poster().send(f"http://127.0.0.1:{hook.port}/a/b?c=d", b"body", {"Title": "Überfällig", "X": "y"})
        posted = hook.next()
    assert (posted.path, posted.body) == ("/a/b?c=d", b"body")
    assert posted.headers["X"] == "y"
    assert posted.headers["Title"] == "=?utf-8?b?w5xiZXJmw6RsbGln?="


def test_over_tls_that_was_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = Certificates(tmp_path)
    with Hook(tls=certificates.context) as hook:
        assert "does not prove who it is" in error(f"https://localhost:{hook.port}/s3cret").message
        assert hook.posts.empty()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.trusted))
        Poster().send(f"https://localhost:{hook.port}/s3cret", b"x", {})
        assert hook.next().path == "/s3cret"


@pytest.mark.parametrize(("status", "said"), [(404, "refuses: HTTP 404 no such topic"), (302, "somewhere else now")])
def test_anything_but_a_success_is_an_error(status: int, said: str) -> None:
    with Hook(status=status, answer=b"no such\n topic") as hook:
        found = error(f"http://127.0.0.1:{hook.port}/bots3cret/send")
    assert isinstance(found, Failed)
    assert said in found.message


def test_nobody_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert isinstance(error(f"http://127.0.0.1:{port}/s3cret"), Unreachable)


def test_a_port_that_is_none_is_told() -> None:
    assert isinstance(error("http://127.0.0.1:99999/s3cret"), Failed)
