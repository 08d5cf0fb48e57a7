"""Files that are opened before the first is read: a rotation takes nothing away."""

import asyncio

import pytest

from checkpoint_kits import KIB, MIB, Kit, noise, simulate, subtree, write_file, write_tree
from roost.checkpoints import holding
from roost.checkpoints.holding import Changed, Holding
from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.core.errors import NotFound
from roost.testing.disk import MemoryDisk


def test_a_checkpoint_that_is_rotated_away_while_it_is_read_is_stored_whole() -> None:
    async def scenario(kit: Kit) -> None:
        tree = {f"{number}.bin": noise(300 * KIB, number) for number in range(60)}
        progress = Progress()
        storing = asyncio.create_task(kit.store(dict(tree), progress=progress))
        while not progress.bytes_moved:
            await kit.runtime.sleep(0.001)
        for path in tree:
            kit.source.unlink(f"out/{path}")
        receipt = await storing
        assert (receipt.copies, receipt.bytes) == (2, sum(map(len, tree.values())))
        await kit.gather()
        assert subtree(kit.place, "back") == tree

    simulate(scenario)


def test_open_files_are_bounded_and_all_are_closed() -> None:
    disk = MemoryDisk(bytes_max=50 * MIB)
    count = holding.HELD_MAX + 5
    write_tree(disk, "top", {f"{number:04}": noise(KIB, number) for number in range(count)})
    found = scan(disk, "top")
    held = Holding(disk, found)
    held.open_all()
    for one in found.found:
        disk.unlink(one.source)
    for one in found.found[: holding.HELD_MAX]:
        file = held.take(one)
        held.give(one, file)
        assert held.take(one) is file, "it stays open, for it may have to be read again"
    with pytest.raises(NotFound):
        held.take(found.found[holding.HELD_MAX])
    held.close()
    held.close()
    assert disk.space().free == 50 * MIB, "no file that has no name any more is kept open"


def test_a_file_that_changed_since_the_scan_is_found_before_a_byte_is_read() -> None:
    disk = MemoryDisk()
    write_tree(disk, "top", {"a": b"1", "b": b"2"})
    found = scan(disk, "top")
    write_file(disk, "top/b", b"3")
    held = Holding(disk, found)
    with pytest.raises(Changed, match="b changed"):
        held.open_all()
    held.close()
