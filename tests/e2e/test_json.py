"""Every command with ``--json``, run for real: one that does what was asked and one that fails, each checked against
the schema that is made of the command's own types, and against the exit codes that the page names."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.processes import Answer
from json_schemas import check
from roost.apps.cli.schema import commands

pytestmark = pytest.mark.xdist_group("json")

QUIET = "discovery: {mdns: false, broadcast: false}"


@dataclass(frozen=True)
class Place:
    """The cluster, and what was prepared in it."""

    cluster: Cluster
    names: dict[str, str]
    ran: set[tuple[str, bool]]

    def run(self, command: str, *arguments: str, home: Path | None = None, code: int | None = None) -> dict[str, Any]:
        """Run a command to its end, check all that it printed, and remember whether it did as asked; its last line."""
        words = [argument.format(**self.names) for argument in arguments]
        answer = self.cluster.cli(*command.split(), *words, home=home, timeout_s=180)
        return self.checked(command, answer, code)

    def checked(self, command: str, answer: Answer, code: int | None = None) -> dict[str, Any]:
        """As `run`, of one that has ended."""
        check(command, [*answer.progress, answer.result], answer.code)
        if code is not None:
            assert answer.code == code, answer
        self.ran.add((command, answer.result["type"] == "result"))
        return answer.result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Two nodes, a checkpoint in two versions of which one was removed, and one in an export."""
    folder = tmp_path_factory.mktemp("json")
    with local_cluster(folder / "cluster", nodes=2, more=QUIET) as cluster:
        path = trees.write(folder / "a.bin", trees.noise(3_000_000, seed=51))
        other = trees.write(folder / "b.bin", trees.noise(1_000_000, seed=52))
        removed = cluster.done("store", other, "--name", "old/step-1")["version"]
        cluster.done("rm", "old/step-1")
        cluster.done("store", path, "--name", "kept/step-1")
        token = cluster.done("token", "create")["token"]
        names = {
            "path": str(path), "folder": str(folder), "removed": f"old/step-1@{removed}", "token": token,
            "node": sorted(cluster.nodes)[0],
        }  # fmt: skip
        yield Place(cluster, names, set())


SUCCEEDS: list[tuple[str, tuple[str, ...]]] = [
    ("token create", ("--ttl", "1h", "--uses", "2")),
    ("store", ("{path}", "--name", "json/step-1")),
    ("gather", ("kept/step-1", "--to", "{folder}/back")),
    ("ls", ()),
    ("ls", ("--removed", "--health")),
    ("show", ("kept/step-1",)),
    ("verify", ("--deep",)),
    ("repair", ()),
    ("scrub", ("{node}",)),
    ("undelete", ("{removed}",)),
    ("rm", ("old/step-1", "--now")),
    ("export", ("kept", "{folder}/out")),
    ("import", ("{folder}/out",)),
    ("nodes", ()),
    ("nodes drain", ("{node}", "--dry-run")),
    ("discover", ("--seconds", "0.5", "--explain")),
    ("doctor", ()),
    ("status", ()),
    ("alerts", ()),
    ("monitoring export", ("{folder}/watching",)),
    ("config show", ()),
    ("recover", ("--new-code",)),
    ("service status", ()),
    ("service uninstall", ("--role", "node")),
]
FAILS: list[tuple[str, tuple[str, ...], int]] = [
    ("start", (), 9),
    ("service logs", ("--role", "node"), 4),
    ("store", ("{folder}/nothing",), 4),
    ("watch", ("{folder}/nothing",), 4),
    ("gather", ("no/such",), 4),
    ("gather", ("kept/step-1", "--to", "{folder}/taken"), 1),
    ("show", ("no/such",), 4),
    ("verify", ("no/such",), 4),
    ("scrub", ("nobody",), 4),
    ("rm", ("no/such",), 4),
    ("undelete", ("no/such@1-abcdef",), 4),
    ("export", ("no/such", "{folder}/out"), 4),
    ("import", ("{folder}/nothing",), 4),
    ("nodes drain", ("nobody",), 4),
    ("nodes forget", ("{node}",), 1),
    ("alerts test", (), 1),
    ("monitoring export", ("{folder}",), 1),
]
"""Every command fails by usage too: tests/unit/apps/test_json.py."""


