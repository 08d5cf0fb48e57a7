"""The view that the member records make, and what a member says of itself."""

import msgspec
import pytest

from cluster_kits import AUTHORITY, IDENTITIES, STRANGER_AUTHORITY, member_record, tombstone
from net_kits import address
from roost.cluster.membership import Membership, check_member, describe_self, fold, rounded_capacity
from roost.codec.records import decode_record, encode_record, record_id
from roost.core.cluster import Address, View
from roost.core.errors import NotAdmitted
from roost.core.ids import MachineId
from roost.security.authority import fingerprint
from roost.security.identity import Identity, NodeKey

ONE, TWO = IDENTITIES[:2]


def learned(membership: Membership, *records: object) -> View:
    for record in records:
        assert isinstance(record, type(member_record(ONE)))
        membership.learn(record_id(encode_record(record)), record)
    return membership.view


def test_a_member_record_becomes_a_member() -> None:
    record = member_record(ONE, name="Ada's Pi", at=(address(2), address(1)))
    [member] = learned(Membership(AUTHORITY.certificate), record).members
    assert member.node_id == ONE.node_id
    assert member.name == "Ada's Pi"
    assert member.machine == ONE.machine
    assert member.capacity == 1 << 40
    assert member.addresses == (address(1), address(2))
    assert member.storage
    assert member.fingerprint == fingerprint(ONE.certificate)


def test_the_newest_record_of_a_node_counts_and_who_asks_hears_of_it_once() -> None:
    heard: list[View] = []
    membership = Membership(AUTHORITY.certificate, changed=heard.append)
    first = member_record(ONE, name="first")
    second = member_record(ONE, known=first, name="second")
    assert (first.seq, second.seq) == (1, 2)
    learned(membership, second, first, second, member_record(TWO))
    assert [[m.name for m in view.members if m.node_id == ONE.node_id] for view in heard] == [["second"]] * 2
    assert membership.newest(ONE.node_id) == second
    assert membership.newest(IDENTITIES[2].node_id) is None
    assert membership.addresses(TWO.node_id) == (address(1),)
    assert membership.addresses(IDENTITIES[2].node_id) == ()
    membership.learn(bytes(32), decode_record(tombstone(1)))
    assert len(heard) == 2


def test_two_records_of_one_seq_are_settled_by_their_ids() -> None:
    records = [member_record(ONE, name=name) for name in ("a", "b")]
    pairs = [(bytes(record_id(encode_record(record))), record) for record in records]
    winner = max(pairs)[1].name
    assert {fold(order).members[0].name for order in (pairs, pairs[::-1])} == {winner}
    assert learned(Membership(AUTHORITY.certificate), *records[::-1]).members[0].name == winner


def test_members_are_checked_by_authority_certificate_and_signature() -> None:
    good, other = member_record(ONE), member_record(TWO)
    check_member(good, AUTHORITY.certificate)
    for forged in (
        msgspec.structs.replace(good, name="another"),
        msgspec.structs.replace(good, seq=2),
        msgspec.structs.replace(good, addresses=["10.6.6.6:1"]),
        msgspec.structs.replace(good, signature=other.signature),
        msgspec.structs.replace(good, certificate=other.certificate),
        msgspec.structs.replace(other, node_id=good.node_id),
        msgspec.structs.replace(good, certificate=b"nonsense"),
    ):
        with pytest.raises(NotAdmitted):
            check_member(forged, AUTHORITY.certificate)
    with pytest.raises(NotAdmitted):
        check_member(good, STRANGER_AUTHORITY.certificate)
    Membership(AUTHORITY.certificate).check(decode_record(tombstone(1)))
    with pytest.raises(NotAdmitted):
        Membership(STRANGER_AUTHORITY.certificate).check(good)


def test_a_member_says_anew_only_what_changed() -> None:
    known = member_record(ONE, at=(address(1), address(2)))
    assert member_record(ONE, known=known, at=(address(2), address(1), address(2))) is known
    for changed in (
        member_record(ONE, known=known, name="another", at=(address(1), address(2))),
        member_record(ONE, known=known, at=(address(1),)),
        member_record(ONE, known=known, at=(address(1), address(2)), storage=False),
    ):
        assert changed.seq == known.seq + 1
        check_member(changed, AUTHORITY.certificate)
    readmitted = Identity.found(AUTHORITY, ONE.key, machine=ONE.machine)
    assert member_record(readmitted, known=known, at=(address(1), address(2))).seq == 2, "a new certificate is told"


def test_a_client_keeps_nothing_and_listens_nowhere() -> None:
    identity = Identity.found(AUTHORITY, NodeKey.create(), machine=MachineId("c" * 32))
    record = describe_self(
        identity, None, name="laptop", machine=identity.machine, capacity=0, addresses=(), storage=False
    )
    check_member(record, AUTHORITY.certificate)
    view = fold([(bytes(32), record)])
    assert view.storage == ()
    assert view.members[0].addresses == ()


@pytest.mark.parametrize(
    ("total", "rounded"),
    [(0, 1 << 30), (1 << 30, 1 << 30), ((1 << 31) - 1, 1 << 30), (1 << 40, 1 << 40), ((1 << 40) - 1, 1 << 39)],
)
def test_capacities_are_rounded_so_that_they_rarely_change(total: int, rounded: int) -> None:
    assert rounded_capacity(total) == rounded


def test_an_ipv6_address_survives_the_record() -> None:
    at = (Address("fe80::1", 7400), Address("::1", 1))
    record = decode_record(encode_record(member_record(ONE, at=at)))
    assert set(fold([(bytes(32), record)]).members[0].addresses) == set(at)
