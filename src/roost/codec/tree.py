"""The tree of a checkpoint: its entries, and the rules that keep whoever restores it inside the target directory.

A manifest may come from anybody who is admitted, so nothing in it is believed. The rules, each checked wherever a
manifest is read or made:

- A path is relative, of non-empty parts other than ``.`` and ``..``, without NUL, in bounds. Everything else that a
  POSIX file name may hold (backslashes, control characters) is allowed: whoever prints a path escapes it.
- Paths are strictly ascending by their bytes, so none appears twice.
- Nothing lies below an entry that is not a directory: no path leads through a link.
- A link's target is relative and never leaves the tree. It may step back (``..``) only while it has not passed through
  another link of the tree; so where it leads can be told from the text alone, and it stays true on a real disk.

On a file system that folds case or normalises Unicode two paths may still meet: a restorer makes links last.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

import msgspec

from roost.core.checkpoint import CHECKPOINT_BYTES_MAX, FILES_MAX
from roost.core.ids import DIGEST_BYTES

FILE = "f"
DIRECTORY = "d"
LINK = "l"

SHAPE_FILE = "file"
SHAPE_DIRECTORY = "directory"

PATH_BYTES_MAX = 4095
PART_BYTES_MAX = 255
MODE_MAX = 0o7777

_EMPTY_SHA256 = hashlib.sha256().digest()
_BAD_PART = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")
_BYTES_PER_CHARACTER_MAX = 4
_TIME_LIMIT = 1 << 63
_SHOWN_MAX = 120
_ENCODER = msgspec.msgpack.Encoder()


class FileEntry(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """One file, directory or symbolic link.

    `path` is relative and joined with ``/``; `kind` is ``f``, ``d`` or ``l``; `mode` the permission bits; `mtime_ns`
    nanoseconds since 1970, maybe negative; `size` in bytes. `sha256` is of the whole file; directories and links have
    size 0 and an empty one. `target` is where a link leads, as it stands in the link.
    """

    path: str
    kind: str
    mode: int
    mtime_ns: int
    size: int
    sha256: bytes
    target: str = ""


def tree_digest(entries: Iterable[FileEntry], *, shape: str) -> bytes:
    """The SHA-256 (32 bytes) of what a checkpoint is: two with the same digest differ at most in their mtimes.

    It is taken over msgpack arrays, one after the other: ``["tree", shape]``, then per entry in order ``[path, kind,
    mode, size, sha256, target]``. ValueError for text that has no UTF-8.
    """
    encode = _ENCODER.encode
    digest = hashlib.sha256(encode(("tree", shape)))
    for e in entries:
        digest.update(encode((e.path, e.kind, e.mode, e.size, e.sha256, e.target)))
    return digest.digest()


def path_problem(path: str) -> str:
    """Why `path` cannot be in a checkpoint, or the empty string."""
    if _BAD_PART.search(path):
        return "it is empty, absolute, or has a part that is empty, '.' or '..'"
    if "\0" in path:
        return "it holds a NUL"
    if len(path) * _BYTES_PER_CHARACTER_MAX > PART_BYTES_MAX or not path.isascii():
        return _length_problem(path)
    return ""


def _length_problem(path: str) -> str:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if len(encoded) > PATH_BYTES_MAX:
        return f"it is longer than {PATH_BYTES_MAX} bytes"
    if any(len(part) > PART_BYTES_MAX for part in encoded.split(b"/")):
        return f"a part of it is longer than {PART_BYTES_MAX} bytes"
    return ""


def target_problem(path: str, target: str) -> str:
    """Why the link at `path` (a good path) cannot lead to `target`, by the text alone, or the empty string."""
    if not target or "\0" in target:
        return "its target is empty or holds a NUL"
    if target.startswith("/"):
        return "its target is absolute"
    if problem := _target_length_problem(target):
        return problem
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return "its target leaves the checkpoint"
        elif part not in ("", "."):
            depth += 1
    return ""


def _target_length_problem(target: str) -> str:
    try:
        length = len(target.encode())
    except UnicodeEncodeError:
        return "its target is not UTF-8"
    return "" if length <= PATH_BYTES_MAX else f"its target is longer than {PATH_BYTES_MAX} bytes"


def links_problem(links: Sequence[FileEntry]) -> str:
    """Why the links of one tree, each good by itself, are not good together, or the empty string: one steps back after
    it passed through another, so that where it leads cannot be told from its text. Takes time linear in the text."""
    if not any("../" in f"{link.target.lstrip('./')}/" for link in links):
        return ""
    steps: dict[tuple[int, str], int] = {}
    ends: set[int] = set()
    for link in links:
        at = 0
        for part in link.path.split("/"):
            at = steps.setdefault((at, part), len(steps) + 1)
        ends.add(at)
    for link in links:
        stack = [0]
        for part in link.path.split("/")[:-1]:
            stack.append(steps[stack[-1], part])
        passed = False
        for part in link.target.split("/"):
            if part == "..":
                if passed:
                    return f"the link {shown(link.path)}: its target steps back out of another link"
                stack.pop()
            elif part not in ("", "."):
                stack.append(steps.get((stack[-1], part), -1))
                passed = passed or stack[-1] in ends
    return ""


def tree_problem(entries: Sequence[FileEntry], *, shape: str) -> str:
    """The first rule that the entries of a checkpoint of this shape break, in words, or the empty string."""
    if len(entries) > FILES_MAX:
        return f"it has more than {FILES_MAX} entries"
    if shape == SHAPE_FILE:
        if len(entries) != 1 or entries[0].kind != FILE or "/" in entries[0].path:
            return "its shape is 'file', but it is not exactly one file"
    elif shape != SHAPE_DIRECTORY:
        return f"its shape is {shown(shape)}"
    previous = ""
    parent, good_parents, no_directories = "", {""}, set[str]()
    for entry in entries:
        path = entry.path
        if problem := path_problem(path) or _entry_problem(entry):
            return f"the entry {shown(path)}: {problem}"
        if path <= previous:  # code points sort as their UTF-8 does
            return f"the entry {shown(path)} is not in order, or there twice"
        previous = path
        above = path.rpartition("/")[0]
        if above != parent:
            if not _is_below_directories(above, good_parents, no_directories):
                return f"the entry {shown(path)} lies below something that is no directory"
            parent = above
        if entry.kind != DIRECTORY:
            no_directories.add(path)
    return links_problem([entry for entry in entries if entry.kind == LINK])


def _is_below_directories(above: str, good: set[str], no_directories: set[str]) -> bool:
    """Whether neither `above` nor anything above it is a file or a link. All of those are known by now, for a path
    sorts after every path that it begins with; `good` remembers."""
    while above not in good:
        if above in no_directories:
            return False
        good.add(above)
        above = above.rpartition("/")[0]
    return True


def mode_and_time_problem(mode: int, mtime_ns: int) -> str:
    """Why nothing can have this mode and this mtime, or the empty string."""
    if not 0 <= mode <= MODE_MAX:
        return "its mode is not within 0o7777"
    return "" if -_TIME_LIMIT <= mtime_ns < _TIME_LIMIT else "its mtime is out of range"


def _entry_problem(entry: FileEntry) -> str:
    if problem := mode_and_time_problem(entry.mode, entry.mtime_ns):
        return problem
    if entry.kind == FILE:
        if not 0 <= entry.size <= CHECKPOINT_BYTES_MAX:
            return "its size is out of range"
        if len(entry.sha256) != DIGEST_BYTES or (not entry.size and entry.sha256 != _EMPTY_SHA256):
            return "its SHA-256 is not one"
    elif entry.kind not in (DIRECTORY, LINK):
        return f"its kind is {shown(entry.kind)}"
    elif entry.size or entry.sha256:
        return "it is not a file, but has a size or a SHA-256"
    if entry.kind == LINK:
        return target_problem(entry.path, entry.target)
    return "it is no link, but has a target" if entry.target else ""


def shown(text: str) -> str:
    """`text` as an error message shows it: quoted, what cannot be printed escaped, and not too long."""
    quoted = repr(text[:_SHOWN_MAX])
    return quoted if len(text) <= _SHOWN_MAX and len(quoted) <= _SHOWN_MAX + 2 else f"{quoted[:_SHOWN_MAX]}...'"
