"""`roost doctor` on real homes: unpaired, without a network, in a cluster that is well, and in one that is not."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster, spread_cluster
from e2e.processes import Answer

pytestmark = pytest.mark.xdist_group("doctor")

DIALLED_LIMIT_S = 60.0
BAD = ("warning", "problem")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, each as if on a machine of its own."""
    with spread_cluster(tmp_path_factory.mktemp("doctor"), nodes=2) as cluster:
        yield cluster


def checked(answer: Answer) -> dict[str, list[dict[str, Any]]]:
    """The findings by their check. The exit code says whether any is bad, and those that are say what mends them."""
    findings = answer.result["findings"]
    bad = [finding for finding in findings if finding["level"] in BAD]
    assert answer.code == (3 if bad else 0), answer
    assert answer.result["well"] is not bad
    assert all(set(finding) == {"check", "level", "text", "mend"} and finding["text"] for finding in findings)
    assert all(finding["mend"] for finding in bad)
    assert not any("could not be looked at" in finding["text"] for finding in findings), findings
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        found.setdefault(finding["check"], []).append(finding)
    return found


def levels(found: dict[str, list[dict[str, Any]]], check: str) -> list[str]:
    return [finding["level"] for finding in found.get(check, [])]


def test_an_unpaired_home_gets_a_whole_examination_and_stays_as_it_is(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c") as alone:
        found = checked(alone.cli("doctor"))
        assert not alone.home.exists()
    assert levels(found, "64-bit") == levels(found, "python") == levels(found, "disk") == ["ok"]
    assert levels(found, "certificates") == levels(found, "disk-speed") == levels(found, "discovery") == ["note"]
    assert "unicast" not in found


@contextlib.contextmanager
def nowhere() -> Iterator[list[str]]:
    """The words before a command that runs it in a network that has nothing but a loopback that is down."""
    if os.uname().sysname != "Linux" or not shutil.which("unshare"):
        pytest.skip("network namespaces are Linux's")
    words = ["unshare", "--user", "--map-root-user", "--net"] if os.geteuid() else ["unshare", "--net"]
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    yield words


def test_a_machine_on_no_network_is_told_so(cluster: Cluster) -> None:
    everywhere = cluster.root / "everywhere.yaml"
    everywhere.write_text('node: {listen: "0.0.0.0:7400", reserve: 16MiB}\n')
    with nowhere() as words:
        prefix = [*words, *cluster.prefix] if cluster.prefix else words
        program = cluster.begin("doctor", home=cluster.nodes["a"].home, config=everywhere, prefix=prefix)
        found = checked(program.wait(60))
    assert levels(found, "multicast") == levels(found, "broadcast") == ["warning"]
    assert "no network" in found["multicast"][0]["text"]
    assert set(levels(found, "unicast")) == {"warning"}


def test_a_node_that_is_well(cluster: Cluster) -> None:
    home = cluster.nodes["a"].home
    before = sorted(path.name for path in home.iterdir() if not path.name.startswith("catalogue"))
    found = checked(cluster.cli("doctor", home=home))
    assert levels(found, "certificates") == levels(found, "unicast") == levels(found, "releases") == ["ok"]
    assert levels(found, "machines") == levels(found, "disk-speed") == ["ok"]
    assert "other machine" in found["clock"][0]["text"] or " of b" in found["clock"][0]["text"]
    assert levels(found, "service") == ["note"]
    after = sorted(path.name for path in home.iterdir() if not path.name.startswith("catalogue"))
    assert set(after) - set(before) <= {"peers.json"}


def test_others_tell_that_they_dialled_this_node(cluster: Cluster) -> None:
    deadline = time.monotonic() + DIALLED_LIMIT_S
    while True:
        [found] = checked(cluster.cli("doctor", home=cluster.nodes["a"].home))["ports"]
        if found["level"] == "ok":
            break
        assert time.monotonic() < deadline, found
    assert "both ways" in found["text"]
    assert "b at 127.0.0.1:" in found["text"]


def test_the_coordinators_home_is_examined_too(cluster: Cluster) -> None:
    found = checked(cluster.cli("doctor"))
    assert levels(found, "certificates") == levels(found, "unicast") == levels(found, "ports") == ["ok"]


def test_nodes_that_are_frozen_and_keys_that_others_may_read_are_found(cluster: Cluster) -> None:
    key = cluster.home / "identity" / "key.pem"
    frozen = cluster.nodes["b"]
    frozen.handle.signal(signal.SIGSTOP)
    try:
        found = checked(cluster.cli("doctor"))
        assert [one["level"] for one in found["unicast"]] == ["warning"]
        assert found["unicast"][0]["text"].startswith("b at ")
        key.chmod(0o644)
        found = checked(cluster.cli("doctor"))
        assert levels(found, "certificates") == ["problem"]
        assert found["certificates"][0]["mend"] == f"chmod go= {key}"
    finally:
        key.chmod(0o600)
        frozen.handle.resume()


def test_nodes_that_share_a_machine_are_told(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c") as shared:
        shared.start(local=2)
        found = checked(shared.cli("doctor"))
    assert levels(found, "machines") == ["warning"]
    assert "all 2 nodes are on one machine" in found["machines"][0]["text"]
