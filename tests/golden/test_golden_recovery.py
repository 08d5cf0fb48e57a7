"""A recovery code that was printed once, and what it opens: good for ever.

`recovery_1.json` holds a code, the keys that follow from it, and a sealed record with the authority's key in it. It is
never written anew: a new derivation is a new format with a file of its own.
"""

import json
from pathlib import Path

import pytest

from roost.codec.records import SealedAuthority, decode_record
from roost.security.recovery import RecoveryCode, check_sealed, is_proof, unseal

VECTORS = sorted(Path(__file__).parent.glob("recovery_*.json"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_an_old_code_opens_what_it_sealed(path: Path) -> None:
    written: dict[str, str] = json.loads(path.read_text())
    golden = {name: bytes.fromhex(value) for name, value in written.items() if name != "code"}
    code = RecoveryCode.parse(written["code"])
    assert code.format() == written["code"]
    assert code.proof() == golden["proof"]
    record = decode_record(golden["record"])
    assert isinstance(record, SealedAuthority)
    assert code.sealing_key(record.salt) == golden["sealing_key"]
    assert is_proof(record, golden["proof"])
    authority = unseal(record, code)
    assert authority.certificate == golden["certificate"]
    assert authority.key.private_bytes_raw() == golden["key"]
    check_sealed(record, golden["certificate"])


def test_the_first_format_is_among_them() -> None:
    assert "recovery_1" in [path.stem for path in VECTORS]
