"""The authority in a home: made once, sealed once, told once; and the homes in which no coordinator starts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from roost.checkpoints.catalogue import Catalogue
from roost.cluster.membership import Membership
from roost.codec.records import SealedAuthority, decode_record, encode_record
from roost.core.errors import NotAdmitted, UsageError
from roost.core.ids import MachineId
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.node.authority import SEALED_PATH, keep_sealed, refuse_node_home, take_identity
from roost.node.events import Event
from roost.node.node import STORE_ID_PATH
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.security.recovery import RecoveryCode, seal, unseal
from roost.settings.paths import Home

AT = 1_700_000_000


@dataclass
class Place:
    """A home, and what was said in it."""

    home: Home
    disk: PosixDisk
    said: list[Event] = field(default_factory=list)

    def take(self) -> tuple[Authority | None, Identity]:
        return take_identity(self.disk, self.home, "home", at=AT, say=self.said.append)

    def codes(self) -> list[RecoveryCode]:
        found = [event.data["recovery_code"] for event in self.said if "recovery_code" in event.data]
        return [RecoveryCode.parse(str(code)) for code in found]

    def keep(self, authority: Authority, *, exchanged: Sequence[bool] = (), known: Sequence[bytes] = ()) -> list[bytes]:
        """Run `keep_sealed` with a catalogue that knows `known`; the sealed authorities in it afterwards."""

        async def main() -> list[bytes]:
            runtime = _Hurried()
            membership = Membership(authority.certificate)
            catalogue = Catalogue(None, runtime, check=membership.check, added=membership.learn)
            await catalogue.open()
            for data in known:
                await catalogue.add(data)
            outcomes = iter(exchanged)

            async def exchange() -> bool:
                return next(outcomes)

            await keep_sealed(runtime, self.disk, catalogue, exchanged=exchange, say=self.said.append)
            assert next(outcomes, None) is None, "it exchanged less than expected"
            found = await catalogue.of_kind(SealedAuthority)
            await catalogue.close()
            return found

        return asyncio.run(main())


class _Hurried(SystemRuntime):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Home(tmp_path), PosixDisk(tmp_path))


def opened(data: bytes, code: RecoveryCode) -> Authority:
    record = decode_record(data)
    assert isinstance(record, SealedAuthority)
    return unseal(record, code)


def test_an_empty_home_gets_an_authority_and_its_code_is_told_once(place: Place) -> None:
    authority, identity = place.take()
    assert authority is not None
    [event] = place.said
    assert (event.kind, event.data["cluster"]) == ("authority-created", "home")
    [code] = place.codes()
    assert code.format() not in event.text
    sealed = (place.home.root / SEALED_PATH).read_bytes()
    assert opened(sealed, code).certificate == authority.certificate == identity.authority
    again, same = place.take()
    assert again is not None
    assert (same.node_id, len(place.said)) == (identity.node_id, 1)


def test_the_code_is_in_no_file(place: Place) -> None:
    place.take()
    [code] = place.codes()
    for path in place.home.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes().upper().replace(b"-", b"")
            assert code.secret.encode() not in data, path


def test_what_was_sealed_at_first_becomes_a_record(place: Place) -> None:
    authority, _ = place.take()
    assert authority is not None
    assert place.keep(authority) == [(place.home.root / SEALED_PATH).read_bytes()]
    assert len(place.said) == 1


def test_a_cluster_without_a_code_gets_one_once_others_were_heard(place: Place) -> None:
    authority, _ = place.take()
    assert authority is not None
    (place.home.root / SEALED_PATH).unlink()
    place.said.clear()
    [record] = place.keep(authority, exchanged=[False, False, True])
    [event] = place.said
    assert event.kind == "recovery-code"
    [code] = place.codes()
    assert opened(record, code).certificate == authority.certificate
    assert place.keep(authority) == [record]
    assert len(place.said) == 1


def test_a_code_that_others_know_of_is_not_followed_by_a_second(place: Place) -> None:
    authority, _ = place.take()
    assert authority is not None
    (place.home.root / SEALED_PATH).write_bytes(b"damaged")
    place.said.clear()
    known = encode_record(seal(authority, RecoveryCode.create(), at=AT))
    assert place.keep(authority, known=[known]) == [known]
    assert place.said == []


def test_a_home_whose_authority_is_lost_goes_on_without(place: Place) -> None:
    _, identity = place.take()
    for path in place.home.authority.iterdir():
        path.unlink()
    assert place.take()[0] is None
    assert place.take()[1].node_id == identity.node_id
    assert len(place.said) == 1


def test_no_new_cluster_is_made_over_the_nodes_of_an_old_one(place: Place) -> None:
    old = Identity.found(Authority.create("old"), NodeKey.create(), machine=MachineId("a" * 32))
    node = place.home.node(2)
    node.root.mkdir(parents=True)
    old.save(PosixDisk(node.root))
    with pytest.raises(UsageError, match="would not know it") as raised:
        place.take()
    assert f"roost join --home {node.root}" in raised.value.hint
    assert not place.home.authority.exists()


def test_the_home_of_a_storage_node_is_no_coordinators(place: Place) -> None:
    refuse_node_home(place.disk, place.home)
    (place.home.root / STORE_ID_PATH).parent.mkdir()
    (place.home.root / STORE_ID_PATH).write_text("a store\n")
    (place.home.root / "run.json").write_text('{"pid": 1, "address": "10.0.0.7:7400"}')
    with pytest.raises(UsageError, match="out of service") as raised:
        refuse_node_home(place.disk, place.home)
    assert "roost join --home" in raised.value.hint
    assert "roost recover CODE --home DIR --at 10.0.0.7:7400" in raised.value.hint


def test_members_take_a_sealed_authority_only_from_their_own(place: Place) -> None:
    authority, other = Authority.create("home"), Authority.create("home")
    good, forged = (decode_record(encode_record(seal(a, RecoveryCode.create(), at=AT))) for a in (authority, other))
    membership = Membership(authority.certificate)
    membership.check(good)
    with pytest.raises(NotAdmitted, match="not of this cluster's own authority"):
        membership.check(forged)
