"""What of a watched folder was stored already, as it was then: kept on the disk, so that a new start reads little.

It is only a saving: what is not in it is stored once more, and found to be unchanged.
"""

import msgspec

from roost.core.errors import RoostError
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk

BYTES_MAX = 64 * 1024 * 1024


class WatchMemory:
    """The file `path` on `disk`. Its calls block."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path

    def load(self) -> dict[str, str]:
        """By checkpoint the stamp at which it was stored; nothing when the file is not there or not readable."""
        try:
            return msgspec.json.decode(read_small(self._disk, self._path, bytes_max=BYTES_MAX), type=dict[str, str])
        except (RoostError, msgspec.DecodeError):
            return {}

    def save(self, stored: dict[str, str]) -> None:
        """Replace what is kept, durably. Raises as the port does."""
        write_durably(self._disk, self._path, msgspec.json.encode(stored))
