"""What is seen of others: packets and mDNS texts from anybody, and a table that stays bounded."""

import random

import pytest

from roost.cluster.discovery.sightings import (
    ADDRESSES_MAX,
    ANY_CLUSTER,
    FRESH_S,
    NODES_MAX,
    QUESTION_BYTES,
    Advert,
    Sighting,
    Sightings,
    Way,
    from_text,
    pack_advert,
    pack_question,
    read_advert,
    read_question,
    to_text,
)
from roost.core.cluster import Address
from roost.core.ids import NodeId

OURS, THEIRS = b"o" * 32, b"t" * 32


def advert(number: int = 1, *, cluster: bytes = OURS, port: int = 7400, label: str = "pi-1") -> Advert:
    return Advert(cluster, NodeId(f"{number:032x}"), "home", port, admits=True, label=label)


def seen(number: int, *hosts: str, cluster: bytes = OURS, way: Way = Way.MDNS) -> Sighting:
    return Sighting(advert(number, cluster=cluster), tuple(Address(host, 7400) for host in hosts), way)


def test_adverts_and_questions_are_read_back() -> None:
    told = advert(label="Pi im Käfig")
    assert read_advert(pack_advert(told)) == told
    assert from_text(told.node, told.port, to_text(told)) == told
    assert read_question(pack_question(None)) == ANY_CLUSTER
    assert read_question(pack_question(OURS)) == OURS
    assert read_advert(pack_question(OURS)) is None
    assert read_question(pack_advert(told)) is None


def test_no_answer_is_longer_than_its_question() -> None:
    longest = Advert(OURS, NodeId("f" * 32), "n" * 63, 65535, admits=True, label="\N{GRINNING FACE}" * 64)
    assert len(pack_advert(longest)) <= QUESTION_BYTES == len(pack_question(None))


def test_nothing_that_comes_from_outside_raises() -> None:
    dice = random.Random(1)
    good = [pack_advert(advert()), pack_question(OURS)]
    for _ in range(5000):
        data = bytearray(dice.choice(good))
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        packet = bytes(data[: dice.choice([len(data), dice.randrange(len(data) + 1)])])
        found = read_advert(packet)
        assert found is None or (found.label.isprintable() and 1 <= found.port <= 65535)
        read_question(packet)
    for deep in (b"\x91" * 3000, b"\xdf\xff\xff\xff\xff", b""):
        assert read_advert(b"ROOST\x01!" + deep) is None


@pytest.mark.parametrize(
    "change",
    [{"v": "2"}, {"cluster": "zz"}, {"cluster": "aa"}, {"name": ""}, {"name": "a\nb"}, {"label": "x" * 65},
     {"label": "\x1b[2J"}],
    ids=str,
)  # fmt: skip
def test_texts_that_are_not_ours_are_left_alone(change: dict[str, str]) -> None:
    told = advert()
    assert from_text(told.node, told.port, to_text(told) | change) is None
    assert from_text("../" + "a" * 29, told.port, to_text(told)) is None
    assert from_text(told.node, 0, to_text(told)) is None


def test_only_what_is_new_is_told_and_only_of_the_cluster() -> None:
    table = Sightings(cluster=OURS)
    assert table.note(seen(1, "10.0.0.1"), now=0)
    assert not table.note(seen(1, "10.0.0.1", way=Way.BROADCAST), now=1)
    assert table.note(seen(1, "10.0.0.1", "10.0.0.2"), now=2)
    assert not table.note(seen(2, "10.0.0.3", cluster=THEIRS), now=3)
    [(_, addresses)] = table.all()
    assert addresses[Address("10.0.0.1", 7400)] == {Way.MDNS, Way.BROADCAST}
    everybody = Sightings(cluster=None)
    assert everybody.note(seen(2, "10.0.0.3", cluster=THEIRS), now=3)


def test_the_newest_address_comes_first_and_an_old_one_is_not_told() -> None:
    table = Sightings(cluster=OURS)
    table.note(seen(1, "10.0.0.1"), now=0)
    table.note(seen(1, "10.0.0.2"), now=10)
    node = advert().node
    assert [address.host for address in table.addresses(node, now=20)] == ["10.0.0.2", "10.0.0.1"]
    assert [address.host for address in table.addresses(node, now=FRESH_S + 5)] == ["10.0.0.2"]
    assert table.addresses(NodeId("e" * 32), now=0) == []


def test_liars_fill_no_memory() -> None:
    table = Sightings(cluster=None)
    for number in range(3 * NODES_MAX):
        table.note(seen(number, "10.0.0.1", cluster=number.to_bytes(32, "big")), now=number)
    for number in range(100):
        table.note(seen(1, f"10.0.1.{number}"), now=number)
    assert len(table.all()) <= NODES_MAX
    assert max(len(addresses) for _, addresses in table.all()) <= ADDRESSES_MAX
    assert any(Address("10.0.1.99", 7400) in addresses for _, addresses in table.all()), "the newest stay"
