"""`roost scrub` on real nodes: what nobody read is found, put away, made again, and told."""

import os
from collections.abc import Iterator

import pytest

from e2e import trees
from e2e.cluster import Cluster, flip, local_cluster

LONG_AGO = 1_600_000_000
LONG_AGO_TOLD = "2020-09-13T12:26:40Z"


@pytest.fixture(scope="module")
def _scrubbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    more = "scrub: {every: 7d, rate: 5MiB/s}"
    with local_cluster(tmp_path_factory.mktemp("scrubbed"), more=more) as cluster:
        path = trees.write(tmp_path_factory.mktemp("source") / "some.safetensors", trees.model([500_000] * 8, seed=9))
        cluster.done("store", path, "--name", "run/step-1")
        yield cluster


@pytest.fixture
def scrubbed(_scrubbed: Cluster) -> Cluster:
    """Four nodes that hold a checkpoint, all up."""
    _scrubbed.revive()
    return _scrubbed


def age(cluster: Cluster) -> None:
    """Let every copy be one that was last verified long ago."""
    for node in cluster.nodes.values():
        node.handle.kill()
        for file in node.chunks.values():
            os.utime(file, (LONG_AGO, LONG_AGO))
    cluster.restart(*cluster.nodes.values())


def damaged_total(cluster: Cluster) -> dict[str, int]:
    return {row["name"]: row["damaged_total"] for row in cluster.done("status")["nodes"]}


def test_a_node_remembers_over_a_restart_when_its_copies_were_last_good(scrubbed: Cluster) -> None:
    age(scrubbed)
    shown = scrubbed.done("show", "run/step-1")
    assert shown["verified_at"] == LONG_AGO_TOLD
    assert {at for chunk in shown["chunks"] for at in chunk["verified_at"].values()} == {LONG_AGO_TOLD}


def test_fault_05_a_flip_that_nobody_reads_is_found_put_away_and_mended(scrubbed: Cluster) -> None:
    age(scrubbed)
    before = damaged_total(scrubbed)
    chunk = scrubbed.done("show", "run/step-1")["chunks"][1]
    name, file = sorted(scrubbed.copies(chunk["id"]).items())[0]
    flip(file, offset=chunk["bytes"] // 2)
    assert scrubbed.done("verify")["healthy"], "nobody knows of it"
    answer = scrubbed.cli("scrub")
    assert answer.code == 0, answer
    told = answer.result
    assert {row["name"]: row["damaged"] for row in told["nodes"]} == {
        node: [chunk["id"]] if node == name else [] for node in scrubbed.nodes
    }
    assert (told["damaged"], told["short"], told["lost"]) == (1, 0, [])
    assert sum(row["objects"] for row in told["nodes"]) >= 2 * len(scrubbed.done("show", "run/step-1")["chunks"])
    assert all(row["bytes"] > 0 and not row["problem"] for row in told["nodes"])

    assert list(scrubbed.nodes[name].home.glob(f"quarantine/{chunk['id']}*"))
    assert len(scrubbed.copies(chunk["id"])) >= 2
    assert damaged_total(scrubbed) == {node: count + int(node == name) for node, count in before.items()}
    shown = scrubbed.done("show", "run/step-1")
    assert shown["verified_at"] > LONG_AGO_TOLD
    assert scrubbed.done("verify", "--deep")["healthy"]


def test_a_damaged_record_is_found_and_comes_back(scrubbed: Cluster) -> None:
    node = scrubbed.nodes[min(scrubbed.nodes)]
    [record] = node.home.glob("records/*.manifest")
    flip(record, offset=200)
    told = scrubbed.done("scrub", node.name)
    [row] = told["nodes"]
    assert row["damaged"] == [record.stem]
    assert (node.home / "quarantine" / record.name).exists()
    assert record.exists(), "the others had it"


def test_one_node_by_its_name_or_the_start_of_its_id(scrubbed: Cluster) -> None:
    node = scrubbed.nodes[max(scrubbed.nodes)]
    for text in (node.name, node.id[:10]):
        assert [row["name"] for row in scrubbed.done("scrub", text)["nodes"]] == [node.name]
    answer = scrubbed.cli("scrub", "nobody")
    assert (answer.code, answer.result["code"]) == (4, "not-found")


def test_local_nodes_scrub_as_the_coordinators_settings_say(scrubbed: Cluster) -> None:
    for node in scrubbed.nodes.values():
        told = scrubbed.begin("config", "show", home=node.home, config=node.home / "roost.yaml").wait()
        assert "7d" in str(told.result)
        assert "5MiB/s" in str(told.result)
    scrubbed.done("scrub")
    assert all("on pace" in row["scrub"] for row in scrubbed.done("status")["nodes"])


def test_a_node_that_is_down_is_named_and_the_others_are_read(scrubbed: Cluster) -> None:
    node = scrubbed.nodes[max(scrubbed.nodes)]
    node.handle.kill()
    answer = scrubbed.cli("scrub")
    assert answer.code == 3, answer
    problems = {row["name"]: bool(row["problem"]) for row in answer.result["nodes"]}
    assert problems == {name: name == node.name for name in scrubbed.nodes}
