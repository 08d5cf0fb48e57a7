"""Faults of nodes and clients in the middle of the work: stored stays stored, and nothing hangs.

The numbers are those of the table of faults. Of the others 5, 6 and 17 are in `test_faults_of_disks.py`, 4 and 9 also
in `test_coordinator.py`, 5 in `test_scrub.py`, 8 in `test_membership.py` and `test_members.py`, 10 to 12 in
`tests/security`, 13 in `test_commands.py`, 15 and 16 in `test_inputs.py`; 14 comes with the watcher. Each test harms
a cluster whose nodes stand for four machines. A link that is cut is here a node that is frozen; wires are cut in
`test_cut_links.py`.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, spread_cluster
from e2e.processes import Answer, Program

NOTICED_S = 7.5
"""For how long a fault may hold everything up: 5 s of silence, and what a busy machine adds."""
WAY_AROUND_S = 30.0
ALIVE_LIMIT_S = 20.0
REPAIRED_S = 60.0
BIG_BYTES = 250_000_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that takes long enough to move for something to happen meanwhile."""
    path = trees.write(tmp_path_factory.mktemp("big") / "big.bin", trees.noise(BIG_BYTES, seed=40))
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def kept(_spread: Cluster, big: Path) -> str:
    """The name under which that file is stored."""
    _spread.revive()
    return str(_spread.done("store", big, "--name", "faults/big")["name"])


def another(big: Path, folder: Path, *, number: int) -> Path:
    """The same size of other bytes, so that nothing of it is stored yet."""
    key = 16 * number + 1
    table = bytes(i ^ key for i in range(256))
    return trees.write(folder / "big.bin", big.read_bytes().translate(table))


def some(folder: Path, *, seed: int) -> Path:
    return trees.write(folder / "some.safetensors", trees.model([2_000_000] * 5, seed=seed))


def caught_moving(program: Program) -> None:
    """Stop a command in the middle of its work."""
    program.until_moving()
    program.handle.freeze()


def holders(cluster: Cluster, name: str) -> list[Node]:
    """The nodes that hold a part of a checkpoint, those with most chunks first."""
    count: dict[str, int] = {}
    for chunk in cluster.done("show", name)["chunks"]:
        for node in chunk["nodes"]:
            count[node] = count.get(node, 0) + 1
    return [cluster.nodes[node] for node in sorted(count, key=lambda node: -count[node])]


def whole(cluster: Cluster, answer: Answer, path: Path, *, code: int = 0) -> dict[str, Any]:
    """Check that a store ended with `code`, and that what it stored comes back; its receipt."""
    assert answer.code == code, answer
    assert trees.tree_of(cluster.gathered(answer.result["name"])) == trees.tree_of(path)
    return answer.result


# -- 1, 7: nodes that are dead ---------------------------------------------------------------------------------------


def test_fault_01_nodes_dead_at_store_time(spread: Cluster, tmp_path: Path) -> None:
    a, b, c, d = spread.nodes.values()
    first = some(tmp_path, seed=500)
    a.handle.kill()
    receipt = whole(spread, spread.cli("store", first, "--name", "faults/one-dead"), first)
    assert receipt["copies"] == 2
    assert a.name not in receipt["nodes"]

    b.handle.kill()
    c.handle.kill()
    trees.write(first, trees.model([1_000_000], seed=510))
    answer = spread.cli("store", first, "--name", "faults/three-dead")
    receipt = whole(spread, answer, first, code=3)
    assert (receipt["copies"], receipt["degraded"]) == (1, True)
    assert receipt["nodes"] == [d.name]
    listed = spread.done("ls", "faults/three-dead")
    assert listed["complete"] is False

    d.handle.kill()
    for arguments in (("store", first), ("gather", "faults/three-dead"), ("ls",)):
        answer = spread.cli(*arguments)
        assert (answer.code, answer.result["code"]) == (6, "unreachable")
        assert answer.result["hint"]

    spread.revive()
    receipt = whole(spread, spread.cli("store", first, "--name", "faults/three-dead"), first)
    assert (receipt["unchanged"], receipt["copies"]) == (True, 2), "storing again tops up the missing copies"


