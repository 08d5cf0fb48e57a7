"""The command in a unit that `roost service install` would write, run as systemd runs it: until it serves, and to its
end by SIGTERM."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import READY_LIMIT_S, STOP_LIMIT_S, Cluster
from e2e.processes import Program

pytestmark = pytest.mark.xdist_group("service")

ODD = 'it\'s "my" 100% $HOME\\n;x é'
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A coordinator in a folder with a name that must be quoted."""
    with Cluster(tmp_path_factory.mktemp("service") / ODD) as cluster:
        cluster.start(local=0)
        yield cluster


def unit_of(cluster: Cluster, home: Path, **variables: str) -> dict[str, Any]:
    """What would be installed for a home."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ROOST_", "SUDO_"))}
    done = subprocess.run(
        [
            sys.executable, "-m", "roost", "service", "install", "--dry-run", "--json", "--home", str(home),
            "--config", str(cluster.config),
        ],
        capture_output=True, check=True, env={**environment, **variables}, timeout=60,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def words_of(text: str) -> list[str]:
    """The words of ``ExecStart=`` by systemd.syntax(7) and systemd.service(5): quotes and backslashes, then
    specifiers; no variables, because of the colon."""
    (line,) = re.findall(r"^ExecStart=:(.*)$", text, re.MULTILINE)
    words = []
    for quoted, plain in WORD.findall(line):
        word = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        assert "%" not in word.replace("%%", "")
        words.append(word.replace("%%", "%"))
    return words


def run(text: str, folder: Path, variables: Mapping[str, str]) -> Program:
    """Run the unit's command with little in its environment, as systemd does, in the folder that the unit names."""
    interpreter, module, roost, *arguments = words_of(text)
    assert [interpreter, module, roost] == [sys.executable, "-m", "roost"]
    assert "\nWorkingDirectory=/\n" in text
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **variables}
    return Program([*arguments, "--json"], environment, Path("/"), folder / f"errors-{len(variables)}")


def test_a_node_pairs_by_its_token_once_and_comes_back_without(cluster: Cluster, tmp_path: Path) -> None:
    home = cluster.root / "node"
    token = cluster.done("token", "create")["token"]
    unit = unit_of(cluster, home, ROOST_TOKEN=token)
    assert unit["role"] == "node"
    assert token not in unit["text"]
    assert f"EnvironmentFile=-{home}/service.env\n".replace("%", "%%") in unit["text"]
    seen = set()
    for variables in ({"ROOST_TOKEN": token}, {}):
        node = run(unit["text"], tmp_path, variables)
        try:
            seen.add(node.until("listening", timeout_s=READY_LIMIT_S)["node"])
            node.handle.signal(signal.SIGTERM)
            answer = node.wait(STOP_LIMIT_S)
        finally:
            node.end()
        assert answer.code == 0, answer
    assert len(seen) == 1
    again = unit_of(cluster, home)
    assert (again["role"], "EnvironmentFile" in again["text"]) == ("node", False)


def test_the_coordinator_serves_as_a_service(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.stop().code == 0
    unit = unit_of(cluster, cluster.home)
    assert unit["role"] == "coordinator"
    coordinator = run(unit["text"], tmp_path, {})
    try:
        coordinator.until("listening", timeout_s=READY_LIMIT_S)
        token = cluster.done("token", "create")["token"]
        assert cluster.done("join", token, "--client", home=tmp_path / "client")["paired"] is True
        coordinator.handle.signal(signal.SIGTERM)
        answer = coordinator.wait(STOP_LIMIT_S)
    finally:
        coordinator.end()
    assert answer.code == 0, answer
