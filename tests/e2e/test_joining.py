"""Joining by the code that `roost start` shows, and by tokens: what lets a machine in, what does not, what it costs.

Everybody here has the same address, from which one attempt a second is looked at; who comes too soon asks again.
"""

import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import READY_LIMIT_S, Cluster, Node
from e2e.processes import Program
from roost.security.pairing import JoinCode

pytestmark = pytest.mark.xdist_group("joining")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A coordinator without nodes."""
    with Cluster(tmp_path_factory.mktemp("joining")) as cluster:
        cluster.start(local=0)
        yield cluster


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Node:
    """A node that joined by the code."""
    program = joining(cluster, shown(cluster), "--name", "a", home=cluster.root / "a")
    told = program.until("listening", timeout_s=READY_LIMIT_S)
    cluster.nodes["a"] = Node("a", told["node"], cluster.root / "a", program.handle, program)
    return cluster.nodes["a"]


def coordinator(cluster: Cluster) -> Program:
    assert cluster.coordinator is not None
    return cluster.coordinator


def shown(cluster: Cluster) -> str:
    """The join code that was shown last."""
    coordinator(cluster).catch_up()
    told = [line["join_code"] for line in coordinator(cluster).lines if line.get("event") == "join-code"]
    code = told[-1] if told else coordinator(cluster).until("join-code")["join_code"]
    assert isinstance(code, str)
    return code


def address(cluster: Cluster) -> str:
    told = json.loads((cluster.home / "run.json").read_text())["address"]
    assert isinstance(told, str)
    return told


def joining(cluster: Cluster, code: str, *more: object, home: Path) -> Program:
    return cluster.begin("join", code, "--at", address(cluster), *more, home=home, machine=1)


def wrong() -> str:
    return JoinCode.create().format()


# -- by code -----------------------------------------------------------------------------------------------------------


def test_the_code_makes_a_node_that_is_told_of(cluster: Cluster, node: Node) -> None:
    told = coordinator(cluster).until("node-joined", name="a")
    assert told["node"] == node.id
    line = next(line for line in coordinator(cluster).lines if line.get("event") == "join-code")
    assert 590 <= line["good_for_s"] <= 600
    assert cluster.rows()[node.id]["state"] == "alive"


def test_run_again_it_just_comes_back_and_has_its_data(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "some.bin", trees.noise(2_000_000, seed=900))
    assert cluster.cli("store", path, "--name", "joining/kept").code in (0, 3)
    before = cluster.rows()[node.id]["address"]
    node.handle.kill()
    cluster.restart(node)
    assert node.program is not None
    assert node.program.lines[-1]["node"] == node.id
    node.handle.kill()
    # A code that is not the one that is shown: it is not asked for, so it costs nobody a guess.
    node.program = joining(cluster, wrong(), home=node.home)
    node.handle = node.program.handle
    told = node.program.until("listening", timeout_s=READY_LIMIT_S)
    assert (told["node"], told["address"] == before) == (node.id, False)
    cluster.watch_state(node, until="alive", limit_s=20)
    assert trees.tree_of(cluster.gathered("joining/kept")) == trees.tree_of(path)
    assert not [line for line in coordinator(cluster).lines if "wrong join code" in line.get("text", "")]


def test_a_client_is_paired_by_code_and_keeps_nothing(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    home = tmp_path / "client"
    answer = joining(cluster, shown(cluster), "--client", home=home).wait()
    assert (answer.code, answer.result["paired"]) == (0, True), answer
    assert [row["id"] for row in cluster.done("nodes", home=home)["nodes"]] == [node.id]
    assert not (home / "chunks").exists()
    again = joining(cluster, shown(cluster), "--client", home=home).wait()
    assert (again.code, again.result["paired"]) == (0, True), again


def test_a_wrong_code_is_refused_and_another_one_is_shown_and_works(cluster: Cluster, tmp_path: Path) -> None:
    right = shown(cluster)
    answer = joining(cluster, wrong(), "--client", home=tmp_path / "wrong").wait()
    assert (answer.code, answer.result["code"]) == (7, "not-admitted"), answer
    assert "roost start" in answer.result["hint"]
    assert not (tmp_path / "wrong/identity/certificate.der").exists()
    warning = coordinator(cluster).until("warning", host="127.0.0.1")
    assert "wrong join code" in warning["text"]
    fresh = coordinator(cluster).until("join-code")["join_code"]
    assert fresh != right
    assert joining(cluster, fresh, "--client", home=tmp_path / "right").wait().code == 0


def test_a_typo_is_told_before_anybody_is_dialled(cluster: Cluster, tmp_path: Path) -> None:
    code = shown(cluster)
    typo = code[:-1] + ("0" if code[-1] != "0" else "1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        at = f"127.0.0.1:{listening.getsockname()[1]}"
        for word in (typo, code[:-1], "roost1notatoken"):
            answer = cluster.cli("join", word, "--at", at, "--client", home=tmp_path / "typo")
            assert (answer.code, answer.result["code"]) == (2, "usage"), answer
            assert word not in str(answer)
        assert select.select([listening], [], [], 0)[0] == []
    assert joining(cluster, code, "--client", home=tmp_path / "typo").wait().code == 0, "it cost the code nothing"


def test_without_a_code_or_a_coordinator_it_says_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    answer = cluster.cli("join", home=tmp_path / "none")
    assert (answer.code, answer.result["code"]) == (7, "not-admitted"), answer
    assert "roost join CODE" in answer.result["hint"]
    answer = cluster.cli("join", wrong(), "--at", "127.0.0.1:1", home=tmp_path / "none")
    assert (answer.code, answer.result["code"]) == (6, "unreachable"), answer


def test_a_node_shows_no_code(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    at = json.loads((node.home / "run.json").read_text())["address"]
    answer = cluster.cli("join", shown(cluster), "--at", at, "--client", home=tmp_path / "home")
    assert answer.code == 6, answer
    assert "no join code is shown" in answer.result["message"]


# -- by token ----------------------------------------------------------------------------------------------------------


def test_a_token_in_the_environment_lets_in(cluster: Cluster, tmp_path: Path) -> None:
    token = cluster.done("token", "create", "--uses", "1")["token"]
    home = tmp_path / "home"
    for _ in range(2):
        program = cluster.begin("join", "--client", home=home, prefix=["env", f"ROOST_TOKEN={token}"])
        answer = program.wait()
        assert (answer.code, answer.result.get("paired")) == (0, True), answer
    used_up = cluster.begin("join", "--client", home=tmp_path / "b", prefix=["env", f"ROOST_TOKEN={token}"]).wait()
    assert (used_up.code, used_up.result["code"]) == (7, "not-admitted"), used_up


def test_a_token_that_was_revoked_lets_nobody_in(cluster: Cluster, tmp_path: Path) -> None:
    token = cluster.done("token", "create")["token"]
    member = tmp_path / "member"
    cluster.done("join", token, "--client", home=member)
    assert cluster.done("token", "revoke")["revoked"] >= 1
    answer = cluster.cli("join", token, "--client", home=tmp_path / "late")
    assert (answer.code, answer.result["code"]) == (7, "not-admitted"), answer
    assert not (tmp_path / "late/identity/certificate.der").exists()
    assert cluster.done("nodes", home=member)["nodes"], "who has joined stays"