@pytest.mark.slow
def test_fault_01_what_was_stored_while_nodes_were_dead_is_repaired_later(tmp_path: Path) -> None:
    with spread_cluster(tmp_path / "cluster", nodes=3, more="repair: {grace: 1s}") as cluster:
        a, b, c = cluster.nodes.values()
        for node in (a, b):
            node.handle.kill()
        path = some(tmp_path, seed=515)
        receipt = whole(cluster, cluster.cli("store", path, "--name", "faults/later"), path, code=3)
        assert receipt["nodes"] == [c.name]
        cluster.restart(a)
        cluster.until_healthy("faults/later", within_s=REPAIRED_S)
        c.handle.kill()
        assert trees.tree_of(cluster.gathered("faults/later")) == trees.tree_of(path), "a alone has all of it"


def test_fault_07_two_dead_nodes_lose_nothing_that_others_hold(spread: Cluster, tmp_path: Path) -> None:
    path = some(tmp_path, seed=520)
    spread.done("store", path, "--name", "faults/three-copies", "--redundancy", "3")
    spread.done("store", path, "--name", "faults/two-copies")
    other = trees.write(tmp_path / "other.safetensors", trees.model([2_000_000] * 2, seed=525))
    spread.done("store", other, "--name", "faults/beyond")
    gone = spread.done("show", "faults/beyond")["chunks"][1]
    for name in gone["nodes"]:
        spread.nodes[name].handle.kill()
    for name in ("faults/three-copies", "faults/two-copies"):
        assert trees.tree_of(spread.gathered(name)) == trees.tree_of(path), "all of it has three copies here"
    shown = spread.done("show", "faults/three-copies")
    assert shown["health"] in ("degraded", "at-risk")
    assert spread.cli("verify", "faults/three-copies").code == 3

    answer = spread.cli("gather", "faults/beyond", "--to", tmp_path / "to")
    assert (answer.code, answer.result["code"]) == (6, "unreachable"), "two dead nodes are more than two copies survive"
    told = f"{answer.result['message']} {answer.result['hint']}"
    assert gone["id"][:12] in told
    assert all(name in told for name in gone["nodes"]), told
    assert not (tmp_path / "to/other.safetensors").exists()
    spread.revive()
    assert trees.tree_of(spread.gathered("faults/beyond")) == trees.tree_of(other), "and with them all is back"


def test_fault_08_a_node_comes_back_under_another_address(spread: Cluster, tmp_path: Path) -> None:
    path = some(tmp_path, seed=530)
    moved, *others, without = spread.nodes.values()
    without.handle.kill()  # so that each of the other three holds all of it
    receipt = spread.done("store", path, "--name", "faults/moved", "--redundancy", "3")
    assert sorted(receipt["nodes"]) == sorted(node.name for node in (moved, *others))
    before = spread.rows()[moved.id]["address"]
    moved.handle.kill()
    spread.restart(moved)
    for node in others:
        node.handle.kill()
    spread.watch_state(moved, until="alive", limit_s=ALIVE_LIMIT_S)
    assert spread.rows()[moved.id]["address"] != before
    shown = spread.done("show", "faults/moved")
    assert all(chunk["nodes"] == [moved.name] for chunk in shown["chunks"])
    assert trees.tree_of(spread.gathered("faults/moved")) == trees.tree_of(path), "from where it is now"


# -- 2, 3: nodes that die or freeze in the middle --------------------------------------------------------------------


def test_fault_02_a_node_killed_in_the_middle_of_a_store(spread: Cluster, big: Path, tmp_path: Path) -> None:
    path = another(big, tmp_path, number=2)
    program = spread.begin("store", path, "--name", "faults/killed")
    caught_moving(program)
    victim = next(iter(spread.nodes.values()))
    victim.handle.kill()
    begun = time.monotonic()
    program.handle.resume()
    receipt = whole(spread, program.wait(WAY_AROUND_S), path)
    assert program.stood_still_s(since=begun) < NOTICED_S, program.moves(since=begun)
    assert receipt["copies"] == 2
    assert victim.name not in receipt["nodes"]
    assert any(victim.name in note for note in receipt["notes"])


