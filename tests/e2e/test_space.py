"""A cluster whose nodes are full, on real small disks: it says how much is missing, and all that is stored stays."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster

MIB = 1024 * 1024
DISK = 24 * MIB
RESERVE = 2 * MIB
CONFIG = """\
cluster: test
node: {listen: "127.0.0.1:0", reserve: 2MiB, capacity: 256GiB}
"""
WITHIN = 'mount -t tmpfs -o size=24m,mode=700 tmpfs "$0" || exit 77; exec "$@"'
MOUNTS = sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, ("unshare", "mount")))


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes on machines of their own, ``small-1`` and ``small-2``, each on a disk of 24 MiB that only it sees."""
    if not MOUNTS:
        pytest.skip("mounting a tmpfs takes root on Linux, and `unshare`")
    with Cluster(tmp_path_factory.mktemp("space") / "cluster") as cluster:
        cluster.start(local=0)
        token = cluster.done("token", "create")["token"]
        config = cluster.root / "small.yaml"
        config.write_text(CONFIG)
        for number in (1, 2):
            home = cluster.root / f"small-{number}"
            home.mkdir()
            program = cluster.begin(
                "join", token, "--name", home.name, home=home, config=config, machine=90 + number,
                prefix=["unshare", "-m", "sh", "-c", WITHIN, str(home)],
            )  # fmt: skip
            if program.handle.ended(0.5) and program.wait().code == 77:
                pytest.skip("this machine does not let us mount")
            program.until("listening", timeout_s=60)
        yield cluster


def test_a_full_cluster_says_how_much_is_missing_and_keeps_what_it_has(small: Cluster, tmp_path: Path) -> None:
    first = trees.write(tmp_path / "first.bin", trees.noise(5 * MIB, seed=700))
    version = small.done("store", first, "--name", "space/first")["version"]
    big = trees.write(tmp_path / "big.bin", trees.noise(40 * MIB, seed=701))

    answer = small.cli("store", big, "--name", "space/big")
    error = answer.result
    assert (answer.code, error["code"]) == (8, "no-space")
    room = 2 * (DISK - RESERVE - 5 * MIB)
    assert 0.9 < error["bytes_missing"] / (2 * 40 * MIB - room) < 1.15
    assert "MiB more are needed: small-1 and small-2 have" in error["message"]
    assert "roost join" in error["hint"]

    assert [listed["name"] for listed in small.done("ls")["checkpoints"]] == ["space/first"]
    assert small.gathered("space/first").read_bytes() == first.read_bytes()
    small.done("rm", "space/first")
    [removed] = small.done("ls", "--removed")["checkpoints"]
    assert (removed["name"], removed["version"]) == ("space/first", version)
    would = small.done("undelete", f"space/first@{version}", "--dry-run")
    back = small.done("undelete", f"space/first@{version}")
    assert (back["version"], back["copies"], back["degraded"]) == (would["version"], 2, False), "it takes no room"
    assert small.gathered("space/first").read_bytes() == first.read_bytes()

    token = small.done("token", "create")["token"]
    small.join(token, "roomy")
    degraded = small.cli("store", big, "--name", "space/big")
    assert (degraded.code, degraded.result["copies"]) == (3, 1)
    [note] = [note for note in degraded.result["notes"] if "fewer copies than asked because nodes are full" in note]
    assert "MiB more are needed: small-1 and small-2 have" in note
    assert small.gathered("space/big").read_bytes() == big.read_bytes()
