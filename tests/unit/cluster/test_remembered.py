"""Where nodes answered last: a hint that survives restarts, and whose loss or damage harms nobody."""

import pytest

from net_kits import node_id
from roost.cluster.remembered import ADDRESSES_MAX, FILE_BYTES_MAX, Remembered
from roost.core.cluster import Address
from roost.testing.disk import MemoryDisk

ONE, TWO = node_id(1), node_id(2)
HERE = [Address("10.0.0.1", port) for port in range(1, 20)]


def loaded(disk: MemoryDisk) -> Remembered:
    remembered = Remembered(disk)
    remembered.load()
    return remembered


def test_the_address_that_answered_last_comes_first_also_after_a_restart() -> None:
    disk = MemoryDisk()
    remembered = loaded(disk)
    assert list(remembered.nodes()) == []
    assert remembered.addresses(ONE) == ()
    for address in (HERE[0], HERE[1], HERE[0], Address("fe80::1", 7400)):
        remembered.worked(ONE, address)
    remembered.worked(TWO, HERE[5])
    for one in (remembered, loaded(disk), loaded(disk.kill())):
        assert one.addresses(ONE) == (Address("fe80::1", 7400), HERE[0], HERE[1])
        assert one.addresses(TWO) == (HERE[5],)
        assert list(one.nodes()) == [ONE, TWO]


def test_few_addresses_are_kept_and_the_same_one_is_not_written_again() -> None:
    disk = MemoryDisk()
    remembered = loaded(disk)
    for address in HERE:
        remembered.worked(ONE, address)
    assert remembered.addresses(ONE) == tuple(HERE[: -ADDRESSES_MAX - 1 : -1])
    operations = disk.operations
    remembered.worked(ONE, HERE[-1])
    assert disk.operations == operations


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b'{"\xff": []}',
        b"[" * 100_000,
        b'{"not an id": []}',
        b'{"%032x": ["nowhere"]}' % 1,
        b'{"%032x": ["h:%s"]}' % (1, b"9" * 5000),
        b'{"%032x": 5}' % 1,
        b" " * (FILE_BYTES_MAX + 1),
    ],
    ids=["empty", "nonsense", "no UTF-8", "deep", "no id", "no address", "a huge port", "no list", "too long"],
)
def test_a_damaged_file_is_an_empty_one(data: bytes) -> None:
    disk = MemoryDisk()
    file = disk.create(Remembered.PATH)
    file.pwrite(data, 0)
    file.close()
    remembered = loaded(disk)
    assert list(remembered.nodes()) == []
    remembered.worked(ONE, HERE[0])
    assert loaded(disk).addresses(ONE) == (HERE[0],)


def test_a_home_that_fails_costs_only_the_hint() -> None:
    disk = MemoryDisk()
    loaded(disk).worked(ONE, HERE[0])
    disk.failing.add(Remembered.PATH)
    remembered = loaded(disk)
    assert list(remembered.nodes()) == []
    disk.failing.clear()
    disk.read_only = True
    remembered.worked(TWO, HERE[1])
    assert remembered.addresses(TWO) == (HERE[1],)
