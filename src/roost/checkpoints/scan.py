"""A scan is a checkpoint's files as they lie on the disk, in order, before a byte of them is read."""

import posixpath
from dataclasses import dataclass

from roost.codec.tree import FileEntry, links_problem, path_problem, shown, target_problem
from roost.core.checkpoint import CHECKPOINT_BYTES_MAX, FILES_MAX
from roost.core.errors import Failed, NotFound, UsageError
from roost.disk.port import Disk, FileInfo, FileKind


@dataclass(frozen=True, slots=True)
class Found:
    """One file, directory or link of a checkpoint. `source` is where it is on the disk, `path` its name inside the
    checkpoint, `info` what stat said when it was scanned."""

    path: str
    source: str
    info: FileInfo
    target: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """All of a checkpoint, sorted by the bytes of the paths. `shape` is ``file`` or ``directory``; `root` is the
    directory's own stat (None for a file)."""

    shape: str
    found: tuple[Found, ...]
    root: FileInfo | None

    @property
    def bytes(self) -> int:
        return sum(f.info.size for f in self.found if f.info.kind is FileKind.FILE)


def scan(disk: Disk, name: str, *, follow: bool = False) -> Scan:
    """What `name` (a file or directory in the root of `disk`) holds.

    A link that stays inside is kept as a link, one that leaves is refused by name; with `follow` each is stored as what
    it leads to. Devices, sockets, pipes and names that are not UTF-8 are refused by name. NotFound when there is no
    such file.
    """
    info = disk.info(name, follow=True)
    if info.kind is FileKind.FILE:
        _check_name(name)
        return _checked(name, Scan("file", (Found(name, name, info),), None))
    if info.kind is not FileKind.DIRECTORY:
        raise UsageError(f"{name} is neither a file nor a directory", hint="store a file or a folder")
    walk = _Walk(disk, follow)
    walk.everything(name, info)
    found = sorted(walk.found, key=lambda f: f.path.encode())
    links = [FileEntry(f.path, "l", 0o777, 0, 0, b"", f.target) for f in found if f.target]
    if problem := links_problem(links):
        raise UsageError(problem, hint="add --follow to store what such links lead to")
    return _checked(name, Scan("directory", tuple(found), info))


def _checked(name: str, found: Scan) -> Scan:
    if found.bytes > CHECKPOINT_BYTES_MAX:
        raise UsageError(f"{name or 'it'} is larger than 16 TiB", hint="store its parts under names of their own")
    return found


class _Walk:
    def __init__(self, disk: Disk, follow: bool) -> None:
        self._disk = disk
        self._follow = follow
        self.found: list[Found] = []
        self._todo: list[tuple[str, str, tuple[tuple[int, int], ...]]] = []

    def everything(self, top: str, info: FileInfo) -> None:
        """Find all that lies below `top`, however deep."""
        self._todo.append((top, "", (_identity(info),)))
        while self._todo:
            self._directory(*self._todo.pop())

    def _directory(self, source: str, inside: str, above: tuple[tuple[int, int], ...]) -> None:
        for name, kind in self._disk.list(source, follow=self._follow):
            _check_name(posixpath.join(inside, name))
            path = f"{inside}/{name}" if inside else name
            self._entry(f"{source}/{name}" if source else name, path, kind, above)
            if len(self.found) > FILES_MAX:
                raise UsageError(f"more than {FILES_MAX} files", hint="store its parts under names of their own")

    def _entry(self, source: str, path: str, kind: FileKind, above: tuple[tuple[int, int], ...]) -> None:
        target = ""
        if kind is FileKind.SYMLINK:
            target = self._disk.read_link(source)
            if not self._follow and not target_problem(path, target):
                self.found.append(Found(path, source, self._disk.info(source), target))
                return
            if not self._follow:
                raise UsageError(
                    f"the link {shown(path)} leaves the folder (to {shown(target)})",
                    hint="add --follow to store what such links lead to, or remove the link",
                )
        try:
            info = self._disk.info(source, follow=self._follow)
        except NotFound:
            if target:
                raise UsageError(
                    f"the link {shown(path)} leads nowhere (to {shown(target)})", hint="remove or mend it"
                ) from None
            raise Failed(
                f"{shown(path)} vanished while it was looked at", hint="store again when the writer has finished"
            ) from None
        if info.kind is FileKind.OTHER:
            raise UsageError(f"{shown(path)} is a device, socket or pipe, which no checkpoint holds", hint="remove it")
        self.found.append(Found(path, source, info))
        if info.kind is FileKind.DIRECTORY:
            if _identity(info) in above:
                raise UsageError(f"the link {shown(path)} leads back into a folder above it", hint="remove the link")
            self._todo.append((source, path, (*above, _identity(info))))


def _identity(info: FileInfo) -> tuple[int, int]:
    return info.device, info.inode


def _check_name(path: str) -> None:
    problem = path_problem(path)
    if problem:
        raise UsageError(f"the name {shown(path)} cannot be stored: {problem}", hint="rename the file and store again")
