"""`roost export` and `roost import`: to a folder and to a URL and back, and what a damaged export gets."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster

INDEX = "roost-export.json"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with local_cluster(tmp_path_factory.mktemp("transfer") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sources(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two checkpoints of a run, a file and a folder with a link, and one of another run."""
    top = tmp_path_factory.mktemp("sources")
    folder = top / "step-2"
    (folder / "sub").mkdir(parents=True)
    trees.write(folder / "model.safetensors", trees.model([200_000], seed=2))
    (folder / "sub/config.json").write_text("{}")
    (folder / "sub/config.json").chmod(0o640)
    found = {
        "qwen/step-1": trees.write(top / "step-1.safetensors", trees.model([300_000], seed=1)),
        "qwen/step-2": folder,
        "other/step-1": trees.write(top / "o.bin", trees.noise(50_000, seed=3)),
    }
    for name, path in found.items():
        cluster.done("store", path, "--name", name)
    return found


def forget(cluster: Cluster, *names: str) -> None:
    for name in names:
        cluster.done("rm", name, "--now")


def versions(cluster: Cluster) -> list[tuple[str, str]]:
    return [(row["name"], row["version"]) for row in cluster.done("ls", "qwen")["checkpoints"]]


def test_to_a_folder_and_back(cluster: Cluster, sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported = cluster.done("export", "qwen", out)
    assert [row["name"] for row in exported["exported"]] == ["qwen/step-1", "qwen/step-2"]
    assert trees.tree_of(out / "qwen/step-2") == trees.tree_of(sources["qwen/step-2"])
    assert trees.tree_of(out / "qwen/step-1/step-1.safetensors") == trees.tree_of(sources["qwen/step-1"])
    assert cluster.done("export", "other/step-1", out)["bytes"] == 50_000, "beside what is there"
    index = json.loads((out / INDEX).read_text())
    assert [each["name"] for each in index["checkpoints"]] == ["qwen/step-1", "qwen/step-2", "other/step-1"]
    forget(cluster, "qwen/step-1", "qwen/step-2")
    imported = cluster.done("import", out)
    assert {row["name"]: row["unchanged"] for row in imported["imported"]} == {
        "qwen/step-1": False, "qwen/step-2": False, "other/step-1": True,
    }  # fmt: skip
    assert trees.tree_of(cluster.gathered("qwen/step-2")) == trees.tree_of(sources["qwen/step-2"])


def test_to_a_url_and_back(cluster: Cluster, sources: dict[str, Path], tmp_path: Path) -> None:
    """Behind a cache of fsspec's the folder is a file system like those of clouds: it has bytes and names, no modes."""
    url = "simplecache::file://" + str(tmp_path / "bucket")
    assert cluster.cli("export", "qwen", url).code == 0
    assert (tmp_path / "bucket/qwen/step-2/sub/config.json").read_text() == "{}"
    forget(cluster, "qwen/step-1", "qwen/step-2")
    imported = cluster.done("import", url)
    assert [row["copies"] for row in imported["imported"]] == [2, 2]
    back = cluster.gathered("qwen/step-2")
    assert {name: entry.content for name, entry in trees.tree_of(back).items()} == {
        name: entry.content for name, entry in trees.tree_of(sources["qwen/step-2"]).items()
    }


def test_anything_else_is_one_checkpoint(cluster: Cluster, sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "run/step-9").mkdir(parents=True)
    trees.write(tmp_path / "run/step-9/w.bin", trees.noise(10_000, seed=9))
    url = "simplecache::file://" + str(tmp_path / "run/step-9")
    assert cluster.done("import", url)["imported"][0]["name"] == "run/step-9"
    assert cluster.done("import", tmp_path / "run/step-9", "--name", "a/b")["imported"][0]["name"] == "a/b"
    assert cluster.done("import", f"{url}/w.bin", "--name", "a/w")["bytes"] == 10_000
    assert (cluster.gathered("a/w") / "w.bin").is_file() or cluster.gathered("a/w").is_file()


def test_a_damaged_export_is_refused_and_nothing_of_it_is_kept(
    cluster: Cluster, sources: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cluster.done("export", "qwen", out)
    before = versions(cluster)
    victim = out / "qwen/step-2/model.safetensors"
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    answer = cluster.cli("import", out)
    assert (answer.code, answer.result["code"]) == (5, "integrity")
    assert "model.safetensors of qwen/step-2 is not what was exported" in answer.result["message"]
    assert versions(cluster) == before
    victim.unlink()
    (out / "qwen/step-2/sub/config.json").unlink()
    (out / "qwen/step-2/sub").rmdir()
    (out / "qwen/step-2").rmdir()
    assert cluster.cli("import", out).code == 5
    (out / INDEX).write_text("{")
    assert cluster.cli("import", out).code == 5


def test_what_cannot_be_is_told(cluster: Cluster, sources: dict[str, Path], tmp_path: Path) -> None:
    assert cluster.cli("export", "nothing/here", tmp_path / "x").code == 4
    assert cluster.cli("import", tmp_path / "absent").code == 4
    cluster.done("export", "qwen/step-1", tmp_path / "out")
    assert cluster.cli("import", tmp_path / "out", "--name", "x").code == 2
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").write_text("a")
    os.symlink("a", linked / "b")
    cluster.done("store", linked, "--name", "has/links")
    assert cluster.cli("export", "has/links", tmp_path / "links").code == 0
    assert os.readlink(tmp_path / "links/has/links/b") == "a"
    answer = cluster.cli("export", "has/links", "simplecache::file://" + str(tmp_path / "bucket"))
    assert (answer.code, "has links" in answer.result["message"]) == (1, True)
    (tmp_path / "taken/qwen").mkdir(parents=True)
    (tmp_path / "taken/qwen/step-1").write_text("a file where a folder must be")
    assert cluster.cli("export", "qwen/step-1", tmp_path / "taken").code == 1
