"""The coordinator lost: another machine takes over with the same answers, and the code brings back the rest."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, flip
from e2e.processes import Program

READY_LIMIT_S = 60.0
REPAIR_LIMIT_S = 60.0


class Lost:
    """A cluster of four machines, two checkpoints, and another paired machine, whose coordinator's home is gone."""

    def __init__(self, root: Path) -> None:
        self.cluster = cluster = Cluster(root)
        started = cluster.start(local=0)
        self.code = str(
            next(line for line in started.lines if line.get("event") == "authority-created")["recovery_code"]
        )
        token = cluster.done("token", "create")["token"]
        cluster.join(token, *"abcd")
        self.other = root / "other"
        cluster.done("join", token, "--client", "--name", "other", home=self.other)
        self.first = trees.write(root / "in/first.safetensors", trees.model([2_000_000] * 3, seed=70))
        cluster.done("store", self.first, "--name", "lost/first")
        second = trees.write(root / "in/second.bin", trees.noise(700_000, seed=71))
        cluster.done("store", second, "--name", "lost/second")
        self.answers = self.told(cluster.home)
        started.handle.kill()
        shutil.rmtree(cluster.home)
        self.taken_over: Program | None = None

    def told(self, home: Path) -> list[Any]:
        """What a machine answers about what is stored."""
        done = self.cluster.done
        versions = [(row["name"], row["version"]) for row in done("ls", home=home)["checkpoints"]]
        shown = [done("show", name, home=home) for name, _ in versions]
        return [versions, [{key: one[key] for key in ("files", "chunks", "health")} for one in shown]]

    def take_over(self) -> Program:
        """`roost start` on the other machine, if it does not run there yet."""
        if self.taken_over is None:
            self.taken_over = self.cluster.begin("start", "-n", 4, home=self.other)
            self.taken_over.until("ready", timeout_s=READY_LIMIT_S)
        return self.taken_over

    def address(self, name: str) -> str:
        rows = self.cluster.done("nodes", home=self.other)["nodes"]
        return str(next(row["address"] for row in rows if row["name"] == name))


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    lost = Lost(tmp_path_factory.mktemp("lost") / "cluster")
    yield lost
    lost.cluster.close()


def test_another_machine_takes_over_with_the_same_answers(lost: Lost, tmp_path: Path) -> None:
    cluster, other = lost.cluster, lost.other
    assert lost.told(other) == lost.answers, "already without any coordinator"
    chunk = lost.answers[1][0]["chunks"][0]["id"]
    [victim, *_] = cluster.copies(chunk).values()
    flip(victim, offset=100)
    assert cluster.cli("verify", "lost/first", "--deep", home=other).code == 5

    program = lost.take_over()
    warning = next(line for line in program.lines if line.get("event") == "warning")
    assert "roost recover CODE" in warning["text"]
    program.until("repaired", timeout_s=REPAIR_LIMIT_S)
    assert cluster.done("verify", "--deep", home=other)
    assert lost.told(other)[0] == lost.answers[0]
    assert trees.tree_of(cluster.gathered("lost/first", home=other)) == trees.tree_of(lost.first)
    more = trees.write(tmp_path / "more.bin", trees.noise(300_000, seed=72))
    assert cluster.done("store", more, "--name", "lost/third", home=other)["copies"] == 2
    assert cluster.done("repair", home=other)["short"] == 0
    assert cluster.done("status", home=other)["coordinator_running"] is True


