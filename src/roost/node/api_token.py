"""The token that whoever asks the API must show where it does not listen on loopback: made once, kept in the home."""

import re

from roost.core.errors import Failed, NotFound
from roost.core.runtime import Runtime
from roost.disk.durable import read_small, write_durably
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

TOKEN_BYTES = 24
BYTES_MAX = 1024
_TOKEN = re.compile(r"[0-9a-f]{48}\Z")


async def api_token(runtime: Runtime, home: Home) -> str:
    """This home's token, made when there is none. Failed for a file that holds none, which lets nobody in; else as the
    disk's port when it cannot be read or kept."""
    disk, path = PosixDisk(home.root), home.relative(home.api_token)
    try:
        kept = await runtime.in_thread(lambda: read_small(disk, path, bytes_max=BYTES_MAX))
    except NotFound:
        token = runtime.token_bytes(TOKEN_BYTES).hex()
        await runtime.in_thread(write_durably, disk, path, f"{token}\n".encode())
        return token
    token = kept.decode("ascii", "replace").strip()
    if not _TOKEN.match(token):
        raise Failed(f"{home.api_token} holds no token", hint="delete it: the next start makes another")
    return token
