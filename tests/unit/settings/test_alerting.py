"""Who is told, as people write it, and what is said of what cannot be."""

import pytest

from roost.core.errors import UsageError
from roost.settings.alerting import MailServer, mail_sender
from roost.settings.load import Loaded, parse


def load(text: str) -> Loaded:
    return parse(text, file=None)


@pytest.mark.parametrize(
    ("text", "server", "shown"),
    [
        ("", MailServer(), ""),
        ("mail:25", MailServer("mail", 25), "smtp://mail:25"),
        ("smtp.example.org", MailServer("smtp.example.org", 587), "smtp://smtp.example.org:587"),
        ("smtp://me@h:587", MailServer("h", 587, "me"), "smtp://me@h:587"),
        ("smtp://me@a.org@h", MailServer("h", 587, "me@a.org"), "smtp://me@a.org@h:587"),
        ("smtps://me@h/", MailServer("h", 465, "me", True), "smtps://me@h:465"),
        ("smtp://[::1]:2525", MailServer("::1", 2525), "smtp://[::1]:2525"),
        ("smtp://[::1]", MailServer("::1", 587), "smtp://[::1]:587"),
    ],
)
def test_a_mail_server_is_read_and_shown(text: str, server: MailServer, shown: str) -> None:
    assert MailServer.parse(text) == server
    assert str(server) == shown
    assert MailServer.parse(shown) == server


@pytest.mark.parametrize("text", ["http://h", "smtp://", "h:0", "h:99999", "h:x", "a b:25", "smtp://h:25/x", "a:b:c "])
def test_what_is_no_mail_server_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        MailServer.parse(text)
    assert "not a mail server" in caught.value.message


def test_a_password_in_the_settings_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        load("alerts: {email: {smtp: 'smtp://me:hunter2@h:587', to: [a@b]}}")
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "smtp-password" in caught.value.hint


def test_all_of_it_is_taken_and_shown() -> None:
    loaded = load(
        """\
alerts:
  email: {smtp: "smtp://me@example.org@smtp.example.org:587", to: [a@example.org, b@example.org]}
  webhook:
    url: https://ntfy.sh/topic
    template: |
      {title}
      {text}
    headers: ["Authorization: Bearer {secret}"]
"""
    )
    alerts = loaded.settings.alerts
    assert alerts.wanted
    assert mail_sender(alerts.email) == "me@example.org"
    assert alerts.webhook.template == "{title}\n{text}\n"
    shown = {value.path: value.text for value in loaded.effective}
    assert shown["alerts.email.smtp"] == "smtp://me@example.org@smtp.example.org:587"
    assert shown["alerts.email.to"] == "[a@example.org, b@example.org]"
    assert shown["alerts.webhook.template"] == '"{title}\\n{text}\\n"'
    assert shown["alerts.webhook.headers"] == "[Authorization: Bearer {secret}]"
    assert not load("").settings.alerts.wanted


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("alerts: {email: {smtp: 'h:25', from: a@b}}", "alerts.email.to"),
        ("alerts: {email: {smtp: 'h:25', to: [a@b]}}", "alerts.email.from"),
        ("alerts: {email: {to: [a@b]}}", "alerts.email.smtp"),
        ("alerts: {email: {from: a@b}}", "alerts.email.smtp"),
        ("alerts: {webhook: {template: ntfy}}", "alerts.webhook.url"),
    ],
)
def test_half_of_it_names_what_is_missing(text: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(text)
    assert f"settings:1: {key} is missing" in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alerts: {email: {to: ['a b@c']}}", "alerts.email.to[0]: not an address"),
        ("alerts: {email: {to: ['']}}", "alerts.email.to[0]: not an address"),
        ("alerts: {email: {from: 'me'}}", "alerts.email.from: not an address"),
        ("alerts: {webhook: {url: 'x'}}", "alerts.webhook.url: not the URL"),
        ("alerts: {webhook: {url: 'http://x', headers: ['x']}}", "alerts.webhook.headers[0]: not a header"),
        ("alerts: {every: 0}", "alerts.every: too short"),
        ("alerts: {hot: hot}", "alerts.hot: not a whole number"),
        ("alerts: {webhok: {}}", "unknown key alerts.webhok"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(text)
    assert said in caught.value.message
    assert caught.value.hint
