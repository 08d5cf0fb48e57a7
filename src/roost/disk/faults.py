"""What an operating system's error number becomes: one of our errors, with the path and a next step."""

import errno
import os
from collections.abc import Mapping

from roost.core.errors import DiskFault, Failed, NoSpace, NotFound, RoostError


class AlreadyThere(Failed):
    """Something of that name exists; nothing was changed. On the wire and for a person it is a plain `failed`."""


_MISSING_HINT = "check the path, and that the disk is mounted"
_SPACE_HINT = "free space on that disk (or raise its quota), or use another one"
_ACCESS_HINT = "check the owner and the mode of the file and of its directory"

_FAULTS: Mapping[int, tuple[type[RoostError], str]] = {
    errno.ENOENT: (NotFound, _MISSING_HINT),
    errno.ENOSPC: (NoSpace, _SPACE_HINT),
    errno.EDQUOT: (NoSpace, _SPACE_HINT),
    errno.EEXIST: (AlreadyThere, "remove it, or choose another name"),
    errno.ENOTEMPTY: (Failed, "the directory must be empty"),
    errno.ENOTDIR: (Failed, "each part of the path must be a directory; nothing is reached through a symbolic link"),
    errno.EISDIR: (Failed, "it is a directory, not a file"),
    errno.ELOOP: (Failed, "it is a symbolic link; name the file it points to"),
    errno.ENAMETOOLONG: (Failed, "choose a shorter name"),
    errno.EXDEV: (Failed, "both names must be on one file system"),
    errno.EMFILE: (Failed, "raise the limit of open files (`ulimit -n`)"),
    errno.ENFILE: (Failed, "this machine has too many files open; close some programs"),
    errno.EROFS: (DiskFault, "the file system is read-only: look into the kernel's log, repair and remount it"),
    errno.EIO: (DiskFault, "the disk may be failing: look into the kernel's log and its SMART values"),
    errno.EACCES: (DiskFault, _ACCESS_HINT),
    errno.EPERM: (DiskFault, _ACCESS_HINT),
}
_OTHER = (DiskFault, "look into the kernel's log, and check that the disk's file system is a local one")


def error_for(number: int, *, doing: str, path: str) -> RoostError:
    """The error to raise when the operating system answered `number` (an errno) while `doing` something to `path`."""
    kind, hint = _FAULTS.get(number, _OTHER)
    return kind(f"cannot {doing} {path!r}: {os.strerror(number)}", hint=hint)


def not_a_file(path: str) -> RoostError:
    """The error for a directory, device, socket or pipe where a regular file is needed."""
    return Failed(f"cannot open {path!r}: it is not a regular file", hint="name a regular file")