def test_a_typo_and_a_wrong_code_are_told_apart(lost: Lost) -> None:
    cluster = lost.cluster
    before = {path: path.read_bytes() for path in lost.other.glob("authority/*")}
    swapped = lost.code[1] + lost.code[0] + lost.code[2:] if lost.code[0] != lost.code[1] else "0" + lost.code[:-1]
    answer = cluster.cli("recover", swapped, home=lost.other)
    assert (answer.code, answer.result["code"]) == (2, "usage")
    zeros = "00000-00000-00000-00000-00"
    answer = cluster.cli("recover", zeros, home=lost.other)
    assert (answer.code, answer.result["code"]) == (7, "not-admitted")
    fresh = cluster.root / "fresh"
    answer = cluster.cli("recover", zeros, "--at", lost.address("a"), home=fresh)
    assert (answer.code, answer.result["code"]) == (7, "not-admitted")
    answer = cluster.cli("recover", lost.code, home=fresh)
    assert answer.code == 2
    assert "--at HOST:PORT" in answer.result["hint"]
    assert cluster.cli("ls", home=fresh).code == 7, "none of these made it a member"
    assert {path: path.read_bytes() for path in lost.other.glob("authority/*")} == before


def test_the_code_lets_the_machine_that_took_over_admit_at_once(lost: Lost) -> None:
    cluster, other = lost.cluster, lost.other
    lost.take_over()
    answer = cluster.cli("token", "create", home=other)
    assert (answer.code, answer.result["code"]) == (7, "not-admitted")
    assert "roost recover CODE" in answer.result["hint"]
    done = cluster.done("recover", *lost.code.lower().split("-"), home=other)
    assert (done["cluster"], done["new"]) == ("test", False)
    assert (other / "authority/key.pem").stat().st_mode & 0o777 == 0o600
    token = cluster.done("token", "create", home=other)["token"]
    cluster.join(token, "e", first_machine=5)
    assert {row["state"] for row in cluster.done("nodes", home=other)["nodes"]} == {"alive"}
    cluster.nodes.pop("e").handle.kill()


def test_the_code_and_one_node_bring_everything_back(lost: Lost) -> None:
    cluster = lost.cluster
    new = cluster.root / "new"
    done = cluster.done("recover", lost.code, "--at", lost.address("b"), home=new)
    assert done["new"] is True
    assert done["checkpoints"] >= 2
    assert trees.tree_of(cluster.gathered("lost/first", home=new)) == trees.tree_of(lost.first)
    assert lost.told(new)[0][:2] == lost.answers[0]
    coordinator = cluster.begin("start", "-n", 4, home=new)
    coordinator.until("ready", timeout_s=READY_LIMIT_S)
    told = [line.get("event") for line in coordinator.lines]
    assert "authority-created" not in told
    assert "recovery-code" not in told, "the code that was used stays the code"
    token = cluster.done("token", "create", home=new)["token"]
    cluster.done("join", token, "--client", "--name", "again", home=cluster.root / "again")
    coordinator.end()


def test_a_node_whose_home_gets_the_key_admits_by_itself(lost: Lost) -> None:
    cluster = lost.cluster
    home = cluster.nodes["c"].home
    assert cluster.cli("token", "create", home=home).code == 7
    assert cluster.done("recover", lost.code, home=home)["keeps"] is True
    token = cluster.done("token", "create", home=home)["token"]
    cluster.done("join", token, "--client", "--name", "through c", home=cluster.root / "through-c")
    assert cluster.done("ls", home=cluster.root / "through-c")["checkpoints"]


@pytest.mark.slow
def test_another_code_can_be_had_where_the_key_is_and_the_first_stays_good(lost: Lost) -> None:
    cluster = lost.cluster
    home = cluster.root / "with the key"
    cluster.done("recover", lost.code, "--at", lost.address("a"), home=home)
    told = cluster.done("recover", "--new-code", home=home)
    assert told["nodes"] == 4
    for code in (told["recovery_code"], lost.code):
        done = cluster.done("recover", code, "--at", lost.address("b"), home=cluster.root / f"by {code[:5]}")
        assert done["new"] is True
    answer = cluster.cli("join", home=home)
    assert (answer.code, answer.result["code"]) == (2, "usage"), "no node takes the home of one that admits"


def test_the_code_lies_in_no_file(lost: Lost) -> None:
    written = lost.code.replace("-", "")
    for path in lost.cluster.root.rglob("*"):
        if path.is_file():
            assert written[:20].encode() not in path.read_bytes().upper().replace(b"-", b""), path