@pytest.mark.parametrize(("command", "arguments"), SUCCEEDS, ids=lambda part: "-".join(part) if part else "alone")
def test_what_a_command_prints_that_does_as_asked(place: Place, command: str, arguments: tuple[str, ...]) -> None:
    assert place.run(command, *arguments)["type"] == "result"


@pytest.mark.parametrize(("command", "arguments", "code"), FAILS, ids=lambda part: str(part))
def test_what_a_command_prints_that_fails(place: Place, command: str, arguments: tuple[str, ...], code: int) -> None:
    trees.write(Path(place.names["folder"]) / "taken/a.bin", b"another")
    told = place.run(command, *arguments, code=code)
    assert told["type"] == "error"
    assert told["hint"]


def test_a_machine_that_only_stores_joins_and_is_struck_off(place: Place) -> None:
    desk = place.cluster.root / "desk"
    joined = place.cluster.cli("join", place.names["token"], "--client", "--name", "desk", home=desk)
    assert place.checked("join", joined, 0)["paired"] is True
    assert [other["name"] for other in place.run("status")["others"]].count("desk") == 1
    assert place.run("nodes forget", "desk", code=0)["name"] == "desk"
    assert place.run("ls", home=desk, code=7)["code"] in ("refused", "not-admitted")
    assert place.run("token revoke", code=0)["revoked"] >= 1


def test_a_home_without_an_identity(place: Place) -> None:
    nowhere = place.cluster.root / "nowhere"
    for command in ("ls", "status", "nodes", "doctor", "config show"):
        told = place.run(command, home=nowhere)
        assert told["type"] == ("result" if command in ("doctor", "config show") else "error")


def test_what_runs_until_it_is_stopped(place: Place, tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    watching = place.cluster.begin("watch", watched)
    watching.until("watched")
    watching.handle.signal(signal.SIGINT)
    assert place.checked("watch", watching.wait(30), 0)["stopped"] is True
    with Cluster(tmp_path / "alone", more=QUIET) as alone:
        alone.start(local=0)
        assert place.checked("start", alone.stop(), 0)["stopped"] is True


def test_the_service_that_would_be_installed(place: Place) -> None:
    told = place.run("service install", "--dry-run", "--role", "coordinator", code=0)
    assert told["dry_run"] is True
    assert "ExecStart" in told["text"] or "<plist" in told["text"]


@pytest.mark.slow
def test_unreachable_degraded_and_damaged(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "cluster", nodes=2, more=QUIET) as cluster:
        harmed = Place(cluster, {"folder": str(tmp_path)}, set())
        path = trees.write(tmp_path / "a.bin", trees.noise(1_000_000, seed=53))
        harmed.run("store", str(path), "--name", "run/step-1", code=0)
        first, second = cluster.nodes.values()
        first.handle.kill()
        assert harmed.run("store", str(path), "--name", "run/step-2", code=3)["degraded"] is True
        assert harmed.run("verify", code=3)["healthy"] is False
        second.handle.kill()
        cluster.stop()
        for command in (("ls",), ("gather", "run/step-1", "--to", "{folder}/back")):
            assert harmed.run(command[0], *command[1:], code=6)["code"] == "unreachable"


def test_every_command_was_seen_to_do_as_asked(place: Place) -> None:
    if len(place.ran) < len(SUCCEEDS):
        pytest.skip("only some of the tests of this file ran")
    long = {"demo", "bench", "bench repair"}  # below, with everything only
    elsewhere = {"service install", "service logs", "alerts test"}  # what they would reach is not here
    assert {command for command, well in place.ran if well} >= set(commands()) - long - elsewhere - {"top"}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["demo", "bench --bytes 1MiB", "bench repair --bytes 1MiB"])
def test_the_long_ones(place: Place, command: str) -> None:
    words = command.split(" --")
    assert place.run(words[0], *(f"--{words[1]}".split() if words[1:] else ()), code=0)["type"] == "result"


def test_the_schemas_are_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "roost.apps.cli.schema", "ls", "nodes drain"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert list(json.loads(done.stdout)) == ["ls", "nodes drain"]
