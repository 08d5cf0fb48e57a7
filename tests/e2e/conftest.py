"""The clusters that the end-to-end tests share."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, local_cluster, spread_cluster

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script, and so in all that we start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four local nodes, all well, for tests that harm nothing."""
    with local_cluster(tmp_path_factory.mktemp("local")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def _spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with spread_cluster(tmp_path_factory.mktemp("spread")) as cluster:
        yield cluster


@pytest.fixture
def spread(_spread: Cluster) -> Cluster:
    """Four nodes on four machines, brought back to life before each test that harms them."""
    _spread.revive()
    return _spread


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """The test's own folder, removed at its end: some of these tests write hundreds of megabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
