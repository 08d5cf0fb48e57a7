"""The members of a torch zip (what `torch.save` writes), found through the archive's central directory alone.

Source of the format: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5, zip64 included. Nothing is decompressed and no
pickle is touched: all that is wanted is where the bytes of each member lie, so that chunks can begin there.
"""

import struct

from roost.codec.reading import Read

DIRECTORY_BYTES_MAX = 64 * 1024 * 1024
MEMBERS_MAX = 500_000
_COMMENT_BYTES_MAX = 65_535
_U32_MAX = 0xFFFFFFFF

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


def member_spans(read: Read, *, file_bytes: int) -> list[tuple[int, int]] | None:
    """(begin, end) of the bytes of every member that has any, in file order and without overlaps; None when the file
    is not a zip whose directory agrees with itself and with the members' own headers.

    Reads the end of the file, the directory (at most `DIRECTORY_BYTES_MAX`) and 30 bytes a member. Raises only what
    `read` raises.
    """
    directory = _find_directory(read, file_bytes)
    if directory is None:
        return None
    offset, length, count = directory
    data = read(offset, length)
    if len(data) != length:
        return None
    entries = _parse_directory(data, count)
    return None if entries is None else _payloads(read, entries, directory_at=offset)


def _find_directory(read: Read, file_bytes: int) -> tuple[int, int, int] | None:
    """(offset, bytes, members) of the central directory, checked to lie in the file and to be of a sane size."""
    tail_bytes = min(file_bytes, _END.size + _COMMENT_BYTES_MAX)
    tail = read(file_bytes - tail_bytes, tail_bytes)
    at = _find_end(tail) if len(tail) == tail_bytes else None
    if at is None:
        return None
    _, _, _, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end_at = file_bytes - tail_bytes + at
    locator = read(end_at - _LOCATOR.size, _LOCATOR.size) if end_at >= _LOCATOR.size else b""
    if len(locator) == _LOCATOR.size and locator.startswith(b"PK\x06\x07"):
        end64_at = _LOCATOR.unpack(locator)[2]
        if end64_at > end_at - _LOCATOR.size - _END64.size:
            return None
        end64 = read(end64_at, _END64.size)
        if len(end64) != _END64.size or not end64.startswith(b"PK\x06\x06"):
            return None
        *_, count, length, offset = _END64.unpack(end64)
        end_at = end64_at
    sane = length <= DIRECTORY_BYTES_MAX and count <= MEMBERS_MAX and offset + length <= end_at
    return (offset, length, count) if sane else None


def _find_end(tail: bytes) -> int | None:
    """Where the end-of-central-directory record begins in `tail`: the last one whose comment ends with the file."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            return at
        at = tail.rfind(b"PK\x05\x06", 0, at + 3)
    return None


def _parse_directory(data: bytes, count: int) -> list[tuple[int, int]] | None:
    """(offset of the local header, bytes at rest) of every member, sorted; None unless exactly `count` entries fill
    `data`."""
    entries: list[tuple[int, int]] = []
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(data):
            return None
        fields = _ENTRY.unpack_from(data, at)
        if fields[0] != b"PK\x01\x02":
            return None
        stored, plain, name_bytes, extra_bytes, comment_bytes = fields[10:15]
        extra_at = at + _ENTRY.size + name_bytes
        at = extra_at + extra_bytes + comment_bytes
        if at > len(data):
            return None
        found = _widen(plain, stored, fields[-1], data[extra_at : extra_at + extra_bytes])
        if found is None:
            return None
        entries.append(found)
    return sorted(entries) if at == len(data) else None


def _widen(plain: int, stored: int, offset: int, extra: bytes) -> tuple[int, int] | None:
    """(offset, bytes at rest) with those 32-bit fields that are all ones taken from the zip64 extra field."""
    wanted = [value == _U32_MAX for value in (plain, stored, offset)]
    if not any(wanted):
        return offset, stored
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and at + 4 + length <= len(extra) and length >= 8 * sum(wanted):
            wide = iter(struct.unpack_from(f"<{sum(wanted)}Q", extra, at + 4))
            values = [
                next(wide) if want else value for want, value in zip(wanted, (plain, stored, offset), strict=True)
            ]
            return values[2], values[1]
        at += 4 + length
    return None


def _payloads(read: Read, entries: list[tuple[int, int]], *, directory_at: int) -> list[tuple[int, int]] | None:
    spans: list[tuple[int, int]] = []
    position = 0
    for offset, length in entries:
        if offset < position or offset + _LOCAL.size > directory_at:
            return None
        local = read(offset, _LOCAL.size)
        if len(local) != _LOCAL.size or not local.startswith(b"PK\x03\x04"):
            return None
        name_bytes, extra_bytes = _LOCAL.unpack(local)[-2:]
        begin = offset + _LOCAL.size + name_bytes + extra_bytes
        position = begin + length
        if position > directory_at:
            return None
        if length:
            spans.append((begin, position))
    return spans
