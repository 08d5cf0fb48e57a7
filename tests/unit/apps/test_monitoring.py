"""`roost monitoring export`: what it says, as a person and a script read it, and how it refuses."""

from pathlib import Path

import pytest

from cli_stand_in import RunCommand
from roost.settings.paths import Home


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "roost.yaml"
    path.write_text('api: {listen: "127.0.0.1:7481"}\n')
    return path


def test_a_script_is_told_what_was_written_and_where(roost: RunCommand, config: Path, tmp_path: Path) -> None:
    ran = roost("monitoring", "export", "out", "--port", "grafana=3001", "--json")
    assert ran.code == 0
    assert ran.result["path"] == str(tmp_path / "out")
    assert ran.result["coordinator"] == "127.0.0.1:7481"
    assert ran.result["urls"] == {
        "grafana": "http://127.0.0.1:3001", "prometheus": "http://127.0.0.1:9090",
        "alertmanager": "http://127.0.0.1:9093",
    }  # fmt: skip
    assert all((tmp_path / "out" / name).is_file() for name in ran.result["files"])
    assert any("nobody" in note for note in ran.result["notes"])


def test_a_person_is_told_what_to_do_next(roost: RunCommand, config: Path, tmp_path: Path) -> None:
    ran = roost("monitoring", "export", "an export")
    assert ran.code == 0
    assert f"cd '{tmp_path}/an export' && docker compose up -d" in ran.out
    assert "http://localhost:3000" in ran.out
    assert "alerts.email" in ran.err


def test_who_is_told_by_both_is_told_of_that(roost: RunCommand, config: Path) -> None:
    config.write_text('alerts: {email: {smtp: "127.0.0.1:25", from: me@example.org, to: [me@example.org]}}\n')
    assert any("--no-tell" in note for note in roost("monitoring", "export", "out", "--json").result["notes"])
    quiet = roost("monitoring", "export", "out", "--no-tell", "--json").result["notes"]
    assert not any("alerts" in note for note in quiet)


def test_a_password_that_is_not_there_is_asked_for_unless_nobody_is_told(roost: RunCommand, config: Path) -> None:
    config.write_text('alerts: {email: {smtp: "smtp://me@example.org@smtp.example.org", to: [me@example.org]}}\n')
    Home.find().root.mkdir()
    ran = roost("monitoring", "export", "out", "--json")
    assert (ran.code, ran.error["code"]) == (1, "failed")
    assert "smtp-password" in ran.error["message"]
    assert not Path("out").exists()
    assert roost("monitoring", "export", "out", "--no-tell").code == 0


@pytest.mark.parametrize(
    "arguments",
    [["--every", "0s"], ["--every", "1h"], ["--every", "soon"], ["--port", "grafana"], ["--at", "nowhere"]],
)
def test_what_is_no_option_of_it_is_a_usage_error(roost: RunCommand, config: Path, arguments: list[str]) -> None:
    ran = roost("monitoring", "export", "out", *arguments, "--json")
    assert (ran.code, ran.error["code"]) == (2, "usage")
    assert not Path("out").exists()


def test_a_folder_of_something_else_is_refused(roost: RunCommand, config: Path, tmp_path: Path) -> None:
    ran = roost("monitoring", "export", str(tmp_path), "--json")
    assert (ran.code, ran.error["code"]) == (1, "failed")
    assert "--force" in ran.error["hint"]
