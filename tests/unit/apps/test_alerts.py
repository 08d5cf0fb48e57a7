"""`roost alerts` says what fires, and `roost alerts test` sends a message each way and says what came of it."""

from pathlib import Path

import msgspec
import pytest

from cli_stand_in import RunCommand
from receivers import Hook, Mailbox
from roost.client.alert_memory import AlertMemory
from roost.observe.firing import Alert, KeptSeen

ALERT = Alert(
    "RoostNodeDown", (("peer", "pi-2"),), "warning", "pi-2 does not answer", "roost doctor", 1_800_000_000.0
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def settings(home: Path, text: str) -> None:
    (home / "roost.yaml").write_text(text)


def test_a_test_message_goes_each_way(roost: RunCommand, home: Path) -> None:
    with Mailbox() as mailbox, Hook() as hook:
        settings(
            home,
            f"alerts:\n  email: {{smtp: 'localhost:{mailbox.port}', from: a@b.test, to: [c@d.test]}}\n"
            f"  webhook: {{url: 'http://127.0.0.1:{hook.port}/x', template: ntfy}}\n",
        )
        ran = roost("alerts", "test", "--json")
        assert ran.code == 0
        assert mailbox.next()["Subject"] == "[roost] home: test: nothing is wrong"
        assert b"test of the alerts of the cluster home" in hook.next().body
    ways = ran.result["ways"]
    assert [(way["way"], way["to"], way["ok"]) for way in ways] == [
        ("email", "c@d.test", True),
        ("webhook", f"127.0.0.1:{hook.port}", True),
    ]
    assert ran.result["failed"] == 0


def test_one_way_that_fails_is_exit_code_1_and_the_other_is_used_all_the_same(roost: RunCommand, home: Path) -> None:
    with Mailbox(refuse="550 not here") as mailbox, Hook() as hook:
        settings(
            home,
            f"alerts:\n  email: {{smtp: 'localhost:{mailbox.port}', from: a@b.test, to: [c@d.test]}}\n"
            f"  webhook: {{url: 'http://127.0.0.1:{hook.port}/x'}}\n",
        )
        ran = roost("alerts", "test")
        assert ran.code == 1
        assert hook.next().path == "/x"
    assert "email: FAILED: " in ran.out
    assert "550 not here" in ran.out
    assert f"webhook: 127.0.0.1:{hook.port} took it" in ran.out


def test_nobody_to_tell_is_an_error_that_says_how(roost: RunCommand, home: Path) -> None:
    ran = roost("alerts", "test", "--json")
    assert ran.code == 1
    assert "roost.yaml" in ran.error["hint"]


def test_what_fires_is_shown_with_what_to_do(roost: RunCommand, home: Path) -> None:
    memory = AlertMemory((KeptSeen(ALERT, 700.0, 0.0, True),), {}, {"email": "nobody answers"}, (), 1_800_000_600.0)
    (home / "alerts.json").write_bytes(msgspec.json.encode(memory))
    ran = roost("alerts")
    assert ran.code == 0
    assert "1 alert firing, as of 2027-01-15T08:10:00Z." in ran.out
    assert "warning: pi-2 does not answer" in ran.out
    assert "What to do: roost doctor" in ran.out
    assert "cannot be told by email: nobody answers" in ran.out
    told = roost("alerts", "--json").result
    assert told["firing"][0]["labels"] == {"peer": "pi-2"}
    assert {rule["alert"] for rule in told["rules"]} >= {"RoostUnrecoverable", "RoostNodeDown"}


def test_without_a_notifier_it_says_so_and_lists_the_rules(roost: RunCommand, home: Path) -> None:
    assert "Nobody is told of anything" in roost("alerts").out
    rules = roost("alerts", "--rules").out
    assert "RoostUnrecoverable" in rules
    assert "at once" in rules
    assert roost("alerts", "--json", "test").code == 2


def test_status_tells_of_a_way_that_fails(roost: RunCommand, home: Path) -> None:
    from cli_stand_in import StandInCluster

    (home / "alerts.json").write_bytes(msgspec.json.encode(AlertMemory(troubles={"email": "nobody answers"})))
    assert "alerts cannot be told by email: nobody answers" in roost("status", cluster=StandInCluster()).out
