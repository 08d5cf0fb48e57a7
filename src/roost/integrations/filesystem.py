"""``roost://`` for fsspec: pandas, datasets, torch's checkpoints and whatever else opens paths by URL.

A checkpoint that is a file is a file of its name, one that is a folder a folder with what is in it, and the parts of
names before them are folders: ``roost://qwen/step-1000/model.safetensors``. ``NAME@VERSION`` is an older version. What
is read comes in ranges, from memory if it was read lately. A file that is written becomes a checkpoint of its own when
it is closed, whole or not at all; until then it lies in a temporary file. What is removed can be undeleted.
"""

import datetime
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from roost.client.program import Cluster, Opened, connect
from roost.client.results import ListedRow, Listing
from roost.core.errors import Unreachable
from roost.core.ids import split_reference

OPENED_MAX = 4
"""Versions that stay open with what was read of them."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A path inside a version: the version's own path, and what is left of it within (empty: the version itself)."""

    reference: str
    inside: str


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
            return _folder("")
        listing = self._listing(path)
        place = _place_of(path, listing)
        if place is not None:
            found = self._info_inside(path, place)
            if found is not None:
                return found
        if any(row.name.startswith(f"{path}/") for row in listing.checkpoints):
            return _folder(path)
        raise _missing(path, listing)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a folder; of a file, itself."""
        path = self._strip_protocol(path)
        listing = self._listing(path)
        found: dict[str, dict[str, Any]] = {}
        place = _place_of(path, listing)
        itself = self._info_inside(path, place) if place is not None else None
        if place is not None and itself is not None:
            if itself["type"] == "file":
                found[path] = itself
            else:
                found.update((each["name"], each) for each in self._inside(path, place))
        for name, row in _children(path, listing):
            is_file = name == row.name and row.shape == "file"
            found.setdefault(name, _file(name, row.bytes) if is_file else _folder(name))
        if not found and itself is None and path:
            raise _missing(path, listing)
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
        place = _place_of(path, listing)
        name = split_reference(place.reference)[0] if place is not None else ""
        at = next((row.stored_at for row in listing.checkpoints if row.name == name), None)
        if at is None:
            raise _missing(path, listing)
        return datetime.datetime.fromisoformat(at)

    modified = created

    def ukey(self, path: str) -> str:
        """The SHA-256 of a file."""
        return str(self.info(path)["sha256"])

    checksum = ukey

    def _listing(self, path: str) -> Listing:
        return self.cluster.list(path.partition("/")[0].partition("@")[0], newest=True)

    def _opened_at(self, reference: str) -> Opened:
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

    def _info_inside(self, path: str, place: _Place) -> dict[str, Any] | None:
        opened = self._opened_at(place.reference)
        files = {row.path: row for row in opened.files}
        if opened.shape == "file":
            [row] = files.values()
            return _file(path, row.bytes, row.sha256) if not place.inside else None
        row_inside = files.get(place.inside)
        if row_inside is not None and row_inside.kind == "f":
            return _file(path, row_inside.bytes, row_inside.sha256)
        inner = f"{place.inside}/" if place.inside else ""
        is_folder = row_inside is not None or not inner or any(name.startswith(inner) for name in files)
        return _folder(path) if is_folder else None

    def _inside(self, path: str, place: _Place) -> Iterator[dict[str, Any]]:
        """What is in a folder of a version."""
        inner = f"{place.inside}/" if place.inside else ""
        for row in self._opened_at(place.reference).files:
            rest = row.path.removeprefix(inner)
            if not row.path.startswith(inner) or not rest:
                continue
            name, _, below = rest.partition("/")
            is_file = row.kind == "f" and not below
            yield _file(f"{path}/{name}", row.bytes, row.sha256) if is_file else _folder(f"{path}/{name}")

    # -- reading -------------------------------------------------------------------------------------------------

    def _file_at(self, path: str) -> tuple[Opened, str]:
        """The version that a file is of, and the file's path in it."""
        listing = self._listing(path)
        place = _place_of(path, listing)
        if place is None:
            raise _missing(path, listing)
        opened = self._opened_at(place.reference)
        if opened.shape == "file" and not place.inside:
            return opened, opened.files[0].path
        if any(row.path == place.inside and row.kind == "f" for row in opened.files):
            return opened, place.inside
        if self._info_inside(path, place) is not None:
            raise IsADirectoryError(path)
        raise _missing(path, listing)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file, or of a range of it; negative numbers count from its end."""
        opened, inside = self._file_at(self._strip_protocol(path))
        size = next(row.bytes for row in opened.files if row.path == inside)
        begin, until, _step = slice(start, end).indices(size)
        return bytes(opened.read(inside, begin, max(begin, until)))

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> Any:
        if mode == "rb":
            opened, inside = self._file_at(path)
            return _Read(self, path, opened, inside, **options)
        if mode in ("wb", "xb"):
            if mode == "xb" and self.exists(path):
                raise FileExistsError(path)
            return _Written(self, path, autocommit=autocommit)
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
        place = _place_of(path, listing)
        if place is not None and place.inside:
            raise PermissionError(f"{path} is inside the checkpoint {place.reference}, which is never changed")


class _Read(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file of a version, read in ranges."""

    def __init__(self, fs: RoostFileSystem, path: str, opened: Opened, inside: str, **options: Any) -> None:
        self._reference = f"{opened.name}@{opened.version}"
        self._inside = inside
        size = next(row.bytes for row in opened.files if row.path == inside)
        super().__init__(fs, path, mode="rb", size=size, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        opened = self.fs._opened_at(
            self._reference
        )  # its bytes never change, and it may be open in this process no more
        return bytes(opened.read(self._inside, start, min(end, self.size)))


class _Written(io.BufferedIOBase):
    """A file that is being written: a temporary file, stored when it is closed. One that is closed by an error, or
    never, is not stored."""

    def __init__(self, fs: RoostFileSystem, path: str, *, autocommit: bool) -> None:
        fs._may_write(path)
        self._fs = fs
        self._path = path
        self._autocommit = autocommit
        self._folder = Path(tempfile.mkdtemp(prefix="roost-"))
        self._local = self._folder / path.rpartition("/")[2]
        self._file: IO[bytes] = self._local.open("w+b")

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        self._file.close()
        if self._autocommit:
            self.commit()

    def commit(self) -> None:
        """Store it. For fsspec's transactions; else closing does it."""
        try:
            self._fs.cluster.store(self._local, name=self._path)
        finally:
            self._clean()

    def discard(self) -> None:
        """Store nothing."""
        self._autocommit = False
        self.close()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file") and not self.closed:
            self.discard()


def _place_of(path: str, listing: Listing) -> _Place | None:
    """Which version a path is, or is inside of: the longest name that it begins with."""
    names = {row.name for row in listing.checkpoints}
    parts = path.split("/")
    for count in range(len(parts), 0, -1):
        reference = "/".join(parts[:count])
        if reference and (reference in names or split_reference(reference)[1] is not None):
            return _Place(reference, "/".join(parts[count:]))
    return None


def _children(path: str, listing: Listing) -> Iterator[tuple[str, ListedRow]]:
    """The paths right below `path`, each with one of the checkpoints that it leads to."""
    before = f"{path}/" if path else ""
    for row in listing.checkpoints:
        if row.name.startswith(before):
            yield before + row.name.removeprefix(before).partition("/")[0], row


def _missing(path: str, listing: Listing) -> Exception:
    if listing.complete:
        return FileNotFoundError(path)
    away = ", ".join(listing.unreachable)
    return Unreachable(
        f"{path} is not on the nodes that answer; it may be on those that do not ({away})",
        hint="bring those nodes back; see: roost nodes",
    )


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _file(name: str, size: int, sha256: str = "") -> dict[str, Any]:
    return {"name": name, "size": size, "type": "file", "sha256": sha256}
