"""Join tokens as the command line makes them: with the addresses that joiners are to try."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from roost.client.run_state import RunState, write_run_state
from roost.core.cluster import Address
from roost.core.errors import Failed, NotAdmitted
from roost.disk.posix import PosixDisk
from roost.node.tokens import create_token, revoke_tokens
from roost.security.authority import Authority
from roost.security.token import Token
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    Authority.create("home").save(PosixDisk(tmp_path))
    return Home(tmp_path)


def listening(address: str) -> Settings:
    settings = default_settings()
    return msgspec.structs.replace(settings, node=msgspec.structs.replace(settings.node, listen=Address.parse(address)))


def make(home: Home, settings: Settings) -> Token:
    text, _ = asyncio.run(create_token(home, settings, ttl_s=60, uses=None))
    return Token.parse(text)


def test_it_names_where_the_coordinator_listens_or_will(home: Home) -> None:
    assert make(home, listening("127.0.0.1:7400")).addresses == (Address("127.0.0.1", 7400),)
    write_run_state(PosixDisk(home.root), home, RunState(1, "127.0.0.1:4321"))
    assert make(home, listening("127.0.0.1:0")).addresses == (Address("127.0.0.1", 4321),)


def test_none_is_made_while_no_port_is_known(home: Home) -> None:
    with pytest.raises(Failed, match="leaves its port open") as caught:
        make(home, listening("127.0.0.1:0"))
    assert "roost start once" in caught.value.hint
    assert revoke_tokens(home) == 0, "and no secret was written"


def test_only_where_the_authority_is(tmp_path: Path) -> None:
    with pytest.raises(NotAdmitted) as caught:
        make(Home(tmp_path), listening("127.0.0.1:7400"))
    assert "roost recover CODE" in caught.value.hint
