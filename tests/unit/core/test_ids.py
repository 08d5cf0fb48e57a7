"""Names and ids: what is taken, what is refused, and with which words."""

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.errors import UsageError
from roost.core.ids import (
    RecordId,
    format_version,
    node_id_of_key,
    object_id,
    parse_checkpoint_name,
    parse_node_id,
    parse_object_id,
    parse_version,
    split_reference,
)


def test_an_objects_id_is_the_sha256_of_its_bytes() -> None:
    assert object_id(b"abc") == hashlib.sha256(b"abc").digest()
    assert parse_object_id(object_id(b"abc").hex()) == object_id(b"abc")


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_object_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_object_id(text)


def test_a_node_id_is_half_the_sha256_of_its_key() -> None:
    assert node_id_of_key(b"k" * 32) == hashlib.sha256(b"k" * 32).hexdigest()[:32]
    assert parse_node_id("0" * 32) == "0" * 32
    with pytest.raises(UsageError):
        parse_node_id("0" * 31)


@pytest.mark.parametrize("name", ["a", "qwen-sft/step-1000", "läufe/schritt 3", "a@b/c", "模型/第一", "a" * 255])
def test_names_that_are_taken(name: str) -> None:
    assert parse_checkpoint_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("/a", "part"),
        ("a/", "part"),
        ("a//b", "part"),
        ("..", "part"),
        ("a/../b", "part"),
        ("a/.", "part"),
        ("a\\b", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a" * 256, "255"),
        ("ä" * 128, "255"),
        ("/".join(["a" * 200] * 6), "1024"),
        ("\ud800", "Unicode"),
    ],
)
def test_names_that_are_refused_and_why(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_checkpoint_name(name)
    assert caught.value.hint


@given(st.text(max_size=40))
def test_a_name_that_is_taken_can_never_lead_out_of_a_folder(text: str) -> None:
    try:
        name = parse_checkpoint_name(text)
    except UsageError:
        return
    assert not name.startswith("/")
    assert all(part not in ("", ".", "..") for part in name.split("/"))
    assert parse_checkpoint_name(name) == name


def test_versions_are_written_and_read() -> None:
    manifest = RecordId(bytes.fromhex("a1b2c3" + "00" * 29))
    assert format_version(12, manifest) == "12-a1b2c3"
    assert parse_version("12-a1b2c3") == (12, "a1b2c3")
    for text in ("", "12", "012-a1b2c3", "12-A1B2C3", "12-a1b2c3d", "-1-a1b2c3"):
        with pytest.raises(UsageError):
            parse_version(text)


def test_only_a_well_formed_version_after_the_last_at_counts_as_one() -> None:
    assert split_reference("run/step-1@3-a1b2c3") == ("run/step-1", "3-a1b2c3")
    assert split_reference("run/me@home") == ("run/me@home", None)
    assert split_reference("run/me@home@3-a1b2c3") == ("run/me@home", "3-a1b2c3")
