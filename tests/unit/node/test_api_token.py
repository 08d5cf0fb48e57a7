"""The API's token: made once, for its owner alone; a file that holds none lets nobody in."""

import asyncio
from pathlib import Path

import pytest

from roost.core.errors import Failed
from roost.core.runtime import SystemRuntime
from roost.node.api_token import api_token
from roost.settings.paths import Home


def token_of(root: Path) -> str:
    runtime = SystemRuntime()
    try:
        return asyncio.run(api_token(runtime, Home(root)))
    finally:
        runtime.close()


def test_it_is_made_once_and_others_may_not_read_it(tmp_path: Path) -> None:
    token = token_of(tmp_path)
    assert len(token) == 48
    assert token_of(tmp_path) == token
    assert Home(tmp_path).api_token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 48, b"x" * 5000])
def test_a_file_without_a_token_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    Home(tmp_path).api_token.write_bytes(content)
    with pytest.raises(Failed):
        token_of(tmp_path)
