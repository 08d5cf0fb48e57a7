"""``roost://`` for fsspec: pandas, datasets, torch's checkpoints and whatever else opens paths by URL.

A checkpoint that is a file is a file of its name, one that is a folder a folder with what is in it, and the parts of
names before them are folders: ``roost://qwen/step-1000/model.safetensors``. ``NAME@VERSION`` is an older version. What
is read comes in ranges, from memory if it was read lately. A file that is written becomes a checkpoint of its own when
it is closed, whole or not at all; until then it lies in a temporary file. What is removed can be undeleted.
"""

import datetime
import os
import shutil
import warnings
from functools import partial
from typing import Any

from fsspec.spec import AbstractFileSystem

from roost.client.program import Cluster, Opened, connect
from roost.client.results import Listing
from roost.core.ids import split_reference
from roost.integrations.files import StoredFile, WrittenFile
from roost.integrations.tree import (
    Place,
    children,
    file_info,
    folder_info,
    info_inside,
    infos_inside,
    missing,
    place_of,
)

OPENED_MAX = 4
"""Versions that stay open with what was read of them."""


class RoostFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The checkpoints of this machine's cluster as a file system. `home` and `config` are as those of `roost.connect`.

    What is not there is FileNotFoundError; but while so many nodes do not answer that it may only be out of sight, it
    is Unreachable. All other errors are those of `roost.core.errors`.
    """

    protocol = "roost"
    root_marker = ""

    def __init__(self, *args: Any, home: str | None = None, config: str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._home = home
        self._config = config
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._connected: Cluster | None = None
        self._opened: dict[tuple[str, str], Opened] = {}

    @property
    def cluster(self) -> Cluster:
        """The cluster, connected to when it is first needed, in each process anew: datasets are read by forked ones."""
        if os.getpid() != self._process:
            self._forget()
        if self._connected is None:
            self._connected = connect(home=self._home, config=self._config)
        return self._connected

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return [each.lstrip("/") for each in stripped] if isinstance(stripped, list) else stripped.lstrip("/")

    # -- looking -------------------------------------------------------------------------------------------------

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size, type, and the SHA-256 of a file."""
        path = self._strip_protocol(path)
        if not path:
            return folder_info("")
        listing = self._listing(path)
        place = place_of(path, listing)
        if place is not None:
            found = self._info(path, place)
            if found is not None:
                return found
        if any(row.name.startswith(f"{path}/") for row in listing.checkpoints):
            return folder_info(path)
        raise missing(path, listing)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a folder; of a file, itself."""
        path = self._strip_protocol(path)
        listing = self._listing(path)
        found: dict[str, dict[str, Any]] = {}
        place = place_of(path, listing)
        itself = self._info(path, place) if place is not None else None
        if place is not None and itself is not None:
            if itself["type"] == "file":
                found[path] = itself
            else:
                found.update(
                    (each["name"], each) for each in infos_inside(self.opened_at(place.reference), path, place.inside)
                )
        for name, row in children(path, listing):
            is_file = name == row.name and row.shape == "file"
            found.setdefault(name, file_info(name, row.bytes) if is_file else folder_info(name))
        if not found and itself is None and path:
            raise missing(path, listing)
        return [found[name] if detail else name for name in sorted(found)]

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it is there. Unlike others, this one raises when nobody can tell: a program must not begin anew only
        because the nodes were asleep."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """As `exists`, of a file."""
        return self.exists(path) and self.info(path)["type"] == "file"

    def created(self, path: str) -> datetime.datetime:
        """When the newest version of the checkpoint that the path is, or is in, was stored."""
        path = self._strip_protocol(path)
        listing = self._listing(path)
        place = place_of(path, listing)
        name = split_reference(place.reference)[0] if place is not None else ""
        at = next((row.stored_at for row in listing.checkpoints if row.name == name), None)
        if at is None:
            raise missing(path, listing)
        return datetime.datetime.fromisoformat(at)

    modified = created

    def ukey(self, path: str) -> str:
        """The SHA-256 of a file."""
        return str(self.info(path)["sha256"])

    checksum = ukey

    def _listing(self, path: str) -> Listing:
        return self.cluster.list(path.partition("/")[0].partition("@")[0], newest=True)

    def opened_at(self, reference: str) -> Opened:
        """The version at a reference, with what was read of it before if it is the same still."""
        name, version = split_reference(reference)
        cluster = self.cluster
        if version is None:
            newest = [row for row in self._listing(name).checkpoints if row.name == name]
            version = newest[0].version if newest else ""
        known = self._opened.pop((name, version), None) or cluster.open(reference)
        self._opened[name, known.version] = known
        while len(self._opened) > OPENED_MAX:
            del self._opened[next(iter(self._opened))]
        if not known.complete:
            warnings.warn(f"{reference}: some nodes do not answer; a newer version may exist", stacklevel=2)
        return known

    def _info(self, path: str, place: Place) -> dict[str, Any] | None:
        return info_inside(self.opened_at(place.reference), path, place.inside)

    # -- reading -------------------------------------------------------------------------------------------------

    def _file_at(self, path: str) -> tuple[Opened, str]:
        """The version that a file is of, and the file's path in it."""
        listing = self._listing(path)
        place = place_of(path, listing)
        if place is None:
            raise missing(path, listing)
        opened = self.opened_at(place.reference)
        if opened.shape == "file" and not place.inside:
            return opened, opened.files[0].path
        if any(row.path == place.inside and row.kind == "f" for row in opened.files):
            return opened, place.inside
        if self._info(path, place) is not None:
            raise IsADirectoryError(path)
        raise missing(path, listing)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file, or of a range of it; negative numbers count from its end."""
        opened, inside = self._file_at(self._strip_protocol(path))
        size = next(row.bytes for row in opened.files if row.path == inside)
        begin, until, _step = slice(start, end).indices(size)
        return bytes(opened.read(inside, begin, max(begin, until)))

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> Any:
        if mode == "rb":
            opened, inside = self._file_at(path)
            return StoredFile(self, path, opened, inside, **options)
        if mode in ("wb", "xb"):
            if mode == "xb" and self.exists(path):
                raise FileExistsError(path)
            self._may_write(path)
            return WrittenFile(path, partial(self.cluster.store, name=path), autocommit=autocommit)
        raise ValueError(f"a stored file is never changed, only written anew: mode {mode!r} is not to be had")

    # -- writing -------------------------------------------------------------------------------------------------

    def put_file(self, lpath: str, rpath: str, callback: Any = None, mode: str = "overwrite", **_: Any) -> None:
        """Store a local file under the name that `rpath` is."""
        path = self._strip_protocol(rpath)
        if os.path.isdir(lpath):
            return
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        self._may_write(path)
        self.cluster.store(lpath, name=path)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Store the bytes of a file under another name, too; the chunks are there already."""
        with self.open(path1, "rb") as source, self.open(path2, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def makedirs(self, path: str, exist_ok: bool = True) -> None:
        """Folders are there when something is in them."""

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """See `makedirs`."""

    def rmdir(self, path: str) -> None:
        """See `makedirs`."""

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove checkpoints: one, or all below a folder with `recursive`. They can be brought back: roost undelete."""
        for each in path if isinstance(path, list) else [path]:
            self._remove(self._strip_protocol(each), recursive=recursive)

    def rm_file(self, path: str) -> None:
        """Remove one checkpoint that is a file."""
        self._remove(self._strip_protocol(path), recursive=False)

    def _remove(self, path: str, *, recursive: bool) -> None:
        kind = self.info(path)["type"]
        if kind == "directory" and not recursive:
            raise IsADirectoryError(path)
        names = [row.name for row in self._listing(path).checkpoints if f"{row.name}/".startswith(f"{path}/")]
        if not names:
            raise PermissionError(f"{path} is a part of a checkpoint, which is removed as a whole or not at all")
        for name in names:
            self.cluster.remove(name)

    def _may_write(self, path: str) -> None:
        """PermissionError where the path is inside a checkpoint that is stored as a whole."""
        listing = self._listing(path)
        place = place_of(path, listing)
        if place is not None and place.inside:
            raise PermissionError(f"{path} is inside the checkpoint {place.reference}, which is never changed")
