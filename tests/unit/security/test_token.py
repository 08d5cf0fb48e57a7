"""Join tokens: the word, and the book that the coordinator keeps."""

import base64
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.cluster import Address
from roost.core.errors import Busy, Failed, NotAdmitted, Unsupported, UsageError
from roost.core.ids import NodeId
from roost.disk.durable import write_durably
from roost.disk.posix import PosixDisk
from roost.security import token as token_module
from roost.security.token import ADDRESSES_MAX, Token, TokenBook

NOW = 1_700_000_000.0
A, B, C = (NodeId(digit * 32) for digit in "abc")
TOKEN = Token(bytes(range(32)), bytes(range(16)), (Address("192.168.1.20", 7400), Address("fe80::1", 7400)))


def word_of(payload: object) -> str:
    data = msgspec.msgpack.encode(payload)
    return "roost-" + base64.b32encode(data + hashlib.sha256(data).digest()[:4]).decode().rstrip("=").lower()


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.lists(
        st.builds(lambda host, port: Address(str(host), port), st.ip_addresses(), st.integers(0, 65535)), max_size=16
    ),
)
def test_a_token_comes_back_from_its_word(authority: bytes, secret: bytes, addresses: list[Address]) -> None:
    token = Token(authority, secret, tuple(addresses))
    word = token.format()
    assert Token.parse(word) == Token.parse(f"  {word.upper()}\n") == token
    assert word.isascii()
    assert word.replace("-", "").isalnum()


def test_no_single_mistake_in_typing_passes() -> None:
    word = TOKEN.format()
    for i in range(len(word)):
        for wrong in (word[:i] + word[i + 1 :], word[:i] + ("b" if word[i] == "a" else "a") + word[i + 1 :]):
            try:
                parsed = Token.parse(wrong)
            except UsageError:
                continue
            assert parsed == TOKEN  # only the last letter has bits that carry nothing
            assert i == len(word) - 1


@given(
    st.text() | st.text().map(lambda text: f"roost-{text}") | st.binary().map(lambda data: word_of(msgspec.Raw(data)))
)
def test_anything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises((UsageError, Unsupported)) as caught:
        Token.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "payload",
    [
        [1, b"x" * 31, b"x" * 16, []],
        [1, b"x" * 32, b"x" * 17, []],
        [1, b"x" * 32, b"x" * 16],
        [1, b"x" * 32, b"x" * 16, ["nowhere"]],
        [1, b"x" * 32, b"x" * 16, ["a:1"] * (ADDRESSES_MAX + 1)],
        [1, b"x" * 32, b"x" * 16, ["a:" + "9" * 1000]],
        {"a": 1},
        [],
    ],
)
def test_a_payload_of_the_wrong_shape_is_refused(payload: object) -> None:
    with pytest.raises(UsageError, match="mistyped"):
        Token.parse(word_of(payload))


def test_a_token_of_a_later_release_is_told_from_a_mistyped_one() -> None:
    with pytest.raises(Unsupported, match="another release"):
        Token.parse(word_of([2, "anything"]))


def test_a_token_of_the_wrong_shape_is_not_made() -> None:
    for bad in (
        Token(b"", TOKEN.secret, ()),
        Token(TOKEN.authority, b"", ()),
        Token(TOKEN.authority, TOKEN.secret, TOKEN.addresses * 9),
    ):
        with pytest.raises(ValueError):
            bad.format()


def test_the_secret_is_not_printed() -> None:
    for text in (repr(TOKEN), str(TOKEN), f"{TOKEN}"):
        assert "secret" not in text
        assert repr(TOKEN.secret) not in text


@pytest.fixture
def book(disk: PosixDisk) -> TokenBook:
    return TokenBook(disk)


def test_any_number_of_uses_until_its_time(book: TokenBook) -> None:
    secret = book.create(ttl_s=60, uses=None, now=NOW)
    for node in (A, B, C, A):
        book.redeem(secret, now=NOW + 59.9, node_id=node)
    with pytest.raises(NotAdmitted):
        book.redeem(secret, now=NOW + 60, node_id=A)


