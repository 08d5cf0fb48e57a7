"""Mail goes to a server that proved who it is, encrypted, or not at all; each refusal says what to do."""

import socket
import threading
from pathlib import Path

import pytest

from receivers import Certificates, Mailbox
from roost.core.errors import Failed, RoostError, Unreachable
from roost.net.mail import Letter, Mailer

LETTER = Letter(
    "me@example.org", ("you@example.org", "him@example.org"), "Überfällig: pi-1", "Etwas fehlt.\n.\nEnde\n",
    "Tue, 18 May 2027 08:00:00 -0000", urgent=True,
)  # fmt: skip


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    found = Certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.trusted))
    return found


def send(port: int, *, host: str = "localhost", user: str = "", password: str = "", tls_first: bool = False) -> None:
    Mailer(host, port, tls_first, user).send(LETTER, password)


def error(port: int, **how: object) -> RoostError:
    with pytest.raises(RoostError) as caught:
        send(port, **how)  # type: ignore[arg-type]
    assert caught.value.hint
    return caught.value


def test_it_arrives_as_it_was_written_encrypted(certificates: Certificates) -> None:
    with Mailbox(tls=certificates.context, user="me", password="ge heim") as mailbox:
        send(mailbox.port, user="me", password="ge heim")
        mail = mailbox.next()
    assert mail["Subject"] == "Überfällig: pi-1"
    assert (mail["From"], mail["To"]) == ("me@example.org", "you@example.org, him@example.org")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Importance"] == "high"
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail.get_content().replace("\r\n", "\n") == "Etwas fehlt.\n.\nEnde\n"
    assert mailbox.encrypted == [True]


def test_tls_from_the_first_byte(certificates: Certificates) -> None:
    with Mailbox(tls=certificates.context, tls_first=True, user="me", password="x") as mailbox:
        send(mailbox.port, user="me", password="x", tls_first=True)
        assert mailbox.next()["From"] == "me@example.org"
    assert mailbox.encrypted == [True]


def test_a_wrong_password_is_told(certificates: Certificates) -> None:
    with Mailbox(tls=certificates.context, user="me", password="right") as mailbox:
        found = error(mailbox.port, user="me", password="wrong")
    assert isinstance(found, Failed)
    assert "refuses user and password: 535" in found.message
    assert "wrong" not in found.message + found.hint
    assert mailbox.mails.empty()


def test_a_password_that_no_server_could_be_told_is_refused(certificates: Certificates) -> None:
    with Mailbox(tls=certificates.context, user="me", password="x") as mailbox:
        found = error(mailbox.port, user="me", password="geheim ß")
    assert "only the letters of ASCII" in found.message
    assert "ß" not in found.message + found.hint


def test_without_encryption_nothing_is_sent() -> None:
    with Mailbox() as mailbox:
        found = error(mailbox.port, user="me", password="x")
    assert "does not offer STARTTLS" in found.message
    assert mailbox.mails.empty()


def test_on_this_machine_and_without_a_password_it_may_go_as_it_is() -> None:
    with Mailbox() as mailbox:
        send(mailbox.port)
        assert mailbox.next()["From"] == "me@example.org"
    assert mailbox.encrypted == [False]


@pytest.mark.parametrize("tls_first", [False, True])
def test_a_stranger_in_the_place_of_the_server_gets_nothing(
    certificates: Certificates, tmp_path: Path, tls_first: bool
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Certificates(tmp_path / "other")
    with Mailbox(tls=stranger.context, tls_first=tls_first, user="me", password="x") as mailbox:
        found = error(mailbox.port, user="me", password="x", tls_first=tls_first)
    assert "does not prove who it is" in found.message
    assert mailbox.mails.empty()


def test_a_good_certificate_of_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Certificates(tmp_path, "other.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.trusted))
    with Mailbox(tls=other.context, user="me", password="x") as mailbox:
        assert "does not prove who it is" in error(mailbox.port, user="me", password="x").message


def test_a_refused_recipient_is_named() -> None:
    with Mailbox(refuse="550 no such user") as mailbox:
        found = error(mailbox.port)
    assert "you@example.org: 550 no such user" in found.message


def test_nobody_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = error(port)
    assert isinstance(found, Unreachable)
    assert f"the mail server localhost:{port} does not answer" in found.message


def test_something_else_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-nothing\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert "the mail server" in error(server.getsockname()[1]).message
        thread.join()


def test_an_abort_ends_a_conversation_with_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mailer = Mailer("127.0.0.1", server.getsockname()[1], False, "")
        connected = threading.Event()

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 hello\r\n")
                connection.recv(100)  # EHLO, and no answer
                connected.set()
                assert connection.recv(100) == b""

        thread = threading.Thread(target=greet)
        thread.start()
        ended: list[RoostError] = []

        def send() -> None:
            try:
                mailer.send(LETTER)
            except RoostError as error:
                ended.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        assert connected.wait(30)
        mailer.abort()
        sender.join(5)
        thread.join(5)
        assert isinstance(ended[0], Unreachable)
