"""Out of the cluster and in again: checkpoints as plain files in a folder or at any URL that fsspec opens, verified.

An export is a tree of the files below their checkpoint's name, and ``roost-export.json`` beside it, which is written
last: what is there, with the SHA-256 of every file. An import of such a tree takes the names from it and compares the
digests; of anything else it makes one checkpoint.
"""

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec.core
import msgspec
from fsspec.implementations.local import LocalFileSystem

from roost.client.program import Cluster, Opened
from roost.client.results import FileRow, ListedRow, Progress, StoreResult
from roost.core.errors import Damaged, Failed, NoSpace, NotFound, UsageError
from roost.core.ids import parse_checkpoint_name, split_reference

INDEX = "roost-export.json"
INDEX_BYTES_MAX = 1 << 30
FORMAT = 1
PIECE_BYTES = 8 * 1024 * 1024

Told = Callable[[str], None]
"""Hears the name of each checkpoint that is done."""


class Exported(msgspec.Struct, frozen=True):
    """One version that was written out; `files` are those of an index."""

    name: str
    version: str
    shape: str
    bytes: int
    files: tuple[FileRow, ...]


class _Index(msgspec.Struct, frozen=True):
    format: int
    checkpoints: tuple[Exported, ...]


def export(
    cluster: Cluster, reference: str, destination: str, *, told: Told, progress: Progress | None = None
) -> list[Exported]:
    """Write a version, or the newest one of every checkpoint whose name is `reference` or lies below it, to a folder or
    URL; nothing there is removed. A local folder gets modes and times too, and what is there already is not written
    again; at a URL every file is read back and compared.

    NotFound when nothing is stored under that name; Damaged when what was read back differs; OSError of fsspec's.
    """
    fs, root = fsspec.core.url_to_fs(destination)
    done = []
    whole = progress or Progress()
    rows = _chosen(cluster, reference)
    whole.bytes_total = sum(row.bytes for row in rows)
    for row in rows:
        opened = cluster.open(f"{row.name}@{row.version}")
        part = whole.part(row.name)
        if isinstance(fs, LocalFileSystem):
            cluster.gather(f"{row.name}@{row.version}", to=Path(root, row.name), progress=part)
        else:
            _copy_out(opened, fs, f"{root}/{row.name}", part)
        done.append(Exported(row.name, row.version, opened.shape, row.bytes, opened.files))
        told(row.name)
    _write_index(fs, root, done)
    return done


def import_(
    cluster: Cluster, source: str, *, name: str | None, told: Told, progress: Progress | None = None
) -> list[StoreResult]:
    """Store what `export` wrote, under the same names, or else a file or folder as the checkpoint `name`.

    NotFound when there is nothing, Damaged when a file is not what the export says, UsageError for a name where the
    export has names; else as `Cluster.store`, and OSError of fsspec's.
    """
    fs, root = fsspec.core.url_to_fs(source)
    if not fs.exists(root):
        raise NotFound(f"there is no {source}", hint="give a folder, a file, or a URL such as s3://bucket/folder")
    whole = progress or Progress()
    index = _read_index(fs, root)
    if index is None:
        wanted = parse_checkpoint_name(name) if name is not None else _default_name(root)
        stored = _store(cluster, fs, root, wanted, whole.part(wanted), expected=None)
        told(wanted)
        return [stored]
    if name is not None:
        raise UsageError("this export has names of its own", hint="leave out --name, or import one of its folders")
    found = []
    whole.bytes_total = sum(each.bytes for each in index.checkpoints)
    for each in index.checkpoints:
        wanted = parse_checkpoint_name(each.name)
        where = f"{root}/{wanted}"
        if each.shape == "file":
            where += f"/{_leaf(each.files[0].path)}"
        found.append(_store(cluster, fs, where, wanted, whole.part(wanted), expected=each.files))
        told(wanted)
    return found


def _chosen(cluster: Cluster, reference: str) -> list[ListedRow]:
    name, version = split_reference(reference)
    rows = cluster.list(name, newest=version is None).checkpoints
    if version is not None:
        rows = tuple(row for row in rows if (row.name, row.version) == (name, version))
    rows = tuple(row for row in rows if row.name == name or row.name.startswith(f"{name}/"))
    if not rows:
        raise NotFound(f"nothing is stored as {reference}", hint="see: roost ls")
    return list(rows)


# -- out ---------------------------------------------------------------------------------------------------------------


