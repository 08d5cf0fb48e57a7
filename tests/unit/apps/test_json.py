"""The schemas of what commands print, the exit codes by name, and every command that is used wrongly."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from cli_stand_in import RunCommand, StandInCluster
from json_schemas import check, strict
from roost.apps.cli import schema
from roost.apps.cli.failure import explain
from roost.apps.cli.output import Output
from roost.apps.cli.results import Stopped
from roost.core import errors

WRONG: dict[str, tuple[str, ...]] = {
    "start": ("--local", "1000"), "join": ("nonsense", "--at", "127.0.0.1:1"), "token create": ("--ttl", "soon"),
    "token revoke": ("more",), "service install": ("--role", "king"), "service uninstall": ("--role", "king"),
    "service status": ("--role", "king"), "service logs": ("-n", "0"), "recover": (), "store": (), "watch": (),
    "gather": (), "ls": ("--sort", "beauty"), "show": (), "verify": ("--beauty",), "repair": ("now",),
    "scrub": ("a", "b"), "rm": (), "undelete": (), "export": ("only/one",), "import": (), "nodes": ("--beauty",),
    "nodes drain": (), "nodes forget": (), "discover": ("--seconds", "1000"), "doctor": ("more",),
    "status": ("more",), "alerts": ("--beauty",), "alerts test": ("more",), "monitoring export": (),
    "top": (), "config show": ("more",), "demo": ("more",), "bench": ("--bytes", "1"),
    "bench repair": ("--bytes", "1"),
}  # fmt: skip


@pytest.mark.parametrize("command", list(schema.commands()))
def test_a_command_that_is_used_wrongly_says_so_in_json(roost: RunCommand, command: str) -> None:
    ran = roost(*command.split(), *WRONG[command], "--json")
    check(command, ran.lines, ran.code)
    assert ran.code == 2
    assert ran.error["hint"]


def test_every_command_has_a_schema_and_every_schema_is_one() -> None:
    assert list(schema.RESULTS) == list(schema.commands())
    for command in schema.commands():
        Draft202012Validator.check_schema(schema.schema_of(command))


def test_no_two_types_have_one_name() -> None:
    names: dict[str, object] = {}
    for kinds in schema.RESULTS.values():
        for name, told in schema.components(kinds)[1].items():
            assert names.setdefault(name, told) == told
    assert len(names) > len(schema.RESULTS) / 2


def test_a_line_that_is_not_as_the_schema_has_it_is_caught() -> None:
    check("start", [{"type": "progress", "event": "ready", "text": "ready"}, {"type": "result", "stopped": True}], 0)
    wrong: list[tuple[list[dict[str, Any]], int]] = [
        ([{"type": "result"}], 0),
        ([{"type": "result", "stopped": True, "more": 1}], 0),
        ([{"type": "result", "stopped": "yes"}], 0),
        ([{"type": "result", "stopped": True}], 4),
        ([{"type": "result", "stopped": True}, {"type": "result", "stopped": True}], 0),
        ([{"type": "progress", "event": "progress"}, {"type": "result", "stopped": True}], 0),
        ([{"type": "progress", "text": "x"}, {"type": "result", "stopped": True}], 0),
        ([{"type": "error", "code": "usage", "message": "x", "hint": ""}], 1),
        ([{"type": "error", "code": "odd", "message": "x", "hint": ""}], 1),
        ([{"type": "error", "code": "usage", "message": "", "hint": ""}], 2),
    ]
    for lines, code in wrong:
        with pytest.raises(AssertionError):
            check("start", lines, code)
    assert strict("start") != schema.schema_of("start")


def test_fields_that_may_be_absent_are_told_so_and_no_others() -> None:
    _, told = schema.components(schema.RESULTS["nodes"])
    node = told["Node"]
    assert set(node["properties"]) - set(node["required"]) == {"home", "pid"}
    _, told = schema.components(schema.RESULTS["gather"])
    assert set(told["GatherResult"]["required"]) == set(told["GatherResult"]["properties"])


def kinds(kind: type[errors.RoostError]) -> set[type[errors.RoostError]]:
    return {kind}.union(*(kinds(each) for each in kind.__subclasses__()))


def test_every_error_has_an_exit_code_with_a_name() -> None:
    for kind in (each for each in kinds(errors.RoostError) if each.__module__ == errors.__name__):
        told = explain(kind("what", hint="what next"))
        assert schema.CODES[told.code] == told.exit_code == kind.exit_code
        assert told.exit_code in schema.EXIT_CODES
    assert schema.CODES[explain(KeyboardInterrupt()).code] == 130
    assert schema.CODES[explain(ValueError()).code] == 1
    assert schema.CODES[explain(OSError()).code] == 1


def test_the_exit_codes_are_those_of_the_contract() -> None:
    names = {number: name for number, (name, _) in schema.EXIT_CODES.items()}
    assert names == {
        0: "done", 1: "failed", 2: "usage", 3: "degraded", 4: "not-found", 5: "integrity", 6: "unreachable",
        7: "not-admitted", 8: "no-space", 9: "busy", 130: "interrupted",
    }  # fmt: skip


def test_a_result_is_its_struct(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).result(Stopped())
    assert msgspec.json.decode(capsys.readouterr().out) == {"type": "result", "stopped": True}


@pytest.mark.parametrize("command", ["store", "gather", "ls", "show", "verify", "scrub", "repair", "rm", "undelete",
                                     "nodes", "nodes drain", "nodes forget", "status"])  # fmt: skip
def test_a_command_that_fails_prints_one_error(roost: RunCommand, tmp_path: Path, command: str) -> None:
    (tmp_path / "x").write_bytes(b"x")
    needs = {"store": str(tmp_path / "x"), "undelete": "x@1-abcdef", "ls": "", "verify": "", "scrub": "", "nodes": ""}
    words = [needs.get(command, "x")] if command not in ("repair", "status") else []
    words = [word for word in words if word]
    broken = StandInCluster(error=errors.NoSpace("it is full", hint="make room", bytes_missing=7))
    ran = roost(*command.split(), *words, "--json", cluster=broken)
    check(command, ran.lines, ran.code)
    assert (ran.code, ran.error["code"], ran.error["bytes_missing"]) == (8, "no-space", 7)
