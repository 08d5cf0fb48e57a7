"""How a path finds its inode on a simulated disk, symbolic links followed or refused."""

import errno

from roost.core.errors import RoostError
from roost.disk.faults import error_for
from roost.disk.port import FileKind
from roost.testing.medium import Inode

_LINKS_MAX = 40


def inode_at(root: Inode, path: str, *, follow: bool) -> Inode | None:
    """What has the name `path` (the empty path: `root`), or None when nothing has.

    NotFound when a directory on the way is missing, Failed when something on the way is none; with `follow` also when
    links go in circles. The disk is all there is: links that leave it lead to nothing.
    """
    inode: Inode | None = root
    behind: list[Inode] = []
    parts = path.split("/")[::-1] if path else []
    links = 0
    while parts:
        part = parts.pop()
        if inode is None:
            raise _error(errno.ENOENT, path)
        if inode.kind is not FileKind.DIRECTORY:
            raise _error(errno.ENOTDIR, path)
        if part == "..":
            if not behind:
                raise _error(errno.ENOENT, path)
            inode = behind.pop()
            continue
        slot = inode.names.get(part)
        entry = slot.inode if slot is not None else None
        if entry is not None and entry.kind is FileKind.SYMLINK and follow:
            links += 1
            if links > _LINKS_MAX:
                raise _error(errno.ELOOP, path)
            if entry.target.startswith("/"):
                raise _error(errno.ENOENT, path)
            parts += [step for step in entry.target.split("/") if step not in ("", ".")][::-1]
            continue
        behind.append(inode)
        inode = entry
    return inode


def _error(number: int, path: str) -> RoostError:
    return error_for(number, doing="find", path=path)
