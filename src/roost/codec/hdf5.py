"""Where an HDF5 file (Keras weights) ends, by its superblock.

Source of the format: The HDF Group, "HDF5 File Format Specification Version 3.0", section II.A: the superblock holds
the end-of-file address, which the library writes when it closes the file.
"""

import struct

MAGIC = b"\x89HDF\r\n\x1a\n"
SUPERBLOCK_BYTES = 96
_END_AT = {0: 40, 1: 44, 2: 28, 3: 28}
"""By version: where the end-of-file address is when addresses have 8 bytes."""


def end_of(superblock: bytes) -> int | None:
    """How long the file says that it is, from its first `SUPERBLOCK_BYTES`; None for a kind that we do not know."""
    if not superblock.startswith(MAGIC) or len(superblock) < SUPERBLOCK_BYTES // 2:
        return None
    version = superblock[8]
    address_bytes = superblock[13] if version < 2 else superblock[9]
    at = _END_AT.get(version)
    if at is None or address_bytes != 8:
        return None
    (end,) = struct.unpack_from("<Q", superblock, at)
    assert isinstance(end, int)
    return end
