"""The commands, as scripts see them: what they answer, in which shape, and with which exit code."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.processes import Answer

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
VERSION = re.compile(r"[1-9]\d*-[0-9a-f]{6}\Z")
SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def stored(cluster: Cluster, path: Path, name: str, *options: object) -> dict[str, Any]:
    return cluster.done("store", path, "--name", name, *options)


def refused(answer: Answer, *, code: int, word: str) -> str:
    """Check that a command failed as scripts expect; its message and hint."""
    assert answer.code == code, answer
    assert answer.result.keys() >= {"type", "code", "message", "hint"}
    assert answer.result["type"] == "error"
    assert answer.result["code"] == word
    assert answer.result["message"]
    assert answer.result["hint"]
    assert "Traceback" not in answer.errors
    return f"{answer.result['message']} {answer.result['hint']}"


@pytest.fixture(scope="module")
def checkpoint(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder that is stored once as ``kept/step-10``; the receipt, and the path as ``source``."""
    folder = trees.sharded(tmp_path_factory.mktemp("sources") / "step-10", seed=300)
    return {**stored(cluster, folder, "kept/step-10"), "source": folder}


# -- store ---------------------------------------------------------------------------------------------------------


def test_the_receipt_of_store(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    assert checkpoint["type"] == "result"
    assert checkpoint["name"] == "kept/step-10"
    assert VERSION.match(checkpoint["version"])
    assert checkpoint["unchanged"] is False
    assert checkpoint["degraded"] is False
    assert checkpoint["copies"] == 2
    assert checkpoint["chunks"] >= checkpoint["chunks_new"] > 0
    assert 0 < checkpoint["bytes_sent"] < 1.02 * checkpoint["bytes"], "the sender's link carries one copy"
    assert len(checkpoint["nodes"]) >= 2
    assert set(checkpoint["nodes"]) <= set(cluster.nodes)
    assert checkpoint["seconds"] > 0


def test_fault_13_storing_the_same_again_moves_nothing(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    again = stored(cluster, checkpoint["source"], "kept/step-10")
    assert again["unchanged"] is True
    assert again["version"] == checkpoint["version"]
    assert (again["bytes_sent"], again["chunks_new"]) == (0, 0)
    elsewhere = stored(cluster, checkpoint["source"], "kept/step-11")
    assert elsewhere["unchanged"] is False
    assert (elsewhere["bytes_sent"], elsewhere["chunks_new"]) == (0, 0)
    far_from_it = stored(cluster, checkpoint["source"], "another run/first")
    assert far_from_it["bytes_sent"] == 0


def test_fault_13_two_clients_at_once_both_succeed(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "both.bin", trees.noise(20_000_000, seed=20))
    both = [cluster.begin("store", path, "--name", "commands/both") for _ in range(2)]
    answers = [program.wait() for program in both]
    assert [answer.code for answer in answers] == [0, 0], answers
    assert {answer.result["copies"] for answer in answers} == {2}
    assert trees.tree_of(cluster.gathered("commands/both")) == trees.tree_of(path)
    for answer in answers:
        version = f"commands/both@{answer.result['version']}"
        assert trees.tree_of(cluster.gathered(version)) == trees.tree_of(path)


def test_only_what_changed_is_sent(cluster: Cluster, tmp_path: Path) -> None:
    sizes = [1_200_000] * 10
    path = trees.write(tmp_path / "m.safetensors", trees.model(sizes, seed=200))
    first = stored(cluster, path, "commands/changed")
    data = bytearray(path.read_bytes())
    data[-sizes[-1] :] = trees.weights(sizes[-1], seed=999)
    trees.write(path, bytes(data))
    second = stored(cluster, path, "commands/changed")
    assert second["unchanged"] is False
    assert 0 < second["bytes_sent"] < 0.12 * first["bytes_sent"]
    assert second["chunks_new"] == 1
    versions = [row["version"] for row in cluster.done("ls", "commands/changed")["checkpoints"]]
    assert versions == [first["version"], second["version"]]
    old = cluster.gathered(f"commands/changed@{first['version']}")
    assert trees.sha256_of(old) != trees.sha256_of(path)
    assert old.read_bytes() == trees.model(sizes, seed=200)
    assert trees.tree_of(cluster.gathered("commands/changed")) == trees.tree_of(path)


def test_the_default_name_is_refused_when_it_came_from_another_place(cluster: Cluster, tmp_path: Path) -> None:
    one = trees.write(tmp_path / "one/run/m.safetensors", trees.model([100], seed=1))
    other = trees.write(tmp_path / "other/run/m.safetensors", trees.model([200], seed=2))
    assert cluster.done("store", one)["name"] == "run/m"
    assert "--name run/m" in refused(cluster.cli("store", other), code=2, word="usage")
    assert cluster.done("store", other, "--name", "run/m")["version"].startswith("2-")


def test_progress_tells_rate_and_what_it_waits_for(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "big.bin", trees.noise(120_000_000, seed=21))
    answer = cluster.cli("store", path, "--name", "commands/progress")
    assert answer.code == 0, answer
    wanted = {"phase", "bytes_done", "bytes_total", "rate", "seconds_left", "waiting_for"}
    told = [line for line in answer.progress if line["event"] == "progress"]
    assert told
    assert all(line.keys() >= wanted for line in told)
    done = [line["bytes_done"] for line in told]
    assert done == sorted(done)


def test_an_interrupted_store_says_so_and_lists_nothing(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "big.bin", trees.noise(200_000_000, seed=22))
    program = cluster.begin("store", path, "--name", "commands/interrupted")
    program.until_moving()
    program.handle.signal(signal.SIGINT)
    refused(program.wait(), code=130, word="interrupted")
    assert not cluster.done("ls", "commands/interrupted")["checkpoints"]


# -- what lies on the nodes ----------------------------------------------------------------------------------------


def test_every_chunk_file_is_named_by_the_sha256_of_its_bytes(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    shown = cluster.done("show", checkpoint["name"])
    for chunk in shown["chunks"]:
        copies = cluster.copies(chunk["id"])
        assert sorted(copies) == chunk["nodes"]
        assert {trees.sha256_of(path) for path in copies.values()} == {chunk["id"]}
        assert {path.stat().st_size for path in copies.values()} == {chunk["bytes"]}


def test_show_tells_files_chunks_and_where_each_copy_is(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    shown = cluster.done("show", f"{checkpoint['name']}@{checkpoint['version']}")
    assert shown.keys() >= {"name", "version", "files", "chunks", "health", "verified_at"}
    files = {row["path"]: row for row in shown["files"]}
    for path in checkpoint["source"].iterdir():
        row = files.pop(path.name)
        assert (row["bytes"], row["sha256"]) == (path.stat().st_size, trees.sha256_of(path))
    assert not files
    assert all(SHA256.match(chunk["id"]) and len(chunk["nodes"]) == 2 for chunk in shown["chunks"])
    assert shown["health"] == "healthy"


# -- gather --------------------------------------------------------------------------------------------------------


def test_gather_leaves_alone_what_is_there(cluster: Cluster, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    to = tmp_path / "to"
    first = cluster.done("gather", "kept/step-10", "--to", to)
    assert first.keys() >= {"name", "version", "path", "bytes", "seconds", "failovers"}
    assert first["path"] == str(to)
    assert first["bytes"] == checkpoint["bytes"]
    assert first["failovers"] == 0
    before = trees.tree_of(to)
    assert before == trees.tree_of(checkpoint["source"])
    inode = (to / "config.json").stat().st_ino
    again = cluster.done("gather", "kept/step-10", "--to", to)
    assert again["already_there"] is True
    assert (to / "config.json").stat().st_ino == inode

    trees.write(to / "config.json", b"mine")
    trees.write(to / "notes.txt", b"mine too")
    mine = trees.tree_of(to)
    assert "--force" in refused(cluster.cli("gather", "kept/step-10", "--to", to), code=1, word="failed")
    assert trees.tree_of(to) == mine
    cluster.done("gather", "kept/step-10", "--to", to, "--force")
    after = trees.tree_of(to)
    assert after.pop("notes.txt") == mine["notes.txt"]
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["to"], "no partial work is left"


def test_a_file_comes_back_under_its_own_name(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "own-name.safetensors", trees.model([4_000], seed=23))
    stored(cluster, path, "commands/renamed")
    to = tmp_path / "made/for/it"
    assert cluster.done("gather", "commands/renamed", "--to", to)["path"] == str(to / "own-name.safetensors")
    assert trees.tree_of(to / "own-name.safetensors") == trees.tree_of(path)
    trees.write(to / "own-name.safetensors", b"mine")
    refused(cluster.cli("gather", "commands/renamed", "--to", to), code=1, word="failed")
    assert (to / "own-name.safetensors").read_bytes() == b"mine"
    trees.write(to / "other", b"stays")
    cluster.done("gather", "commands/renamed", "--to", to, "--force")
    assert trees.tree_of(to / "own-name.safetensors") == trees.tree_of(path)
    assert (to / "other").read_bytes() == b"stays"


def test_gather_goes_to_the_name_by_default(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    assert cluster.done("gather", "kept/step-10")["path"] == str(cluster.root / "kept/step-10")
    assert trees.tree_of(cluster.root / "kept/step-10") == trees.tree_of(checkpoint["source"])


def test_gather_only_what_matches(cluster: Cluster, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    cluster.done("gather", "kept/step-10", "--to", tmp_path / "some", "--only", "*.json")
    names = sorted(path.name for path in (tmp_path / "some").iterdir())
    assert names == ["config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"]
    for name in names:
        assert trees.tree_of(tmp_path / "some" / name) == trees.tree_of(checkpoint["source"] / name)
    nothing = cluster.cli("gather", "kept/step-10", "--to", tmp_path / "none", "--only", "*.absent")
    refused(nothing, code=4, word="not-found")
    assert not (tmp_path / "none").exists()


# -- looking -------------------------------------------------------------------------------------------------------


def test_ls_lists_what_is_stored(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    listing = cluster.done("ls", "kept/step-10", "--health")
    assert listing["complete"] is True
    [row] = listing["checkpoints"]
    assert row.keys() >= {"name", "version", "bytes", "stored_at", "health"}
    assert (row["name"], row["version"], row["bytes"]) == tuple(checkpoint[key] for key in ("name", "version", "bytes"))
    assert RFC_3339.match(row["stored_at"])
    assert row["health"] == "healthy"
    assert cluster.done("ls", "no such run/")["checkpoints"] == []


def test_verify_asks_and_deep_reads_back(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    [quick] = cluster.done("verify", "kept/step-10")["checkpoints"]
    assert (quick["health"], quick["copies"], quick["damaged"]) == ("healthy", 2, [])
    assert RFC_3339.match(quick["verified_at"])
    shown = cluster.done("show", "kept/step-10")
    assert shown["verified_at"] == quick["verified_at"]
    assert shown["verified_at"] == min(at for chunk in shown["chunks"] for at in chunk["verified_at"].values())
    assert all(set(chunk["verified_at"]) == set(chunk["nodes"]) for chunk in shown["chunks"])
    [deep] = cluster.done("verify", "--deep", "kept/step-10")["checkpoints"]
    assert (deep["health"], deep["copies"], deep["damaged"]) == ("healthy", 2, [])
    assert deep["verified_at"] >= quick["verified_at"]


def test_nodes_and_status(cluster: Cluster) -> None:
    rows = cluster.done("nodes")["nodes"]
    assert len(rows) == 4
    for row in rows:
        assert row.keys() >= {"id", "name", "address", "state", "home", "pid", "bytes_used", "bytes_free"}
        assert row["state"] == "alive"
        assert re.match(r"127\.0\.0\.1:\d+\Z", row["address"])
        node = cluster.nodes[row["name"]]
        assert (row["id"], row["home"], row["pid"]) == (node.id, str(node.home), node.handle.pid)
        assert row["bytes_used"] == sum(path.stat().st_size for path in node.chunks.values())
    status = cluster.done("status")
    assert len(status["nodes"]) == 4
    assert status["single_machine"] is True
    assert any("one machine" in problem for problem in status["problems"])


def test_config_show_tells_where_each_value_comes_from(cluster: Cluster) -> None:
    told = cluster.done("config", "show", "--origin")
    values = {row["key"]: row for row in told["settings"]}
    assert values["cluster"]["value"] == "test"
    assert str(cluster.config) in values["cluster"]["origin"]
    assert "default" in values["redundancy"]["origin"]


def test_rm_takes_versions_off_the_list(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    versions = [stored(cluster, trees.write(path, bytes([n]) * 50), "commands/rm")["version"] for n in range(2)]
    told = cluster.done("rm", f"commands/rm@{versions[1]}", "--dry-run")
    assert told["removed"] == [{"name": "commands/rm", "version": versions[1]}]
    cluster.done("rm", f"commands/rm@{versions[1]}")
    assert [row["version"] for row in cluster.done("ls", "commands/rm")["checkpoints"]] == versions[:1]
    assert cluster.gathered("commands/rm").read_bytes() == b"\0" * 50
    cluster.done("rm", "commands/rm")
    assert cluster.done("ls", "commands/rm")["checkpoints"] == []
    refused(cluster.cli("gather", "commands/rm"), code=4, word="not-found")
    assert stored(cluster, path, "commands/rm")["version"].startswith("3-"), "a version's number is never used again"


# -- joining -------------------------------------------------------------------------------------------------------


def test_a_client_joins_with_a_token_and_stores_from_there(cluster: Cluster, tmp_path: Path) -> None:
    made = cluster.done("token", "create", "--uses", "1")
    assert made.keys() >= {"token", "expires_at", "uses"}
    assert RFC_3339.match(made["expires_at"])
    assert made["uses"] == 1
    home = tmp_path / "laptop"
    assert cluster.done("join", made["token"], "--client", home=home)["paired"] is True
    path = trees.write(tmp_path / "from-laptop.bin", trees.noise(100_000, seed=24))
    assert cluster.done("store", path, "--name", "commands/laptop", home=home)["copies"] == 2
    assert trees.tree_of(cluster.gathered("commands/laptop")) == trees.tree_of(path)
    again = cluster.cli("join", made["token"], "--client", home=tmp_path / "second")
    assert "token" in refused(again, code=7, word="not-admitted")
    assert len(cluster.done("nodes", home=home)["nodes"]) == 4, "a client keeps nothing"


# -- errors --------------------------------------------------------------------------------------------------------


def test_exit_2_for_a_wrong_command(cluster: Cluster) -> None:
    wrong: list[list[str]] = [
        ["store"], ["frobnicate"], ["ls", "--no-such-option"], ["show", "a//b"], ["store", ".", "--name", "../escape"],
        ["store", ".", "--name", "/absolute"], ["token", "create", "--ttl", "soon"],
    ]  # fmt: skip
    for answer in cluster.together(wrong):
        refused(answer, code=2, word="usage")


def test_exit_2_for_a_token_that_is_none(cluster: Cluster, tmp_path: Path) -> None:
    answer = cluster.cli("join", "not-a-token", home=tmp_path / "new")
    assert "token" in refused(answer, code=2, word="usage")


def test_exit_4_for_what_is_not_there(cluster: Cluster) -> None:
    for answer in cluster.together((word, "no/such") for word in ("store", "gather", "show", "verify", "rm")):
        assert "no/such" in refused(answer, code=4, word="not-found")


def test_exit_4_for_a_version_that_is_not_there(cluster: Cluster, checkpoint: dict[str, Any]) -> None:
    told = refused(cluster.cli("gather", "kept/step-10@9-abcdef"), code=4, word="not-found")
    assert checkpoint["version"] in told


def test_exit_7_in_a_home_that_belongs_to_no_cluster(cluster: Cluster, tmp_path: Path) -> None:
    home = tmp_path / "empty"
    commands = (["ls"], ["store", "."], ["nodes"], ["token", "create"], ["join"], ["status"])
    for answer in cluster.together(commands, home=home):
        refused(answer, code=7, word="not-admitted")
    assert not (home / "identity/certificate.der").exists()


def test_exit_8_when_no_node_has_room(tmp_path: Path) -> None:
    with local_cluster(tmp_path / "full", nodes=2, reserve="4096TiB") as cluster:
        path = trees.write(tmp_path / "x.bin", trees.noise(1_000, seed=25))
        refused(cluster.cli("store", path), code=8, word="no-space")
        assert cluster.done("ls")["checkpoints"] == []


def test_exit_9_when_another_process_serves_the_home(cluster: Cluster) -> None:
    refused(cluster.cli("start", "--local", "0"), code=9, word="busy")
    node = next(iter(cluster.nodes.values()))
    assert str(node.handle.pid) in refused(cluster.cli("join", home=node.home), code=9, word="busy")


def test_settings_that_are_not_known_are_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    wrong = trees.write(tmp_path / "wrong.yaml", b"redundncy: 2\n")
    told = refused(cluster.begin("ls", config=wrong).wait(), code=2, word="usage")
    assert "redundncy" in told
    assert "redundancy" in told
