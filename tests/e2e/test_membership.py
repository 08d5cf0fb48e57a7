"""Who is here: what `roost nodes` tells of nodes that freeze, move, are renamed, are copied, have left, or all restart.

The tests use one cluster in turn, and each begins with a look whether those that the one before it harmed still run:
a process that is refused as a copy ends some 10 s later.
"""

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Seen, spread_cluster
from roost.cluster.membership import Membership
from roost.cluster.records import DiskRecords
from roost.codec.records import Record, Revoked, Standing, encode_record
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.security.authority import fingerprint
from roost.security.identity import Identity

SUSPECT_S = 6.0
DOWN_S = 15.0
SPREAD_S = 3.0
"""What a turn of the heartbeats takes, and what a busy machine adds to it."""
ASKED_S = 10.0
"""What asking for the nodes on a busy machine may take."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with spread_cluster(tmp_path_factory.mktemp("membership"), nodes=3) as cluster:
        yield cluster


def all_alive(cluster: Cluster) -> None:
    assert not [node.name for node in cluster.nodes.values() if node.handle.ended(0)]
    for node in cluster.nodes.values():
        cluster.watch_state(node, until="alive", limit_s=20)


def were_in_turn(seen: list[Seen], *states: str) -> None:
    """Check that a node that was frozen went through these states, each at its time. One is not seen only when a single
    answer took longer than it lasts."""
    begins = {"alive": 0.0, "suspect": SUSPECT_S, "down": DOWN_S}
    ends = {"alive": SUSPECT_S, "suspect": DOWN_S}
    found = {one.state: one for one in seen}
    assert [one.state for one in seen] == [state for state in states if state in found], seen
    for one in seen:
        assert one.first_told_s > begins[one.state] - SPREAD_S, seen
        assert one.state == states[-1] or one.last_asked_s < ends[one.state] + SPREAD_S, seen
    asked = 0.0
    for state in states:
        if state in found:
            asked = found[state].last_asked_s
        else:
            told = min(one.first_told_s for one in seen if states.index(one.state) > states.index(state))
            assert told - asked > ends[state] - begins[state] - 2 * SPREAD_S, f"never {state}: {seen}"


def test_a_frozen_node_is_suspect_then_down_then_alive_again(cluster: Cluster) -> None:
    all_alive(cluster)
    victim = cluster.nodes["a"]
    victim.handle.freeze()
    try:
        seen = cluster.watch_state(victim, until="down", limit_s=DOWN_S + ASKED_S)
        row = cluster.rows()[victim.id]
        others = {row["state"] for i, row in cluster.rows().items() if i != victim.id}
        problems = cluster.done("status")["problems"]
    finally:
        victim.handle.resume()
    were_in_turn(seen, "alive", "suspect", "down")
    assert "not heard of for" in row["problem"]
    assert (row["bytes_free"], "pid" in row) == (None, False)
    assert others == {"alive"}
    assert any("a is down" in problem for problem in problems)
    cluster.watch_state(victim, until="alive", limit_s=ASKED_S)


def test_without_the_coordinator_any_node_tells(cluster: Cluster) -> None:
    all_alive(cluster)
    assert cluster.coordinator is not None
    victim = cluster.nodes["b"]
    for handle in (cluster.coordinator.handle, victim.handle):
        handle.freeze()
    try:
        seen = cluster.watch_state(victim, until="suspect", limit_s=SUSPECT_S + 2 * ASKED_S)
        were_in_turn(seen, "alive", "suspect")
    finally:
        for handle in (cluster.coordinator.handle, victim.handle):
            handle.resume()
    all_alive(cluster)


def test_fault_08_a_node_under_a_new_name_and_port_is_the_same_with_its_data(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "some.bin", trees.noise(3_000_000, seed=600))
    cluster.done("store", path, "--name", "membership/moved", "--redundancy", "3")
    before = cluster.rows()
    node = cluster.nodes["c"]
    node.handle.kill()
    node.name = "carla"
    node.program = cluster.begin("join", "--name", node.name, home=node.home)
    node.handle = node.program.handle
    node.program.until("listening")
    cluster.watch_state(node, until="alive", limit_s=20)
    after = cluster.rows()
    assert after.keys() == before.keys()
    assert after[node.id]["name"] == "carla"
    assert after[node.id]["address"] != before[node.id]["address"]
    [*chunks] = cluster.done("show", "membership/moved")["chunks"]
    assert all(chunk["nodes"] == ["a", "b", "carla"] for chunk in chunks)
    for other in ("a", "b"):
        cluster.nodes[other].handle.kill()
    assert trees.tree_of(cluster.gathered("membership/moved")) == trees.tree_of(path)
    cluster.restart(*(cluster.nodes[other] for other in ("a", "b")))
    all_alive(cluster)


def test_a_node_killed_and_started_at_once_is_not_taken_for_a_copy(cluster: Cluster) -> None:
    all_alive(cluster)
    node = cluster.nodes["a"]
    for _ in range(2):
        node.handle.kill()
        cluster.restart(node)
    cluster.watch_state(node, until="alive", limit_s=20)
    told = [problem for problem in cluster.done("status")["problems"] if "its key" in problem]
    assert not any(problem.startswith(f"{node.name}: ") for problem in told)


def test_a_copied_home_is_refused_and_named_and_the_original_unharmed(cluster: Cluster, tmp_path: Path) -> None:
    all_alive(cluster)
    path = trees.write(tmp_path / "some.bin", trees.noise(3_000_000, seed=601))
    cluster.done("store", path, "--name", "membership/copied", "--redundancy", "3")
    node = cluster.nodes["b"]
    before = cluster.rows()[node.id]
    shutil.copytree(node.home, tmp_path / "copy")
    answer = cluster.begin("join", home=tmp_path / "copy").wait(60)
    assert (answer.code, answer.result["code"]) == (7, "not-admitted"), answer
    assert node.id[:8] in answer.result["message"]
    assert "copied" in answer.result["hint"]
    [problem] = [problem for problem in cluster.done("status")["problems"] if "its key" in problem]
    assert problem.startswith("b: ")
    assert "127.0.0.1" in problem
    row = cluster.rows()[node.id]
    assert "its key" in row["problem"]
    assert (row["state"], row["address"]) == ("alive", before["address"])
    chunks = cluster.done("show", "membership/copied")["chunks"]
    assert all(len(chunk["nodes"]) == 3 for chunk in chunks)
    assert trees.tree_of(cluster.gathered("membership/copied")) == trees.tree_of(path)
    assert not node.handle.ended(0)


@pytest.mark.slow
def test_the_view_survives_that_all_start_again(cluster: Cluster) -> None:
    all_alive(cluster)
    before = {i: (row["name"], row["address"]) for i, row in cluster.rows().items()}
    assert cluster.stop().code == 0
    for node in cluster.nodes.values():
        node.handle.signal(signal.SIGTERM)
        settings = cluster.config.read_text().replace("127.0.0.1:0", before[node.id][1])
        (node.home / "roost.yaml").write_text(settings)
    cluster.restart(*cluster.nodes.values())
    cluster.start(local=0)
    all_alive(cluster)
    assert {i: (row["name"], row["address"]) for i, row in cluster.rows().items()} == before


def in_records(home: Path, work: Callable[[Identity, Membership], Record]) -> None:
    """Add a record to the home of a node that does not run."""

    async def add() -> None:
        disk = PosixDisk(home)
        identity = Identity.load(disk)
        membership = Membership(identity.authority)
        records = DiskRecords(disk, SystemRuntime(), check=membership.check, added=membership.learn)
        await records.open()
        await records.add(encode_record(work(identity, membership)))

    asyncio.run(add())


@pytest.mark.slow
def test_a_node_that_left_ends_and_comes_back_with_a_token(cluster: Cluster) -> None:
    all_alive(cluster)
    leaver, other = cluster.nodes["a"], cluster.nodes["b"]
    for node in (leaver, other):
        node.handle.kill()
    in_records(other.home, lambda _, __: Standing(node_id=leaver.id, seq=3, state="left", at=0))
    cluster.restart(leaver)
    assert leaver.program is not None
    cluster.restart(other)
    told = leaver.program.wait(60)
    assert (told.code, told.result["code"]) == (7, "not-admitted"), told
    assert "left" in told.result["message"]
    assert "roost join TOKEN" in told.result["hint"]
    assert cluster.watch_state(leaver, until="left", limit_s=20)
    assert cluster.cli("join", home=leaver.home).code == 7
    assert cluster.cli("join", "--at", "127.0.0.1:1", home=leaver.home).code == 7

    token = cluster.done("token", "create")["token"]
    leaver.program = cluster.begin("join", token, home=leaver.home)
    leaver.handle = leaver.program.handle
    assert leaver.program.until("listening")["node"] == leaver.id
    cluster.watch_state(leaver, until="alive", limit_s=20)


@pytest.mark.slow
def test_a_node_that_was_struck_off_ends(cluster: Cluster) -> None:
    all_alive(cluster)
    cluster.join(cluster.done("token", "create")["token"], "d", first_machine=4)
    victim, other = cluster.nodes["d"], cluster.nodes["b"]
    cluster.watch_state(victim, until="alive", limit_s=20)
    certificate = Identity.load(PosixDisk(victim.home)).certificate
    other.handle.kill()
    in_records(other.home, lambda _, __: Revoked(node_id=NodeId(victim.id), fingerprint=fingerprint(certificate), at=0))
    cluster.restart(other)
    assert victim.program is not None
    told = victim.program.wait(60)
    cluster.nodes.pop("d")
    assert (told.code, told.result["code"]) == (7, "not-admitted"), told
    assert "struck off" in told.result["message"]
    assert victim.id not in cluster.rows()
