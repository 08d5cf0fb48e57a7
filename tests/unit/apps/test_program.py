"""From arguments to exit codes: parsing, help, errors in words and as JSON, and what is not loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli_stand_in import RunCommand, StandInCluster
from roost.apps.cli.commands import COMMANDS, Family
from roost.core import errors

PATHS = [
    (name, member)
    for name, entry in COMMANDS.items()
    for member in (entry.members if isinstance(entry, Family) else [""])
]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RoostError)]


def test_help_names_every_command(roost: RunCommand) -> None:
    ran = roost("--help")
    assert ran.code == 0
    for name, entry in COMMANDS.items():
        assert f"  {name} " in ran.out
        assert entry.summary in ran.out


def test_help_loads_no_command_and_nothing_heavy() -> None:
    script = (
        "import sys; from roost.apps.cli.program import run; assert run(['--help']) == 0; "
        "print([m for m in ('rich', 'asyncio', 'msgspec', 'yaml', 'pydantic', 'roost.client', 'roost.apps.cli.store') "
        "if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(("name", "member"), PATHS)
def test_every_command_explains_itself(roost: RunCommand, name: str, member: str) -> None:
    ran = roost(*filter(None, (name, member)), "--help")
    assert ran.code == 0
    assert f"Usage: roost {name}{f' {member}' if member else ''}" in ran.out
    for option in ("--home DIR", "--config FILE", "--json"):
        assert option in ran.out


def test_the_version(roost: RunCommand) -> None:
    ran = roost("--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("roost ")


def test_no_command_at_all_is_usage_and_shows_help(roost: RunCommand) -> None:
    ran = roost()
    assert ran.code == 2
    assert "Commands:" in ran.out
    assert roost("--json").error["code"] == "usage"


@pytest.mark.parametrize(
    "arguments",
    [
        ("stroe",),
        ("store",),
        ("token",),
        ("token", "mint"),
        ("ls", "--nonsense"),
        ("ls", "a", "b"),
        ("ls", "--sort", "colour"),
        ("ls", "--limit", "0"),
        ("ls", "--since", "yesterday"),
        ("start", "-n", "x"),
        ("token", "create", "--ttl", "soon"),
    ],
)
def test_usage_errors_are_2_in_words_and_in_json(roost: RunCommand, arguments: tuple[str, ...]) -> None:
    people = roost(*arguments)
    assert (people.code, people.out) == (2, "")
    assert people.err.startswith("error: ")
    assert "hint: " in people.err
    scripts = roost(*arguments, "--json")
    assert scripts.code == 2
    assert scripts.err == ""
    assert scripts.error["code"] == "usage"
    assert scripts.error["hint"]


def test_a_word_after_two_dashes_is_no_option(roost: RunCommand) -> None:
    ran = roost("ls", "--", "--json", "more")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_options_of_every_command_stand_before_or_after(roost: RunCommand, tmp_path: Path, place: str) -> None:
    (tmp_path / "other.yaml").write_text("cluster: other\n")
    options = ("--json", "--home", str(tmp_path / "elsewhere"), f"--config={tmp_path / 'other.yaml'}")
    command = ("config", "show")
    result = roost(*(options + command if place == "before" else command + options)).result
    assert result["home"] == str(tmp_path / "elsewhere")
    assert {"key": "cluster", "value": "other", "origin": f"{tmp_path / 'other.yaml'}:1"} in result["settings"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_exit_code(roost: RunCommand, kind: type[errors.RoostError]) -> None:
    cluster = StandInCluster(error=kind("it\x1b[31m broke", hint="mend it"))
    people = roost("ls", cluster=cluster)
    assert people.code == kind.exit_code
    assert people.err == "error: it\\x1b[31m broke\nhint: mend it\n"
    scripts = roost("ls", "--json", cluster=cluster)
    assert scripts.code == kind.exit_code
    assert scripts.error == {"type": "error", "code": kind.code, "message": "it\x1b[31m broke", "hint": "mend it"}
    assert cluster.closed


def test_the_exit_codes_are_those_of_the_contract() -> None:
    codes = {kind.code: kind.exit_code for kind in KINDS}
    assert codes["usage"] == 2
    assert codes["not-found"] == 4
    assert codes["integrity"] == 5
    assert codes["unreachable"] == 6
    assert codes["not-admitted"] == 7
    assert codes["no-space"] == 8
    assert codes["busy"] == 9
    assert all(codes[code] == 1 for code in ("failed", "disk", "protocol", "unsupported"))


def test_an_error_of_ours_is_found_within_a_group(roost: RunCommand) -> None:
    group = BaseExceptionGroup("tasks", [ExceptionGroup("more", [errors.NoSpace("full", hint="free some")])])
    assert roost("ls", "--json", cluster=StandInCluster(error=group)).error["code"] == "no-space"


def test_an_interruption_is_130(roost: RunCommand) -> None:
    ran = roost("ls", "--json", cluster=StandInCluster(error=KeyboardInterrupt()))
    assert ran.code == 130
    assert ran.error["code"] == "interrupted"


def test_a_bug_is_called_one_and_its_traceback_is_kept(roost: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "home" / "identity").mkdir(parents=True)
    ran = roost("ls", cluster=StandInCluster(error=ZeroDivisionError("of ours")))
    assert (ran.code, ran.out) == (1, "")
    assert "a bug in Roost: ZeroDivisionError: of ours" in ran.err
    assert "Traceback" not in ran.err
    logged = [json.loads(line) for line in (tmp_path / "home/logs/command.jsonl").read_text().splitlines()]
    assert "ZeroDivisionError: of ours" in logged[-1]["exception"]


def test_a_bug_in_a_home_that_is_none_makes_none(roost: RunCommand, tmp_path: Path) -> None:
    assert roost("ls", cluster=StandInCluster(error=ZeroDivisionError())).code == 1
    assert not (tmp_path / "home").exists()


def test_the_traceback_can_be_asked_for(roost: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_DEBUG", "1")
    ran = roost("ls", "--json", cluster=StandInCluster(error=ZeroDivisionError("of ours")))
    assert ran.error["code"] == "bug"
    assert "Traceback" in ran.err


def test_the_system_failing_us_is_not_called_a_bug(roost: RunCommand) -> None:
    ran = roost("ls", cluster=StandInCluster(error=PermissionError(13, "Permission denied", "/home")))
    assert ran.code == 1
    assert "bug" not in ran.err
    assert "Permission denied: '/home'" in ran.err


def test_a_wrong_settings_file_is_a_usage_error(roost: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "roost.yaml").write_text("clutser: home\n")
    ran = roost("ls", "--json")
    assert ran.code == 2
    assert "did you mean cluster?" in ran.error["hint"]


def test_an_empty_home_is_not_admitted_and_stays_empty(roost: RunCommand, tmp_path: Path) -> None:
    ran = roost("ls", "--json")
    assert (ran.code, ran.error["code"]) == (7, "not-admitted")
    assert not (tmp_path / "home").exists()


def test_a_reader_that_goes_away_is_met_in_silence(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.close(int(sys.argv[1])); from roost.__main__ import main; "
        "sys.argv = ['roost', 'config', 'show']; main()"
    )
    import os

    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(reading)], stdout=writing, stderr=subprocess.PIPE, text=True,
        pass_fds=(reading,), env={**os.environ, "ROOST_HOME": str(tmp_path)},
    )  # fmt: skip
    os.close(reading)
    os.close(writing)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "")
