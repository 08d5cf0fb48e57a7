"""A link that is cut in the middle of a transfer: no process is harmed, and no word comes through any more.

Each node is on a wire of its own (`wires.py`), and the coordinator and all commands run at the hub.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node
from e2e.processes import Program
from e2e.wires import NoWires, Wires

NOTICED_S = 7.5
"""For how long a cut may hold everything up: 5 s of silence, and what a busy machine adds."""
WAY_AROUND_S = 60.0
ALIVE_LIMIT_S = 30.0
BIG_BYTES = 150_000_000
NAMES = "abcd"


@dataclass(frozen=True, slots=True)
class Wired:
    """Four nodes, each on a machine and on a wire of its own."""

    cluster: Cluster
    wires: Wires

    def wire(self, node: Node) -> int:
        return NAMES.index(node.name) + 1

    def settle(self) -> None:
        """Let all wires be whole, and all nodes be heard of."""
        for node in self.cluster.nodes.values():
            self.wires.mend(self.wire(node))
        deadline = time.monotonic() + ALIVE_LIMIT_S
        while set(states := [row["state"] for row in self.cluster.rows().values()]) != {"alive"}:
            assert time.monotonic() < deadline, states


@pytest.fixture(scope="module")
def _wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    try:
        wires = Wires(len(NAMES))
    except NoWires as error:
        pytest.skip(f"no wires to cut here: {error}")
    with wires, Cluster(tmp_path_factory.mktemp("wired") / "cluster") as cluster:
        usual = cluster.config.read_text()
        cluster.prefix = wires.within(0)
        cluster.config.write_text(usual.replace("127.0.0.1", wires.address(0)))
        cluster.start(local=0)
        token = cluster.done("token", "create")["token"]
        for wire, name in enumerate(NAMES, 1):
            config = cluster.root / f"{name}.yaml"
            config.write_text(usual.replace("127.0.0.1", wires.address(wire)))
            home = cluster.root / name
            program = cluster.begin(
                "join", token, "--name", name, home=home, config=config, machine=wire, prefix=wires.within(wire)
            )
            told = program.until("listening", timeout_s=60)
            cluster.nodes[name] = Node(name, told["node"], home, program.handle, program)
        yield Wired(cluster, wires)


@pytest.fixture
def wired(_wired: Wired) -> Wired:
    """Those nodes, all reached."""
    _wired.settle()
    return _wired


def went_on(program: Program, *, since: float) -> dict[str, object]:
    """Check that a command found its way around a wire that was cut at `since`; its result."""
    answer = program.wait(WAY_AROUND_S)
    assert answer.code == 0, answer
    assert program.stood_still_s(since=since) < NOTICED_S, program.moves(since=since)
    return answer.result


def test_fault_03_a_link_cut_in_the_middle_of_a_store(wired: Wired, tmp_path: Path) -> None:
    cluster, victim = wired.cluster, wired.cluster.nodes["b"]
    path = trees.write(tmp_path / "big.bin", trees.noise(BIG_BYTES, seed=800))
    program = cluster.begin("store", path, "--name", "cut/store")
    program.until_moving()
    wired.wires.cut(wired.wire(victim))
    receipt = went_on(program, since=time.monotonic())
    assert receipt["copies"] == 2
    assert victim.name not in str(receipt["nodes"])
    assert victim.name in str(receipt["notes"])
    shown = cluster.done("show", "cut/store")
    assert all(len(set(chunk["nodes"]) - {victim.name}) == 2 for chunk in shown["chunks"]), "the copies are elsewhere"
    assert trees.tree_of(cluster.gathered("cut/store")) == trees.tree_of(path)
    assert not victim.handle.ended(0)


def test_fault_03_a_link_cut_in_the_middle_of_a_gather(wired: Wired, tmp_path: Path) -> None:
    cluster = wired.cluster
    path = trees.write(tmp_path / "big.bin", trees.noise(BIG_BYTES, seed=801))
    cluster.done("store", path, "--name", "cut/gather")
    program = cluster.begin("gather", "cut/gather", "--to", tmp_path / "to")
    program.until_moving()
    victim = cluster.nodes["c"]
    wired.wires.cut(wired.wire(victim))
    result = went_on(program, since=time.monotonic())
    assert isinstance(result["failovers"], int)
    assert result["failovers"] > 0
    assert victim.name in str(result["notes"])
    assert trees.tree_of(tmp_path / "to/big.bin") == trees.tree_of(path)


@pytest.mark.slow
def test_fault_03_all_links_cut_is_told_and_what_was_not_stored_is_not_listed(wired: Wired, tmp_path: Path) -> None:
    cluster = wired.cluster
    path = trees.write(tmp_path / "big.bin", trees.noise(BIG_BYTES, seed=802))
    program = cluster.begin("store", path, "--name", "cut/all")
    program.until_moving()
    for node in cluster.nodes.values():
        wired.wires.cut(wired.wire(node))
    answer = program.wait(WAY_AROUND_S)
    assert (answer.code, answer.result["code"]) == (6, "unreachable"), answer
    wired.settle()
    assert cluster.done("ls", "cut/all")["checkpoints"] == []