def test_a_coordinator_in_a_nodes_home_is_refused_and_the_node_goes_on(lost: Lost) -> None:
    cluster, node = lost.cluster, lost.cluster.nodes["d"]
    node.handle.kill()
    answer = cluster.cli("start", home=node.home)
    assert (answer.code, answer.result["code"]) == (2, "usage")
    assert "roost join --home" in answer.result["hint"]
    assert "roost recover CODE --home DIR --at" in answer.result["hint"]
    cluster.restart(node)
    assert lost.told(lost.other)[0][:2] == lost.answers[0]


def test_local_nodes_are_not_made_without_the_key(lost: Lost) -> None:
    cluster = lost.cluster
    admits = cluster.nodes["a"].home
    cluster.done("recover", lost.code, home=admits)
    token = cluster.done("token", "create", home=admits)["token"]
    home = cluster.root / "keyless"
    cluster.done("join", token, "--client", "--name", "keyless", home=home)
    answer = cluster.cli("start", "--local", 2, home=home)
    assert (answer.code, answer.result["code"]) == (7, "not-admitted")
    assert "roost recover CODE" in answer.result["hint"]
    assert not (home / "nodes").exists()


# -- two at once, and clusters from before there were codes ----------------------------------------------------------


def holders(cluster: Cluster, name: str) -> dict[str, list[str]]:
    return {chunk["id"]: chunk["nodes"] for chunk in cluster.done("show", name)["chunks"]}


@pytest.mark.slow
def test_two_coordinators_at_once_do_no_harm(tmp_path: Path) -> None:
    with Cluster(tmp_path / "two", more="repair: {grace: 1s}") as cluster:
        cluster.start(local=0)
        token = cluster.done("token", "create")["token"]
        cluster.join(token, *"abcd")
        second = cluster.root / "second"
        cluster.done("join", token, "--client", "--name", "second", home=second)
        other = cluster.begin("start", "-n", 4, home=second)
        other.until("ready", timeout_s=READY_LIMIT_S)
        paths = {}
        for number, home in enumerate((cluster.home, second)):
            paths[number] = trees.write(tmp_path / f"{number}.bin", trees.noise(900_000, seed=80 + number))
            cluster.done("store", paths[number], "--name", f"two/{number}", home=home)
        victim: Node = cluster.nodes[next(iter(holders(cluster, "two/0").values()))[0]]
        victim.handle.kill()
        both = [cluster.begin("repair", home=home) for home in (cluster.home, second)]
        assert [program.wait().code for program in both] == [0, 0]
        cluster.restart(victim)
        for number, path in paths.items():
            assert all(len(nodes) >= 2 for nodes in holders(cluster, f"two/{number}").values())
            for home in (cluster.home, second):
                assert trees.tree_of(cluster.gathered(f"two/{number}", home=home)) == trees.tree_of(path)
        assert cluster.done("verify", "--deep")
        other.end()


@pytest.mark.slow
def test_a_cluster_without_a_code_gets_one_at_the_next_start(tmp_path: Path) -> None:
    with Cluster(tmp_path / "old") as cluster:
        cluster.start(local=1)
        assert cluster.stop().code == 0
        home = cluster.home
        for path in [home / "authority/sealed", *home.glob("catalogue*"), *home.glob("nodes/1/records/*.sealed-*")]:
            path.unlink()
        started = cluster.begin("start", "--local", 1)
        told = started.until("recovery-code", timeout_s=READY_LIMIT_S)
        if not any(line.get("event") == "ready" for line in started.lines):
            started.until("ready", timeout_s=READY_LIMIT_S)
        assert cluster.done("recover", told["recovery_code"])["cluster"] == "test"
        started.handle.kill()
        again = cluster.start(local=1)
        assert not [line for line in again.lines if "recovery_code" in line]