def _copy_out(opened: Opened, fs: Any, where: str, progress: Progress) -> None:
    """Write a version's files, then read each back."""
    links = [row.path for row in opened.files if row.kind == "l"]
    if links:
        raise Failed(
            f"{opened.name} has links ({links[0]}), which are nothing at a URL", hint="export it to a local folder"
        )
    for row in opened.files:
        path = f"{where}/{row.path}"
        if row.kind == "d":
            fs.makedirs(path, exist_ok=True)
            continue
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        progress.enter(f"writing {row.path}")
        with fs.open(path, "wb") as file:
            for begin in range(0, row.bytes, PIECE_BYTES):
                end = min(row.bytes, begin + PIECE_BYTES)
                file.write(opened.read(row.path, begin, end))
                progress.advance(end - begin)
        progress.enter(f"reading {row.path} back")
        if _digest(fs, path) != row.sha256:
            raise Damaged(f"{path}, read back, is not what was written", hint="look at that disk or service, try again")


def _digest(fs: Any, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _write_index(fs: Any, root: str, done: list[Exported]) -> None:
    """Add to what is there already, in the place of the same names."""
    before = _read_index(fs, root)
    entries = {each.name: each for each in (*(before.checkpoints if before else ()), *done)}
    fs.makedirs(root, exist_ok=True)
    with fs.open(f"{root}/{INDEX}", "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(_Index(FORMAT, tuple(entries.values()))), indent=1))


def _read_index(fs: Any, root: str) -> _Index | None:
    path = f"{root}/{INDEX}"
    if not fs.isdir(root) or not fs.exists(path):
        return None
    with fs.open(path, "rb") as file:
        data = file.read(INDEX_BYTES_MAX)
    try:
        index = msgspec.json.decode(data, type=_Index)
    except msgspec.DecodeError as error:
        raise Damaged(
            f"{path} is not what an export writes: {error}", hint="export again, or import its folders"
        ) from None
    if index.format != FORMAT:
        raise Failed(f"{path} is of format {index.format}", hint="a newer Roost wrote it: use that one")
    return index


# -- in ----------------------------------------------------------------------------------------------------------------


def _store(
    cluster: Cluster, fs: Any, where: str, name: str, progress: Progress, *, expected: tuple[FileRow, ...] | None
) -> StoreResult:
    """Store one file or folder, and compare what is stored then with what was `expected`, or else with what came."""
    if not fs.exists(where):
        raise Damaged(f"{where}, which the export names, is not there", hint="export again, or import its folders")
    if isinstance(fs, LocalFileSystem):
        stored, came = cluster.store(where, name=name, progress=progress), None
    else:
        progress.enter("fetching it")
        with _fetched(fs, where) as (local, came):
            stored = cluster.store(local, name=name, progress=progress)
    want = {row.path: row.sha256 for row in expected if row.kind == "f"} if expected is not None else came
    if want is not None:
        found = {row.path: row.sha256 for row in cluster.open(f"{name}@{stored.version}").files if row.kind == "f"}
        wrong = sorted(path for path in want.keys() | found.keys() if want.get(path) != found.get(path))
        if wrong:
            if not stored.unchanged:
                cluster.remove(f"{name}@{stored.version}")
            raise Damaged(
                f"{wrong[0]} of {name} is not what was exported ({len(wrong)} files differ); it is not stored",
                hint="take another copy of the export",
            )
    return stored


@contextmanager
def _fetched(fs: Any, where: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """A temporary local copy of what lies at a URL, and the SHA-256 of each file as it came."""
    folder = Path(tempfile.mkdtemp(prefix="roost-"))
    local = folder / _leaf(where)
    came: dict[str, str] = {}
    try:
        if fs.isfile(where):
            came[local.name] = _fetch(fs, where, local)
        else:
            local.mkdir()
            for path in fs.find(where):
                inside = path.removeprefix(where.rstrip("/")).lstrip("/")
                target = local / inside
                if not target.resolve().is_relative_to(local.resolve()):
                    raise Failed(
                        f"{path} would lie outside of the checkpoint", hint="that service lists what no folder has"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                came[inside] = _fetch(fs, path, target)
        yield local, came
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpace(f"no room for a copy in {folder.parent}", hint="name another folder with TMPDIR") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(fs: Any, path: str, target: Path) -> str:
    digest = hashlib.sha256()
    with fs.open(path, "rb") as source, target.open("wb") as file:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _leaf(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _default_name(root: str) -> str:
    """The last two parts of a path, as a store would call it."""
    parts = [part for part in root.split("/") if part][-2:]
    return parse_checkpoint_name("/".join(parts).removesuffix(".safetensors"))
