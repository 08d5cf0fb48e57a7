"""Which error of ours an errno becomes."""

import errno

import pytest

from roost.core.errors import BY_CODE, DiskFault, Failed, NoSpace, NotFound, RoostError
from roost.disk.faults import AlreadyThere, error_for


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, NotFound),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EEXIST, AlreadyThere),
        (errno.ENOTEMPTY, Failed),
        (errno.ENOTDIR, Failed),
        (errno.ELOOP, Failed),
        (errno.EXDEV, Failed),
        (errno.EMFILE, Failed),
        (errno.EROFS, DiskFault),
        (errno.EIO, DiskFault),
        (errno.EACCES, DiskFault),
        (errno.ESTALE, DiskFault),
    ],
)
def test_errno_becomes_our_error_with_path_and_hint(number: int, kind: type[RoostError]) -> None:
    error = error_for(number, doing="write", path="/home/a/file")
    assert type(error) is kind
    assert "write" in error.message
    assert "/home/a/file" in error.message
    assert error.hint


def test_already_there_crosses_the_wire_as_failed() -> None:
    assert BY_CODE[AlreadyThere.code] is Failed
