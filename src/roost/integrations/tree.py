"""The tree of paths that checkpoints' names make: what a path is, what is in it, and what is said when it is none.

A checkpoint that is a file is a file of its name, one that is a folder a folder with what is in it, and the parts of
names before them are folders.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from roost.client.program import Opened
from roost.client.results import ListedRow, Listing
from roost.core.errors import Unreachable
from roost.core.ids import split_reference


@dataclass(frozen=True, slots=True)
class Place:
    """A path inside a version: the version's own path, and what is left of it within (empty: the version itself)."""

    reference: str
    inside: str


def info_inside(opened: Opened, path: str, inside: str) -> dict[str, Any] | None:
    """What fsspec wants to know of `inside` of a version, which is called `path`; None when that is not there."""
    files = {row.path: row for row in opened.files}
    if opened.shape == "file":
        [row] = files.values()
        return file_info(path, row.bytes, row.sha256) if not inside else None
    row_inside = files.get(inside)
    if row_inside is not None and row_inside.kind == "f":
        return file_info(path, row_inside.bytes, row_inside.sha256)
    inner = f"{inside}/" if inside else ""
    is_folder = row_inside is not None or not inner or any(name.startswith(inner) for name in files)
    return folder_info(path) if is_folder else None


def infos_inside(opened: Opened, path: str, inside: str) -> Iterator[dict[str, Any]]:
    """The same of all that is right below it."""
    inner = f"{inside}/" if inside else ""
    for row in opened.files:
        rest = row.path.removeprefix(inner)
        if not row.path.startswith(inner) or not rest:
            continue
        name, _, below = rest.partition("/")
        is_file = row.kind == "f" and not below
        yield file_info(f"{path}/{name}", row.bytes, row.sha256) if is_file else folder_info(f"{path}/{name}")


def place_of(path: str, listing: Listing) -> Place | None:
    """Which version a path is, or is inside of: the longest name that it begins with."""
    names = {row.name for row in listing.checkpoints}
    parts = path.split("/")
    for count in range(len(parts), 0, -1):
        reference = "/".join(parts[:count])
        if reference and (reference in names or split_reference(reference)[1] is not None):
            return Place(reference, "/".join(parts[count:]))
    return None


def children(path: str, listing: Listing) -> Iterator[tuple[str, ListedRow]]:
    """The paths right below `path`, each with one of the checkpoints that it leads to."""
    before = f"{path}/" if path else ""
    for row in listing.checkpoints:
        if row.name.startswith(before):
            yield before + row.name.removeprefix(before).partition("/")[0], row


def missing(path: str, listing: Listing) -> Exception:
    """What is raised for a path that is none, as far as the nodes that answered know."""
    if listing.complete:
        return FileNotFoundError(path)
    away = ", ".join(listing.unreachable)
    return Unreachable(
        f"{path} is not on the nodes that answer; it may be on those that do not ({away})",
        hint="bring those nodes back; see: roost nodes",
    )


def folder_info(name: str) -> dict[str, Any]:
    """What fsspec wants to know of a folder."""
    return {"name": name, "size": 0, "type": "directory"}


def file_info(name: str, size: int, sha256: str = "") -> dict[str, Any]:
    """The same of a file; its SHA-256 is empty where that was not asked for."""
    return {"name": name, "size": size, "type": "file", "sha256": sha256}
