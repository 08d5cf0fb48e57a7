"""The recovery code: what a person may get wrong, what opens what, and what nobody but the authority can make."""

import hashlib
import string
from collections.abc import Callable

import msgspec
import pytest

from roost.codec.records import SealedAuthority, decode_record, encode_record
from roost.core.errors import Damaged, NotAdmitted, UsageError
from roost.security.authority import Authority
from roost.security.crockford import ALPHABET
from roost.security.recovery import (
    SCRYPT_MEMORY_MAX,
    SCRYPT_N,
    SCRYPT_R,
    RecoveryCode,
    check_sealed,
    is_proof,
    seal,
    unseal,
)

AUTHORITY = Authority.create("home")
CODE = RecoveryCode.create()
SEALED = seal(AUTHORITY, CODE, at=1_700_000_000)


def changed(**fields: object) -> SealedAuthority:
    return msgspec.structs.replace(SEALED, **fields)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# -- the code as a person meets it ---------------------------------------------------------------------------------


def test_a_code_has_100_bits_and_is_read_back() -> None:
    codes = {RecoveryCode.create().secret for _ in range(100)}
    assert len(codes) == 100
    for place in range(20):
        assert len({code[place] for code in codes}) > 10, "each character is drawn"
    text = CODE.format()
    assert [len(group) for group in text.split("-")] == [5, 5, 5, 5, 2]
    assert RecoveryCode.parse(text) == CODE


@pytest.mark.parametrize(
    "spell",
    [
        str.lower,
        str.title,
        lambda text: text.replace("-", ""),
        lambda text: text.replace("-", " "),
        lambda text: f"  {text}\n",
        lambda text: text.replace("-", "\N{EN DASH}"),
        lambda text: text.replace("0", "O").replace("1", "l"),
        lambda text: text.replace("0", "o").replace("1", "I"),
    ],
)
def test_how_it_is_written_does_not_matter(spell: Callable[[str], str]) -> None:
    code = RecoveryCode("01" + CODE.secret[2:])
    assert RecoveryCode.parse(spell(code.format())) == code


def test_every_wrong_character_and_every_swap_is_a_typo() -> None:
    text = CODE.format().replace("-", "")
    for place, right in enumerate(text):
        for wrong in set(ALPHABET) - {right}:
            with pytest.raises(UsageError, match="mistyped"):
                RecoveryCode.parse(text[:place] + wrong + text[place + 1 :])
    for first in range(len(text)):
        for second in range(first):
            letters = list(text)
            letters[first], letters[second] = letters[second], letters[first]
            if "".join(letters) != text:
                with pytest.raises(UsageError, match="mistyped"):
                    RecoveryCode.parse("".join(letters))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 22 letters and digits, not 0"),
        (CODE.format()[:-1], "not 21"),
        (CODE.format() + "0", "not 23"),
        (CODE.secret, "not 20"),
        ("U" + CODE.format()[1:], "'U' stands in no"),
        ("\N{GREEK CAPITAL LETTER ALPHA}" + CODE.format()[1:], "stands in no"),
    ],
    ids=["nothing", "one short", "one more", "without its check", "a letter that is none", "another alphabet"],
)
def test_what_is_no_code_is_told_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        RecoveryCode.parse(text)
    assert raised.value.hint


def test_no_error_and_no_repr_shows_the_code() -> None:
    text = CODE.format()
    with pytest.raises(UsageError) as raised:
        RecoveryCode.parse(text[:-1] + ("0" if text[-1] != "0" else "1"))
    shown = f"{raised.value} {raised.value.hint} {CODE!r} {CODE}"
    assert not any(group in shown for group in text.split("-")[:4])


def test_guessing_is_costly_and_never_takes_more_than_64_mib() -> None:
    assert 16 * 1024 * 1024 <= 128 * SCRYPT_N * SCRYPT_R <= SCRYPT_MEMORY_MAX == 64 * 1024 * 1024


# -- sealed and opened ---------------------------------------------------------------------------------------------


def test_the_code_brings_back_the_very_authority() -> None:
    record = decode_record(encode_record(SEALED))
    assert isinstance(record, SealedAuthority)
    again = unseal(record, RecoveryCode.parse(CODE.format()))
    assert again.certificate == AUTHORITY.certificate
    assert again.key.private_bytes_raw() == AUTHORITY.key.private_bytes_raw()
    check_sealed(record, AUTHORITY.certificate)


def test_the_record_shows_neither_key_nor_proof() -> None:
    data = encode_record(SEALED)
    assert AUTHORITY.key.private_bytes_raw() not in data
    assert CODE.proof() not in data
    assert hashlib.sha256(CODE.proof()).digest() == SEALED.proof
    assert CODE.proof() != CODE.sealing_key(SEALED.salt)


def test_each_sealing_has_a_key_of_its_own_and_one_proof() -> None:
    other = seal(AUTHORITY, CODE, at=SEALED.at)
    assert other.salt != SEALED.salt
    assert other.sealed != SEALED.sealed
    assert other.proof == SEALED.proof
    assert unseal(other, CODE).certificate == AUTHORITY.certificate


def test_a_wrong_code_is_told_from_a_typo_and_from_damage() -> None:
    with pytest.raises(NotAdmitted, match="opens nothing"):
        unseal(SEALED, RecoveryCode.create())
    assert is_proof(SEALED, CODE.proof())
    assert not is_proof(SEALED, RecoveryCode.create().proof())
    assert not is_proof(SEALED, b"")


@pytest.mark.parametrize(
    "record",
    [
        changed(salt=bytes(16)),
        changed(authority=bytes(32)),
        changed(at=7),
        *(changed(sealed=flipped(SEALED.sealed, place)) for place in (64, 100, len(SEALED.sealed) - 1)),
        changed(sealed=SEALED.sealed[:-1]),
        changed(sealed=SEALED.sealed[:64]),
        changed(sealed=b"short"),
    ],
)
def test_a_damaged_seal_is_told(record: SealedAuthority) -> None:
    with pytest.raises(Damaged, match="sealed authority is damaged") as raised:
        unseal(record, CODE)
    assert "another node" in raised.value.hint
    with pytest.raises(NotAdmitted):
        check_sealed(record, AUTHORITY.certificate)


def test_only_the_authority_makes_such_a_record() -> None:
    stranger = Authority.create("home")
    with pytest.raises(NotAdmitted):
        check_sealed(SEALED, stranger.certificate)
    forged = msgspec.structs.replace(seal(stranger, CODE, at=1), authority=AUTHORITY.cluster_hash)
    with pytest.raises(NotAdmitted):
        check_sealed(forged, AUTHORITY.certificate)
    for field, value in {"proof": bytes(32), "salt": bytes(16), "at": 7}.items():
        with pytest.raises(NotAdmitted):
            check_sealed(changed(**{field: value}), AUTHORITY.certificate)


def test_no_letter_that_is_taken_for_another_is_in_the_alphabet() -> None:
    assert set(ALPHABET) == set(string.digits + string.ascii_uppercase) - set("ILOU")
    assert len(ALPHABET) == 32
