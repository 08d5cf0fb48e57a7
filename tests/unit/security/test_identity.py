"""A node's identity: kept, loaded, and proved by its signatures."""

from collections.abc import Callable

import pytest

from roost.core.errors import Failed, NotAdmitted, NotFound
from roost.core.ids import MachineId
from roost.disk.durable import make_directory_durably, write_durably
from roost.disk.posix import PosixDisk
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey, load_machine, take_machine, verify_signature

Admit = Callable[[Authority], Identity]


def test_an_identity_is_kept(disk: PosixDisk, authority: Authority, admit: Admit) -> None:
    identity = admit(authority)
    identity.save(disk)
    loaded = Identity.load(disk)
    assert loaded.node_id == identity.node_id
    assert (loaded.certificate, loaded.authority, loaded.machine) == (
        identity.certificate,
        authority.certificate,
        identity.machine,
    )
    assert loaded.cluster_hash == authority.cluster_hash
    assert {path: disk.info(f"identity/{path}").mode for path, _ in disk.list("identity")} == {
        "key.pem": 0o600,
        "certificate.der": 0o600,
        "authority.der": 0o600,
        "machine": 0o600,
    }


def test_an_empty_home_is_not_admitted(disk: PosixDisk) -> None:
    with pytest.raises(NotAdmitted) as caught:
        Identity.load(disk)
    assert caught.value.exit_code == 7
    assert "roost join" in caught.value.hint


def test_a_key_is_made_once(disk: PosixDisk, authority: Authority) -> None:
    first = NodeKey.load_or_create(disk)
    assert disk.info("identity/key.pem").mode == 0o600
    with pytest.raises(NotAdmitted):
        Identity.load(disk)  # a key alone is no membership
    Identity.found(authority, NodeKey.load_or_create(disk), machine=MachineId("1" * 32)).save(disk)
    assert Identity.load(disk).node_id == first.node_id == NodeKey.load_or_create(disk).node_id


@pytest.mark.parametrize("missing", ["key.pem", "authority.der", "machine"])
def test_a_part_that_is_missing_is_named(disk: PosixDisk, authority: Authority, admit: Admit, missing: str) -> None:
    admit(authority).save(disk)
    disk.unlink(f"identity/{missing}")
    with pytest.raises(Failed, match=missing):
        Identity.load(disk)


def test_parts_that_do_not_belong_together_are_refused(
    disk: PosixDisk, authority: Authority, stranger_authority: Authority, admit: Admit
) -> None:
    identity = admit(authority)
    for path, data in (
        ("identity/certificate.der", admit(authority).certificate),
        ("identity/certificate.der", b"nonsense"),
        ("identity/authority.der", stranger_authority.certificate),
        ("identity/key.pem", NodeKey.create().pem()),
        ("identity/key.pem", b"nonsense"),
        ("identity/machine", b"../../etc"),
    ):
        identity.save(disk)
        assert Identity.load(disk).node_id == identity.node_id
        write_durably(disk, path, data)
        with pytest.raises(Failed):
            Identity.load(disk)


def test_a_key_that_others_may_read_is_refused(disk: PosixDisk, authority: Authority, admit: Admit) -> None:
    admit(authority).save(disk)
    disk.set_mode("identity/key.pem", 0o604)
    with pytest.raises(Failed, match="other users"):
        Identity.load(disk)


def test_the_machine_is_taken_once(disk: PosixDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_MACHINE", "a" * 32)
    with pytest.raises(NotFound):
        load_machine(disk)
    assert take_machine(disk) == "a" * 32
    make_directory_durably(disk, "identity")
    write_durably(disk, "identity/machine", b"b" * 32 + b"\n")
    assert take_machine(disk) == load_machine(disk) == "b" * 32


def test_a_signature_fits_its_key_and_data_only(authority: Authority, admit: Admit) -> None:
    identity, other = admit(authority), admit(authority)
    signature = identity.sign(b"data")
    verify_signature(identity.certificate, b"data", signature)
    for certificate, data, claimed in (
        (other.certificate, b"data", signature),
        (identity.certificate, b"Data", signature),
        (identity.certificate, b"data", b""),
        (identity.certificate, b"data", bytes(64)),
        (identity.certificate, b"data", identity.key.private.sign(b"data")),
        (b"", b"data", signature),
        (b"\x30\x82", b"data", signature),
    ):
        with pytest.raises(NotAdmitted):
            verify_signature(certificate, data, claimed)


def test_a_certificate_of_another_key_is_no_admission(authority: Authority, admit: Admit) -> None:
    with pytest.raises(NotAdmitted, match="another key"):
        Identity.admitted(
            NodeKey.create(),
            certificate=admit(authority).certificate,
            authority=authority.certificate,
            machine=MachineId("1" * 32),
        )


def test_keys_are_not_printed(authority: Authority, admit: Admit) -> None:
    identity = admit(authority)
    secret = identity.key.private.private_bytes_raw()
    for text in (repr(identity), str(identity), repr(identity.key)):
        assert secret.hex() not in text
        assert "PRIVATE" not in text