def test_fault_03_a_node_frozen_in_the_middle_of_a_store(spread: Cluster, big: Path, tmp_path: Path) -> None:
    path = another(big, tmp_path, number=3)
    program = spread.begin("store", path, "--name", "faults/frozen")
    caught_moving(program)
    victim = next(iter(spread.nodes.values()))
    victim.handle.freeze()
    begun = time.monotonic()
    program.handle.resume()
    answer = program.wait(WAY_AROUND_S)
    assert program.stood_still_s(since=begun) < NOTICED_S, program.moves(since=begun)
    assert (answer.code, answer.result["copies"]) == (0, 2), answer
    assert victim.name not in answer.result["nodes"]
    shown = spread.done("show", "faults/frozen")
    assert all(len(chunk["nodes"]) == 2 for chunk in shown["chunks"]), "the two copies are elsewhere"


def test_fault_03_a_node_frozen_in_the_middle_of_a_gather(
    spread: Cluster, big: Path, kept: str, tmp_path: Path
) -> None:
    victim = holders(spread, kept)[0]
    program = spread.begin("gather", kept, "--to", tmp_path / "to")
    caught_moving(program)
    victim.handle.freeze()
    begun = time.monotonic()
    program.handle.resume()
    answer = program.wait(WAY_AROUND_S)
    assert program.stood_still_s(since=begun) < NOTICED_S, program.moves(since=begun)
    assert answer.code == 0, answer
    assert answer.result["failovers"] > 0
    assert any(victim.name in note for note in answer.result["notes"])
    assert trees.tree_of(tmp_path / "to/big.bin") == trees.tree_of(big)


def test_fault_03_a_node_frozen_from_the_start_holds_up_nobody(spread: Cluster, tmp_path: Path) -> None:
    path = some(tmp_path, seed=540)
    next(iter(spread.nodes.values())).handle.freeze()
    program = spread.begin("store", path, "--name", "faults/frozen-before")
    assert program.next(WAY_AROUND_S), "its start is not what is measured"
    begun = time.monotonic()
    answer = program.wait()
    assert whole(spread, answer, path)["copies"] == 2
    assert program.stood_still_s(since=begun) < NOTICED_S, program.moves(since=begun)


# -- 4: a client that dies -------------------------------------------------------------------------------------------


def test_fault_04_a_store_that_was_killed_is_not_listed_and_goes_on(spread: Cluster, big: Path, tmp_path: Path) -> None:
    path = another(big, tmp_path, number=4)
    program = spread.begin("store", path, "--name", "faults/client")
    program.until_moving(past_bytes=int(0.4 * BIG_BYTES))
    program.handle.kill()
    assert spread.done("ls", "faults/client")["checkpoints"] == []
    again = spread.cli("store", path, "--name", "faults/client")
    receipt = whole(spread, again, path)
    assert receipt["unchanged"] is False
    assert receipt["bytes_sent"] < 0.95 * BIG_BYTES, "what had arrived is not sent again"
    assert receipt["version"].startswith("1-")


# -- 4, 12: a gather that dies or fails over a good copy -----------------------------------------------------------


def test_fault_12_a_gather_that_fails_leaves_the_good_file_and_goes_on(
    spread: Cluster, big: Path, kept: str, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    mine = trees.write(to / "big.bin", b"the last good copy")
    before = trees.tree_of(mine)
    program = spread.begin("gather", kept, "--to", to, "--force")
    program.until_moving()
    program.handle.kill()
    assert trees.tree_of(mine) == before

    program = spread.begin("gather", kept, "--to", to, "--force")
    caught_moving(program)
    for node in spread.nodes.values():
        node.handle.kill()
    program.handle.resume()
    answer = program.wait()
    assert (answer.code, answer.result["code"]) == (6, "unreachable"), answer
    assert trees.tree_of(mine) == before

    spread.revive()
    spread.done("gather", kept, "--to", to, "--force")
    assert trees.tree_of(mine) == trees.tree_of(big)
    assert [path.name for path in to.iterdir()] == ["big.bin"]
