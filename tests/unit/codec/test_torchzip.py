"""The members of a torch zip, found in archives that zipfile wrote, and in archives that are damaged."""

import io
import struct
import zipfile
from collections.abc import Callable

import pytest

from roost.codec.torchzip import MEMBERS_MAX, member_spans

MEMBERS = {
    "archive/data.pkl": b"\x80\x02pickle" * 9,
    "archive/byteorder": b"little",
    "archive/data/0": bytes(range(256)) * 40,
    "archive/data/1": b"",
    "archive/data/2": b"\x01" * 5000,
    "archive/version": b"3\n",
}


def torch_zip(members: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED, force_zip64: bool = False) -> bytes:
    """An archive as torch writes it: stored, each member's bytes aligned to 64 by an extra field of padding."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            zip64_bytes = 20 if force_zip64 else 0
            padding = -(buffer.tell() + 30 + len(name) + zip64_bytes + 4) % 64
            info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
            with archive.open(info, "w", force_zip64=force_zip64) as member:
                member.write(data)
    return buffer.getvalue()


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        return data[offset : offset + length]

    return read


def spans_of(data: bytes) -> list[tuple[int, int]] | None:
    return member_spans(reader(data), file_bytes=len(data))


@pytest.mark.parametrize("force_zip64", [False, True])
def test_members_lie_where_their_bytes_are(force_zip64: bool) -> None:
    data = torch_zip(MEMBERS, force_zip64=force_zip64)
    spans = spans_of(data)
    assert spans is not None
    assert [data[begin:end] for begin, end in spans] == [content for content in MEMBERS.values() if content]
    assert all(begin % 64 == 0 for begin, _ in spans)


def zip64_of(data: bytes) -> bytes:
    """The archive with its end and one entry in the zip64 form that files over 4 GiB have."""
    end = data.rfind(b"PK\x05\x06")
    count, length, offset = struct.unpack_from("<HLL", data, end + 10)
    directory = bytearray(data[offset : offset + length])
    stored, plain = struct.unpack_from("<LL", directory, 20)
    name_bytes, extra_bytes = struct.unpack_from("<HH", directory, 28)
    struct.pack_into("<LL", directory, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    (local,) = struct.unpack_from("<L", directory, 42)
    struct.pack_into("<L", directory, 42, 0xFFFFFFFF)
    wide = struct.pack("<HHQQQ", 1, 24, plain, stored, local)
    struct.pack_into("<H", directory, 30, extra_bytes + len(wide))
    directory[46 + name_bytes + extra_bytes : 46 + name_bytes + extra_bytes] = wide
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + len(directory), 1)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:offset] + bytes(directory) + end64 + locator + tail


def test_zip64_is_read() -> None:
    plain = torch_zip(MEMBERS)
    wide = zip64_of(plain)
    assert zipfile.ZipFile(io.BytesIO(wide)).read("archive/data/0") == MEMBERS["archive/data/0"]
    assert spans_of(wide) == spans_of(plain) is not None


def test_compressed_members_have_edges_too() -> None:
    data = torch_zip({"a": b"x" * 9000, "b": b"y" * 9000}, compression=zipfile.ZIP_DEFLATED)
    spans = spans_of(data)
    assert spans is not None
    assert len(spans) == 2
    assert all(end - begin < 200 for begin, end in spans)


def test_a_comment_that_looks_like_an_end_does_not_mislead() -> None:
    buffer = io.BytesIO(torch_zip(MEMBERS))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(40)
    assert spans_of(buffer.getvalue()) == spans_of(torch_zip(MEMBERS))


def test_an_empty_archive_has_no_members() -> None:
    assert spans_of(torch_zip({})) == []


def test_what_is_no_zip_is_refused() -> None:
    for data in (b"", b"PK\x05\x06", bytes(100), b"\x80\x02" * 50_000):
        assert spans_of(data) is None


def test_every_truncation_is_refused() -> None:
    data = torch_zip(MEMBERS)
    for length in range(len(data) - 1, len(data) - 1000, -1):
        assert spans_of(data[:length]) is None
    assert spans_of(data[: len(data) // 2]) is None


def test_bytes_before_the_archive_are_refused() -> None:
    assert spans_of(b"#!launcher\n" + torch_zip(MEMBERS)) is None


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (10, struct.pack("<H", 5)),  # fewer members than the directory has
        (10, struct.pack("<H", 7)),  # more
        (12, struct.pack("<L", 3)),  # a shorter directory
        (12, struct.pack("<L", 2**31)),  # one longer than the file
        (16, struct.pack("<L", 0)),  # a directory elsewhere
    ],
)
def test_a_directory_that_disagrees_is_refused(at: int, value: bytes) -> None:
    data = bytearray(torch_zip(MEMBERS))
    end = data.rfind(b"PK\x05\x06")
    data[end + at : end + at + len(value)] = value
    assert spans_of(bytes(data)) is None


def test_members_that_overlap_or_reach_into_the_directory_are_refused() -> None:
    data = bytearray(torch_zip(MEMBERS))
    first = data.find(b"PK\x01\x02")
    twice = bytearray(data)
    second = data.find(b"PK\x01\x02", first + 1)
    struct.pack_into("<L", twice, second + 42, 0)
    assert spans_of(bytes(twice)) is None
    struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 20, 2000)
    assert spans_of(bytes(data)) is None


def test_a_directory_of_absurd_size_is_not_read() -> None:
    """The file says that it is huge; only its end may be asked for."""
    file_bytes = 2**40
    count, length = MEMBERS_MAX + 1, 2**39
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, file_bytes - 22 - 20 - 56, 1)
    tail = end64 + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)

    def read(offset: int, length: int) -> bytes:
        assert length <= 66_000
        whole = bytes(max(0, length - len(tail))) + tail
        begin = offset - (file_bytes - len(whole))
        return whole[begin : begin + length]

    assert member_spans(read, file_bytes=file_bytes) is None


def test_a_reader_that_ends_early_is_refused() -> None:
    """A file that shrank between its size being taken and its bytes being read."""
    data = torch_zip(MEMBERS)
    assert member_spans(reader(data), file_bytes=len(data) + 10) is None


def test_what_the_reader_raises_passes() -> None:
    def read(offset: int, length: int) -> bytes:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        member_spans(read, file_bytes=1000)
