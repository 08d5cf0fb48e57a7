"""`roost doctor`: its lines, its JSON, its exit code, and what it makes of the service of the home."""

from pathlib import Path

import pytest

from cli_stand_in import RunCommand
from roost.apps.cli import doctor
from roost.apps.cli.service_manager import Found, State
from roost.client.doctor import examination
from roost.client.doctor.findings import Finding, Level
from roost.settings.paths import Home

WELL = Finding("python", Level.OK, "Python 3.11.2")
NOTED = Finding("service", Level.NOTE, "no service runs this home", "roost service install")
WARNED = Finding("wifi", Level.WARNING, "wlan0 saves\x1b[2J power", "sudo iw dev wlan0 set power_save off")
BROKEN = Finding("disk", Level.PROBLEM, "the disk is full", "free some space")


def finds(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    async def examine(*_: object, **__: object) -> list[Finding]:
        return list(findings)

    monkeypatch.setattr(examination, "examine", examine)


def test_a_line_for_each_finding_and_below_it_what_mends_it(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, WELL, NOTED, WARNED, BROKEN)
    ran = roost("doctor")
    assert ran.code == 3
    assert ran.out.splitlines() == [
        "ok       python: Python 3.11.2",
        "note     service: no service runs this home",
        "         -> roost service install",
        "WARNING  wifi: wlan0 saves\\x1b[2J power",
        "         -> sudo iw dev wlan0 set power_save off",
        "PROBLEM  disk: the disk is full",
        "         -> free some space",
        "",
        "1 problem and 1 warning to mend",
    ]


def test_the_same_for_scripts(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, WELL, WARNED)
    ran = roost("doctor", "--json")
    assert ran.code == 3
    assert ran.result["well"] is False
    assert ran.result["findings"][1] == {
        "check": "wifi", "level": "warning", "text": WARNED.text, "mend": WARNED.mend,
    }  # fmt: skip


def test_notes_are_no_reason_to_exit_with_3(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, WELL, NOTED)
    ran = roost("doctor")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "all is well"


def service(
    *, system: bool = True, enabled: bool = True, running: bool = True, lingers: bool = False
) -> list[tuple[Level, str]]:
    """What is said of a service like this."""
    found = Found("node", "systemd", "roost-node.service", Path("/u"), system, Path("/h"), None, "pi")
    state = State(enabled, running, 7 if running else None, None, "failed: exit 7")
    judged = list(doctor.judge_service((found, state), serves=True, lingers=lingers, user="pi"))
    return [(finding.level, finding.mend) for finding in judged]


def test_a_service_that_runs_and_starts_at_boot_is_well() -> None:
    assert service() == [(Level.OK, "")]
    assert service(system=False, lingers=True) == [(Level.OK, "")]


def test_a_service_that_fails_is_off_or_ends_with_the_session_is_a_warning() -> None:
    assert service(running=False) == [(Level.WARNING, "roost service logs; then: roost service install")]
    assert service(enabled=False) == [(Level.WARNING, "roost service install")]
    assert service(system=False) == [(Level.WARNING, "loginctl enable-linger pi")]


def test_a_service_is_wanted_where_copies_are_kept_or_machines_admitted_but_for_local_nodes(tmp_path: Path) -> None:
    homes = [Home(tmp_path), Home(tmp_path).node(1), Home(tmp_path / "client"), Home(tmp_path / "new")]
    for home in homes[:3]:
        home.identity.mkdir(parents=True)
        (home.identity / "certificate.der").write_bytes(b"")
    homes[0].authority.mkdir()
    homes[1].chunks.mkdir()
    assert [doctor.wants_service(home) for home in homes] == [True, False, False, False]


def test_no_service_is_noted_for_a_home_that_should_be_served() -> None:
    [found] = doctor.judge_service(None, serves=True, lingers=False, user="pi")
    assert (found.level, found.mend) == (Level.NOTE, "roost service install")
    assert list(doctor.judge_service(None, serves=False, lingers=False, user="pi")) == []
