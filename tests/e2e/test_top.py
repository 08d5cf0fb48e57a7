"""`roost top` on a terminal of its own, against a real cluster."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.test_commands import refused
from lab.terminal import Terminal

TOKEN_S = 60


@contextmanager
def watched(cluster: Cluster, *, home: Path | None = None) -> Iterator[Terminal]:
    """`roost top` in 80 columns and 24 rows."""
    places = ["--home", str(home or cluster.home), "--config", str(cluster.config)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ROOST_")}
    environment |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    command: Sequence[str] = [sys.executable, "-m", "roost", "top", *places]
    terminal = Terminal(command, environment=environment, directory=cluster.root, rows=24, columns=80)
    try:
        yield terminal
    finally:
        terminal.close()


def test_it_tells_how_the_cluster_is_and_q_ends_it(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "seen.bin", trees.noise(1_000_000, seed=77))
    cluster.done("store", path, "--name", "top-seen/step-77")
    with watched(cluster) as terminal:
        terminal.until("top-seen")
        terminal.type("5")
        terminal.until("listening")  # an event, from the coordinator
        terminal.type("q")
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.shown
        assert "\x1b[?1049l" in terminal.shown, "the terminal is as it was"


def test_ctrl_c_ends_it_with_0(cluster: Cluster) -> None:
    with watched(cluster) as terminal:
        terminal.until("Checkpoints")
        assert terminal.interrupt() == 0


@pytest.mark.slow
def test_it_outlives_its_cluster(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "cluster", nodes=2) as cluster:
        path = trees.write(tmp_path / "a.bin", trees.noise(1_000_000, seed=78))
        cluster.done("store", path, "--name", "run/step-1")
        token = cluster.done("token", "create")["token"]
        desk = cluster.root / "desk"
        cluster.done("join", token, "--client", home=desk)
        with watched(cluster, home=desk) as terminal:
            terminal.until("All is well", timeout_s=TOKEN_S)
            for node in cluster.nodes.values():
                node.handle.kill()
            cluster.coordinator.handle.signal(signal.SIGKILL)  # type: ignore[union-attr]
            terminal.until("UNREACHABLE", timeout_s=TOKEN_S)
            terminal.type("q")
            assert terminal.ended() == 0
            assert "Traceback" not in terminal.shown


def test_it_needs_a_terminal_and_prints_no_json(cluster: Cluster) -> None:
    assert "roost status --json" in refused(cluster.cli("top"), code=2, word="usage")
