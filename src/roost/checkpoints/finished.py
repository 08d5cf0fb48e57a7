"""What is one checkpoint, and whether it is finished: judged from what was seen of its files, and told in words. Pure.

`units` says what one checkpoint is: a folder with the sign of a format (`forms`), else each file by itself. `judge`
wants every file whole by its own format (`structure`) and no longer written to, and what the folder's format says.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from roost.checkpoints.forms import (
    DEEPSPEED,
    FIRST,
    FORMS,
    QUIET_BLIND_S,
    QUIET_S,
    TAG,
    Files,
    Form,
    Seen,
    Verdict,
    is_temporary,
    quiet,
)
from roost.checkpoints.structure import State

LOGS = (".log", ".lock")


@dataclass(frozen=True, slots=True)
class Unit:
    """What is stored as one checkpoint: a folder of a format, or a file (`form` is None then). `beside` is the path of
    a file outside that tells of it."""

    path: str
    form: Form | None = None
    beside: str | None = None


def is_ignored(name: str) -> bool:
    """Names that no finished checkpoint has: hidden, temporary and partial files, and logs."""
    return name.startswith(".") or is_temporary(name) or name.endswith(LOGS) or "events.out.tfevents" in name


# -- what is one checkpoint --------------------------------------------------------------------------------------------


class _Folder:
    def __init__(self) -> None:
        self.files: set[str] = set()
        self.folders: dict[str, _Folder] = {}


def units(paths: Iterable[str]) -> list[Unit]:
    """The checkpoints among the files `paths`, sorted. Hidden and temporary files and folders are none."""
    root = _Folder()
    for path in paths:
        *above, name = path.split("/")
        at = root
        for part in above:
            at = at.folders.setdefault(part, _Folder())
        at.files.add(name)
    found: list[Unit] = []
    _collect("", root, None, found)
    return sorted(found, key=lambda unit: unit.path)


def _collect(path: str, folder: _Folder, beside: str | None, found: list[Unit]) -> None:
    name = path.rpartition("/")[2]
    form = next((form for form in FORMS if form.sign(name, folder.files, set(folder.folders))), None)
    if form is not None and (form.complete or not _signed_below(folder)):
        found.append(Unit(path, form, beside if form is DEEPSPEED else None))
        return
    inside = f"{path}/" if path else ""
    found += [Unit(f"{inside}{file}") for file in folder.files if not is_ignored(file)]
    latest = f"{inside}latest" if "latest" in folder.files else None
    for below, inner in folder.folders.items():
        if not is_ignored(below):
            _collect(f"{inside}{below}", inner, latest, found)


def _signed_below(folder: _Folder) -> bool:
    todo = list(folder.folders.items())
    while todo:
        name, inner = todo.pop()
        if any(form.sign(name, inner.files, set(inner.folders)) for form in FORMS):
            return True
        todo += inner.folders.items()
    return False


# -- whether it is finished --------------------------------------------------------------------------------------------


def judge(unit: Unit, files: Files, beside: bytes | None = None) -> Verdict:
    """Whether the unit is finished. `files` are all its files, `beside` the bytes of `unit.beside`."""
    if unit.form is None:
        [seen] = files.values()
        return (
            _settled("", seen)
            or _alone(unit.path, seen)
            or Verdict(True, seen.structure.reason if _whole(seen) else _unchanged(seen))
        )
    for path, seen in sorted(files.items()):
        waits = _settled(path, seen)
        if waits is not None:
            return waits
    name = unit.path.rpartition("/")[2]
    objection = _latest(name, beside) if unit.form is DEEPSPEED and beside is not None else None
    objection = objection or unit.form.objection(name, files)
    if objection is not None:
        return objection
    return Verdict(True, f"all of its {len(files)} files are whole, as {unit.form.name} leaves them")


def _whole(seen: Seen) -> bool:
    return seen.structure.state is State.WHOLE


def _unchanged(seen: Seen) -> str:
    return f"unchanged for {seen.same_s:.0f} s"


def _settled(path: str, seen: Seen) -> Verdict | None:
    """What a single file waits for: None when its writer has left it."""
    who = f"{path}: " if path else ""
    if is_temporary(path.rpartition("/")[2]):
        return Verdict(False, f"{who}a temporary file of its writer is still there")
    if seen.structure.state is State.TORN:
        return Verdict(False, who + seen.structure.reason)
    if seen.held:
        return Verdict(False, f"{who}a program has it open for writing")
    closed = seen.held is False
    if closed and _whole(seen):
        return None
    needed = QUIET_S if closed or _whole(seen) else QUIET_BLIND_S
    if seen.same_s < needed:
        return Verdict(False, f"{who}unchanged for {seen.same_s:.0f} of {needed:.0f} s")
    return None


def _alone(path: str, seen: Seen) -> Verdict | None:
    """What a file that may be the first of a folder waits for: a sign of the folder, which makes it a part of that."""
    name = path.rpartition("/")[2]
    needed = QUIET_S if name in FIRST else QUIET_BLIND_S if name.endswith(".json") else 0.0
    return quiet({"": seen}, needed, "others may follow in its folder")


def _latest(name: str, latest: bytes) -> Verdict | None:
    """The tag in `latest` is this one, or a later step's: the barrier after this one was passed."""
    told, own = TAG.match(latest.decode("utf-8", "replace").strip()), TAG.match(name)
    if told and own and int(told[1]) < int(own[1]):
        return Verdict(False, f"`latest` still names {told[0]}")
    return None
