"""The commands that run nodes and let machines in: start, join, token; what they tell, and what they hand on."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_stand_in import RunCommand
from roost.node import Beside, Event, Invitation
from roost.settings.paths import Home
from roost.settings.schema import Settings

Say = Callable[[Event], None]
EVENTS = (
    Event("listening", "admitting machines at 127.0.0.1:7400", {"address": "127.0.0.1:7400"}),
    Event("node-joined", "pi-1 is in", {"name": "pi-1"}),
    Event("ready", "ready: 4 nodes", {"nodes": 4}),
    Event("node-down", "local node 2 ended", {"number": 2}),
    Event("stopping", "stopped"),
)


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands where the coordinator does; what it was asked."""
    asked: list[Any] = []

    async def run_coordinator(
        home: Home,
        settings: Settings,
        *,
        ready_at: int | None,
        local: int | None,
        say: Say,
        invite: bool,
        beside: Beside | None = None,
    ) -> None:
        asked.append((home.root, ready_at, local, settings.local_nodes))
        for event in EVENTS:
            say(event)

    monkeypatch.setattr("roost.node.run_coordinator", run_coordinator)
    return asked


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands where a node does; what it was asked."""
    asked: list[Any] = []

    async def run_node(
        home: Home, settings: Settings, *, invitation: Invitation | None, name: str | None, client_only: bool, say: Say
    ) -> None:
        word, at = (invitation.word, invitation.at) if invitation else (None, None)
        asked.append((word, at, name, client_only))

    monkeypatch.setattr("roost.node.run_node", run_node)
    # A join keeps structlog from loading rich; that is for its own process only.
    monkeypatch.setitem(sys.modules, "rich", sys.modules.get("rich") or __import__("rich"))
    monkeypatch.delenv("ROOST_TOKEN", raising=False)
    return asked


def test_start_says_ready_and_what_next(roost: RunCommand, coordinator: list[Any], tmp_path: Path) -> None:
    ran = roost("start", "-n", "4", "--local", "3")
    assert ran.code == 0
    assert [asked[:3] for asked in coordinator] == [(tmp_path / "home", 4, 3)]
    lines = ran.out.splitlines()
    assert lines.index("ready: 4 nodes") < lines.index("stopped")
    for next_step in ("store PATH", "ls", "gather NAME --to FOLDER", "token create"):
        assert next_step in ran.out
    assert "WARNING: local node 2 ended" in ran.err


def test_the_recovery_code_is_shown_to_a_person_once_and_to_scripts_in_its_event(
    roost: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_coordinator(home: Home, settings: Settings, *, say: Say, **_: object) -> None:
        say(Event("authority-created", "made the cluster 'home'", {"cluster": "home", "recovery_code": "ABCDE-23"}))

    monkeypatch.setattr("roost.node.run_coordinator", run_coordinator)
    ran = roost("start")
    assert ran.out.count("ABCDE-23") == 1
    assert "ABCDE-23" not in ran.err
    assert "Write it down now" in ran.out
    [told] = [line for line in roost("start", "--json").lines if line.get("event") == "authority-created"]
    assert told["recovery_code"] == "ABCDE-23"


def test_start_in_json(roost: RunCommand, coordinator: list[Any]) -> None:
    ran = roost("start", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.result["stopped"] is True
    ready = next(line for line in ran.lines if line.get("event") == "ready")
    assert (ready["type"], ready["nodes"]) == ("progress", 4)
    assert [line.get("event") for line in ran.lines[:-1]] == [event.kind for event in EVENTS]


def test_the_number_of_local_nodes_is_a_setting(roost: RunCommand, coordinator: list[Any], tmp_path: Path) -> None:
    (tmp_path / "roost.yaml").write_text("local_nodes: 2\n")
    roost("start")
    roost("start", "--local", "0")
    assert [asked[1:] for asked in coordinator] == [(None, None, 2), (None, 0, 2)]


def test_join_without_a_token_is_not_admitted(roost: RunCommand, node: list[Any], tmp_path: Path) -> None:
    ran = roost("join", "--json")
    assert (ran.code, ran.error["code"], node) == (7, "not-admitted", [])
    assert "roost token create" in ran.error["hint"]
    assert not (tmp_path / "home").exists()


def test_join_pairs_with_a_token(roost: RunCommand, node: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert roost("join", "roost-abc", "--at", "10.0.0.1:7400", "--name", "pi-1").code == 0
    monkeypatch.setenv("ROOST_TOKEN", "roost-env")
    assert roost("join", "--client", "--json").result["paired"] is True
    assert node == [("roost-abc", "10.0.0.1:7400", "pi-1", False), ("roost-env", None, None, True)]


def test_a_paired_machine_runs_again_whatever_the_environment_says(
    roost: RunCommand, node: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home/identity").mkdir(parents=True)
    (tmp_path / "home/identity/certificate.der").touch()
    monkeypatch.setenv("ROOST_TOKEN", "roost-of-another-cluster")
    assert roost("join").code == 0
    assert node == [(None, None, None, False)]


def test_token_create_prints_the_token_alone(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def create_token(home: Home, settings: Settings, *, ttl_s: float, uses: int | None) -> tuple[str, str]:
        asked.append((ttl_s, uses))
        return "roost-abc", "2025-01-31T12:00:00Z"

    monkeypatch.setattr("roost.node.create_token", create_token)
    ran = roost("token", "create")
    assert (ran.code, ran.out, ran.err) == (0, "roost-abc\n", "")
    result = roost("token", "create", "--ttl", "7d", "--uses", "2", "--json").result
    assert result == {"type": "result", "token": "roost-abc", "expires_at": "2025-01-31T12:00:00Z", "uses": 2}
    assert asked == [(3600, None), (7 * 86400, 2)]


def test_token_revoke_counts(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.node.revoke_tokens", lambda home: 3)
    assert roost("token", "revoke").out == "ended 3 tokens\n"
    assert roost("token", "revoke", "--json").result["revoked"] == 3


def test_tokens_are_made_only_where_the_authority_is(roost: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert roost("token", "create", "--json").error["code"] == "not-admitted"
    assert roost("token", "revoke").code == 7
