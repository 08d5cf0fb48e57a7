"""Notes in the home of backups that failed or still wait, one small file a name, so that `roost status` tells of them.

They only inform: one that cannot be written or read is left out, and what it tells was in the program's log already.
"""

import contextlib
import hashlib
from dataclasses import dataclass

import msgspec

from roost.client.results import ClusterStatus
from roost.core.checkpoint import run_of
from roost.core.errors import RoostError
from roost.core.ids import CheckpointName
from roost.core.runtime import SystemRuntime
from roost.disk.durable import make_directory_durably, read_small, unlink_durably, write_durably
from roost.disk.port import Disk, FileKind
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

NOTES_MAX = 100
"""Notes that are kept; the oldest give way."""
BYTES_MAX = 64 * 1024
TEXT_CHARACTERS_MAX = 2000
SHOWN_MAX = 5


class BackupNote(msgspec.Struct, frozen=True):
    """One backup that is not there: its name, where it lies here, when that was noted (seconds since 1970), why, and
    what to do. `waiting` tells that a program was still trying when it noted this."""

    name: str
    path: str
    at: int
    message: str
    hint: str = ""
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class BackupNotes:
    """The notes of one home, whose root is that of `disk`. Its calls block, and never raise for a disk that fails."""

    disk: Disk
    home: Home

    def write(self, note: BackupNote) -> None:
        """Keep this note, in place of the last one of its name."""
        short = msgspec.structs.replace(note, message=_cut(note.message), hint=_cut(note.hint), path=_cut(note.path))
        with contextlib.suppress(RoostError):
            if not self.disk.exists(self._folder):
                make_directory_durably(self.disk, self._folder)
            write_durably(self.disk, self._file(note.name), msgspec.json.encode(short))
            others = [old for old in self.read() if old.name != note.name]  # whatever the clock said
            for old in others[NOTES_MAX - 1 :]:
                self._remove(old.name)

    def stored(self, name: str) -> None:
        """A backup of `name` succeeded: take away its note, and those of its run's other checkpoints, which this one
        has overtaken."""
        run = run_of(CheckpointName(name))
        for note in self.read():
            if note.name == name or (run and run_of(CheckpointName(note.name)) == run):
                self._remove(note.name)

    def read(self) -> list[BackupNote]:
        """All notes, the newest first."""
        found: list[BackupNote] = []
        with contextlib.suppress(RoostError):
            for file, kind in self.disk.list(self._folder):
                if kind is FileKind.FILE and file.endswith(".json"):
                    with contextlib.suppress(RoostError, msgspec.DecodeError):
                        data = read_small(self.disk, f"{self._folder}/{file}", bytes_max=BYTES_MAX)
                        found.append(msgspec.json.decode(data, type=BackupNote))
        return sorted(found, key=lambda note: (-note.at, note.name))

    @property
    def _folder(self) -> str:
        return self.home.relative(self.home.backups)

    def _file(self, name: str) -> str:
        return f"{self._folder}/{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:32]}.json"

    def _remove(self, name: str) -> None:
        with contextlib.suppress(RoostError):
            unlink_durably(self.disk, self._file(name))


def with_missed_backups(found: ClusterStatus, home: Home) -> ClusterStatus:
    """The status, with the backups of this machine's programs that are not there among its problems."""
    missed = missed_backups(home)
    return msgspec.structs.replace(found, problems=(*found.problems, *missed)) if missed else found


def missed_backups(home: Home) -> list[str]:
    """What is to be said of the backups of this machine's programs that are not there."""
    return backup_problems(BackupNotes(PosixDisk(home.root), home).read(), now=SystemRuntime().wall())


def backup_problems(notes: list[BackupNote], *, now: float) -> list[str]:
    """What `roost status` says of them, the newest first, at `now` (seconds since 1970)."""
    shown = []
    for note in notes[:SHOWN_MAX]:
        ago = _span(max(0.0, now - note.at))
        what = f"has waited for {ago}" if note.waiting else f"failed {ago} ago"
        shown.append(f"the backup of {note.name} {what}: {note.message}")
    if len(notes) > SHOWN_MAX:
        shown.append(f"{len(notes) - SHOWN_MAX} more backups of this machine failed or wait")
    return shown


def _span(seconds: float) -> str:
    for bound, size, unit in ((172_800, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "min")):
        if seconds >= bound:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS_MAX else f"{text[:TEXT_CHARACTERS_MAX]}..."