def test_so_many_nodes_and_no_more(book: TokenBook, disk: PosixDisk) -> None:
    secret = book.create(ttl_s=60, uses=2, now=NOW)
    book.redeem(secret, now=NOW, node_id=A)
    book.redeem(secret, now=NOW, node_id=A)  # its answer was lost; it asks again
    TokenBook(disk).redeem(secret, now=NOW, node_id=B)
    for again in (A, B):
        book.redeem(secret, now=NOW, node_id=again)
    with pytest.raises(NotAdmitted, match="used up"):
        TokenBook(disk).redeem(secret, now=NOW, node_id=C)


def test_other_secrets_are_refused(book: TokenBook) -> None:
    with pytest.raises(NotAdmitted):
        book.redeem(b"", now=NOW, node_id=A)
    secret = book.create(ttl_s=60, uses=None, now=NOW)
    for wrong in (b"", bytes(16), secret[:-1], secret + b"\0", hashlib.sha256(secret).digest()):
        with pytest.raises(NotAdmitted) as caught:
            book.redeem(wrong, now=NOW, node_id=A)
        assert "roost token create" in caught.value.hint


def test_tokens_are_told_apart(book: TokenBook) -> None:
    once = book.create(ttl_s=60, uses=1, now=NOW)
    often = book.create(ttl_s=60, uses=None, now=NOW)
    assert once != often
    book.redeem(once, now=NOW, node_id=A)
    book.redeem(often, now=NOW, node_id=B)
    with pytest.raises(NotAdmitted):
        book.redeem(once, now=NOW, node_id=B)


def test_revoked_is_refused(book: TokenBook) -> None:
    secrets = [book.create(ttl_s=ttl, uses=None, now=NOW) for ttl in (10, 100)]
    assert book.revoke_all(now=NOW + 50) == 1
    for secret in secrets:
        with pytest.raises(NotAdmitted):
            book.redeem(secret, now=NOW, node_id=A)
    assert book.revoke_all(now=NOW) == 0


def test_the_book_never_holds_a_secret(book: TokenBook, disk: PosixDisk, tmp_path: object) -> None:
    secret = book.create(ttl_s=60, uses=1, now=NOW)
    from roost.disk.durable import read_small

    kept = read_small(disk, "tokens.json", bytes_max=1 << 20)
    assert disk.info("tokens.json").mode == 0o600
    for form in (secret, secret.hex().encode(), base64.b64encode(secret), base64.b32encode(secret)):
        assert form not in kept
    assert hashlib.sha256(secret).hexdigest().encode() in kept


def test_a_token_past_its_time_leaves_the_book(book: TokenBook, disk: PosixDisk) -> None:
    early = book.create(ttl_s=10, uses=None, now=NOW)
    book.create(ttl_s=10, uses=None, now=NOW + 20)
    with pytest.raises(NotAdmitted):
        book.redeem(early, now=NOW, node_id=A)  # a clock set back does not bring it back


def test_bounds(book: TokenBook, monkeypatch: pytest.MonkeyPatch) -> None:
    for ttl_s, uses in ((0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (60, 0), (60, 1001)):
        with pytest.raises(UsageError):
            book.create(ttl_s=ttl_s, uses=uses, now=NOW)
    monkeypatch.setattr(token_module, "TOKENS_MAX", 2)
    for _ in range(2):
        book.create(ttl_s=60, uses=None, now=NOW)
    with pytest.raises(Failed, match="valid already"):
        book.create(ttl_s=60, uses=None, now=NOW)
    book.create(ttl_s=60, uses=None, now=NOW + 60)


def test_a_damaged_or_later_book_is_named(book: TokenBook, disk: PosixDisk) -> None:
    for data, error in (
        (b"", Failed),
        (b"{", Failed),
        (b"[]", Failed),
        (b'{"format":1,"tokens":[{}]}', Failed),
        (b'{"format":2,"tokens":[]}', Unsupported),
    ):
        write_durably(disk, "tokens.json", data)
        with pytest.raises(error, match=r"tokens\.json"):
            book.redeem(bytes(16), now=NOW, node_id=A)


def test_one_writer_at_a_time(book: TokenBook, disk: PosixDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_module, "_LOCK_WAIT_S", 0.0)
    held = disk.lock("tokens.json.lock")
    for call in (
        lambda: book.create(ttl_s=60, uses=None, now=NOW),
        lambda: book.redeem(bytes(16), now=NOW, node_id=A),
        lambda: book.revoke_all(now=NOW),
    ):
        with pytest.raises(Busy):
            call()
    held.release()
    assert book.create(ttl_s=60, uses=None, now=NOW)
