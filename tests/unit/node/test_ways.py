"""The ways that the settings name lead to a real mail server and a real webhook, with their secrets from the home."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from receivers import Certificates, Hook, Mailbox
from roost.core.errors import Failed, RoostError
from roost.core.runtime import SystemRuntime
from roost.node.ways import Message, Way, deliver, secret, ways_of
from roost.settings.load import parse
from roost.settings.paths import Home

MESSAGE = Message(
    title="home: CRITICAL: lost", text="It is lost.\nLook.\n", state="firing", severity="critical", priority="5",
    cluster="home", machine="mac", wall_s=1_800_000_000.0,
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("ROOST_SMTP_PASSWORD", "ROOST_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path)


def keep(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


async def told(text: str, home: Home) -> None:
    runtime = SystemRuntime()
    try:
        for way in ways_of(parse(text, file=None).settings.alerts, home):
            await deliver(runtime, way, MESSAGE)
    finally:
        runtime.close()


async def test_a_mail_with_the_password_of_the_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = Certificates(home.root)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.trusted))
    keep(home.smtp_password, "geheim\n")
    with Mailbox(tls=certificates.context, user="me@home.test", password="geheim") as mailbox:
        address = f"smtp://me@home.test@localhost:{mailbox.port}"
        await told(f"alerts: {{email: {{smtp: '{address}', to: [you@home.test]}}}}", home)
        mail = mailbox.next()
    assert mail["Subject"] == "[roost] home: CRITICAL: lost"
    assert (mail["From"], mail["Importance"]) == ("me@home.test", "high")
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 -0000"
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.text


async def test_a_webhook_with_the_secret_of_the_home_in_every_place(home: Home) -> None:
    keep(home.webhook_secret, "s3cret")
    with Hook() as hook:
        text = f"""
alerts:
  webhook:
    url: http://127.0.0.1:{hook.port}/bot{{secret}}/send
    template: '{{"text": "{{title}}", "key": "{{secret}}", "priority": "{{priority}}"}}'
    headers: ["Authorization: Bearer {{secret}}"]
"""
        await told(text, home)
        posted = hook.next()
    assert posted.path == "/bots3cret/send"
    assert json.loads(posted.body) == {"text": MESSAGE.title, "key": "s3cret", "priority": 5}
    assert posted.headers["Authorization"] == "Bearer s3cret"
    assert posted.headers["Content-Type"] == "application/json"


async def test_ntfy_is_told_as_it_likes_it(home: Home) -> None:
    with Hook() as hook:
        await told(f"alerts: {{webhook: {{url: 'http://127.0.0.1:{hook.port}/topic', template: ntfy}}}}", home)
        posted = hook.next()
    assert posted.body.decode() == MESSAGE.text
    assert (posted.headers["Title"], posted.headers["Priority"]) == (MESSAGE.title, "5")


async def test_what_was_taken_in_the_moment_of_the_end_counts_as_told() -> None:
    runtime, began, ended = SystemRuntime(), threading.Event(), threading.Event()
    taken: list[str] = []

    class Slow:
        def send(self) -> None:
            began.set()
            assert ended.wait(30)

        def abort(self) -> None:
            ended.set()

    work = deliver(runtime, Way("email", "you", lambda message: Slow()), MESSAGE, taken=lambda: taken.append("it"))
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    assert await runtime.in_thread(began.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    runtime.close()
    assert taken == ["it"]


async def test_without_a_secret_it_says_where_it_belongs(home: Home) -> None:
    with pytest.raises(RoostError) as caught:
        await told("alerts: {email: {smtp: 'smtp://me@localhost:9', from: a@b, to: [a@b]}}", home)
    assert str(home.smtp_password) in caught.value.message
    assert "ROOST_SMTP_PASSWORD" in caught.value.hint


def test_a_secret_that_others_can_read_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.smtp_password.write_text("geheim")
    home.smtp_password.chmod(0o640)
    with pytest.raises(Failed) as caught:
        secret(home, "smtp-password", "ROOST_SMTP_PASSWORD")
    assert "chmod 600" in caught.value.hint
    monkeypatch.setenv("ROOST_SMTP_PASSWORD", "from outside")
    assert secret(home, "smtp-password", "ROOST_SMTP_PASSWORD") == "from outside"


def test_nobody_named_is_nobody_told(home: Home) -> None:
    assert ways_of(parse("", file=None).settings.alerts, home) == []
