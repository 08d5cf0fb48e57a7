"""What must hold after somebody misbehaved: nothing was written, memory is bounded, the next honest request works."""

import contextlib
import json
import select
from collections.abc import Iterator
from pathlib import Path

from e2e import trees
from e2e.cluster import Cluster, Node
from roost.wire.frames import Kind
from roost.wire.messages import GetNodes
from security.stranger import Stranger

MIB = 1024 * 1024
GROWTH_MAX = 20 * MIB
KEPT = ("chunks", "records", "identity", "authority")
"""The folders of a home in which nothing may appear, change or vanish."""


def address_of(home: Path) -> tuple[str, int]:
    host, _, port = json.loads((home / "run.json").read_text())["address"].rpartition(":")
    return host, int(port)


def serves_honest_clients(cluster: Cluster, path: Path, name: str) -> None:
    """Store and gather with commands of their own."""
    cluster.done("store", path, "--name", name)
    assert trees.tree_of(cluster.gathered(name)) == trees.tree_of(path)


@contextlib.contextmanager
def expect_bounded_memory(node: Node) -> Iterator[None]:
    before = node.rss_bytes
    yield
    assert node.rss_bytes - before < GROWTH_MAX, f"{node.name} grew by {(node.rss_bytes - before) / MIB:.1f} MiB"


def kept(home: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below the folders that matter: the inode, size and time of change of each file."""
    found = {}
    for folder in KEPT:
        for path in (home / folder).glob("**/*"):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                if path.is_file():
                    found[str(path.relative_to(home))] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found


@contextlib.contextmanager
def expect_unharmed(home: Path, node: Node, member: Stranger) -> Iterator[None]:
    """Whatever is done meanwhile: nothing is written in `home`, `node` keeps to its memory, a member is answered."""
    before = kept(home)
    with expect_bounded_memory(node):
        yield
    assert kept(home) == before
    assert is_answered(home, member)


def is_answered(home: Path, member: Stranger) -> bool:
    """Whether who serves the home answers a member's request."""
    with member.connected(address_of(home)) as honest:
        honest.request(GetNodes())
        return honest.answer()[0] is Kind.ANSWER


def wait_a_moment(seconds: float) -> None:
    """Let that much time pass between two bytes: this is what a slow peer does."""
    select.select([], [], [], seconds)
