"""`Backups`: what a training loop writes is stored in the background, and nothing that happens there reaches the loop.

`save` opens the files, which takes milliseconds, and returns; a thread stores them. Rotation, or a new file renamed
over the old one, takes nothing away meanwhile. What fails is told by the logger ``roost`` and by `roost status`, and
never raises. At the end of the program what waits is waited for, within bounds.
"""

import atexit
import os
from pathlib import Path

import msgspec

from roost.checkpoints.holding import Changed
from roost.client.backlog import Backlog, Waiting, tell_failed
from roost.client.backup_notes import BackupNote, BackupNotes
from roost.client.cluster import AsyncCluster
from roost.client.results import StoreResult
from roost.client.storing import default_name, hold
from roost.core.errors import Failed, RoostError, UsageError
from roost.core.ids import parse_checkpoint_name
from roost.core.runtime import LoopThread, Mutex, Started, SystemRuntime
from roost.disk.posix import PosixDisk
from roost.observe.telling import program_log
from roost.settings.load import load
from roost.settings.paths import Home

AnyPath = str | os.PathLike[str]

WAITING_MAX = 4
EXIT_PATIENCE_S = 60.0
"""How long the end of the program waits while nothing moves."""
OUTCOMES_MAX = 1000


class BackupReport(msgspec.Struct, frozen=True):
    """The names of what was stored lately, of what failed, each with the reason, and of what still waits."""

    stored: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    waiting: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.stored)} stored"]
        parts += [f"NOT STORED: {name} ({reason})" for name, reason in self.failed]
        parts += [f"still waiting: {name}" for name in self.waiting]
        return "; ".join(parts)


class Backup:
    """One checkpoint on its way. `name` is what it is stored as."""

    def __init__(self, name: str, outcome: "Started[StoreResult] | RoostError") -> None:
        self.name = name
        self._outcome = outcome
        self._process = os.getpid()

    @property
    def done(self) -> bool:
        """Whether it is stored, or was given up."""
        return isinstance(self._outcome, RoostError) or self._outcome.done()

    @property
    def error(self) -> RoostError | None:
        """Why it was given up; None while it waits, and when it is stored."""
        if isinstance(self._outcome, RoostError):
            return self._outcome
        if not self._outcome.done():
            return None
        error = Failed("the program ended") if self._outcome.cancelled() else self._outcome.exception()
        return error if error is None or isinstance(error, RoostError) else Failed(f"{type(error).__name__}: {error}")

    def wait(self, timeout_s: float | None = None) -> StoreResult:
        """Wait until it is stored. Raises the RoostError it was given up for, and TimeoutError after `timeout_s`; it
        goes on then."""
        if isinstance(self._outcome, RoostError):
            raise self._outcome
        if not self._outcome.done() and os.getpid() != self._process:
            raise Failed("this backup belongs to the process that this one was forked from", hint="wait for it there")
        if not self._outcome.cancelled():
            self._outcome.exception(timeout_s)
        if (error := self.error) is not None:
            raise error
        return self._outcome.result()


class Backups:
    """The backups of one program, by this machine's identity in `home` and the settings in `config`, each found as the
    command line finds it. When more than `waiting_max` wait, the oldest of them is given up, for held files keep their
    disk space. Several threads may use it; a forked process begins with nothing."""

    def __init__(
        self, home: AnyPath | None = None, config: AnyPath | None = None, waiting_max: int = WAITING_MAX
    ) -> None:
        self.exit_patience_s = EXIT_PATIENCE_S
        self._home = Home.find(os.fspath(home) if home is not None else None)
        self._config = os.fspath(config) if config is not None else None
        self._directory = Path(os.path.abspath("."))
        self._waiting_max = waiting_max
        self._notes = BackupNotes(PosixDisk(self._home.root), self._home)
        self._begin()
        atexit.register(self._at_exit)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._loop = LoopThread()
        self._backlog = Backlog(SystemRuntime(), self._open, self._notes, waiting_max=self._waiting_max)
        self._backups: list[Backup] = []

    async def _open(self) -> AsyncCluster:
        settings = load(self._config, home=self._home, working_directory=self._directory).settings
        return await AsyncCluster.open(self._home, settings)

    def save(self, path: AnyPath, name: str | None = None, *, awaited: tuple[str, ...] = ()) -> Backup:
        """Hold the file or folder as it is now, and store it in the background, by default as ``parent/name``.

        Returns in milliseconds and never raises. `awaited` are files in a folder that other processes are still
        writing: they are waited for, in the background and for a while, and the folder is looked at again.
        """
        try:
            return self._save(path, name, awaited)
        except Exception as error:  # supervised: whatever is wrong with a backup, the training goes on
            return self._refused(path, name, error)

    def _save(self, path: AnyPath, name: str | None, awaited: tuple[str, ...]) -> Backup:
        if os.getpid() != self._process:
            self._begin()
        if not self._loop.is_open:
            raise UsageError("these backups are closed", hint="make new ones: Backups()")
        where = Path(os.path.abspath(path))
        try:
            held = hold(where, name=name)
            called = held.name
        except Changed:
            held, called = None, parse_checkpoint_name(name) if name is not None else default_name(where)
        item = Waiting(where, name, called, held, awaited)
        backup = Backup(called, self._loop.start(self._backlog.store(item)))
        self._keep(backup)
        return backup

    def _refused(self, path: AnyPath, name: str | None, error: Exception) -> Backup:
        reason = error if isinstance(error, RoostError) else Failed(f"{type(error).__name__}: {error}")
        backup = Backup(name or _called(path), reason)
        tell_failed(backup.name, reason)
        at = int(SystemRuntime().wall())
        self._notes.write(BackupNote(backup.name, str(path), at, reason.message, reason.hint))
        if self._loop.is_open and os.getpid() == self._process:
            self._loop.start(self._backlog.count_failure(backup.name, reason))
        self._keep(backup)
        return backup

    def _keep(self, backup: Backup) -> None:
        """Remember it for the report; of those that are done, the latest."""
        surplus = len(self._backups) + 1 - OUTCOMES_MAX
        if surplus > 0:
            gone = set(list(filter(lambda one: one.done, self._backups))[:surplus])
            self._backups = [one for one in self._backups if one not in gone]
        self._backups.append(backup)

    def wait(self, timeout_s: float | None = None) -> BackupReport:
        """Wait until nothing waits any more, up to `timeout_s` in all; what became of everything."""
        if self._loop.is_open and os.getpid() == self._process:
            self._loop.run(self._backlog.drained(timeout_s))
        return self.report()

    def finish(self, timeout_s: float) -> BackupReport:
        """Wait as `wait` does, and say in the log how it ended: as an error when anything is not stored."""
        report = self.wait(timeout_s)
        say = program_log().error if report.failed or report.waiting else program_log().info
        say("backups of this program: %s", report)
        return report

    def report(self) -> BackupReport:
        """How everything stands now; of a name only the latest backup counts."""
        latest = {backup.name: backup for backup in self._backups} if os.getpid() == self._process else {}
        return BackupReport(
            stored=tuple(name for name, one in latest.items() if one.done and one.error is None),
            failed=tuple((name, one.error.message) for name, one in latest.items() if one.error is not None),
            waiting=tuple(name for name, one in latest.items() if not one.done),
        )

    def close(self) -> None:
        """Give up what waits, each with a word in the log, and end the thread. Idempotent."""
        if self._loop.is_open and os.getpid() == self._process:
            self._loop.run(self._backlog.aclose())
            self._loop.close()
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """Wait for what waits while something moves, and say what is not stored."""
        if os.getpid() != self._process or not self._loop.is_open:
            return
        try:
            if waiting := self.report().waiting:
                told = "waiting for %d backups before the program ends, at most %.0f s after the last progress: %s"
                program_log().warning(told, len(waiting), self.exit_patience_s, ", ".join(waiting))
                self._loop.run(self._backlog.settle(patience_s=self.exit_patience_s))
        except KeyboardInterrupt:
            program_log().warning("not waiting any longer for backups: interrupted")
        self.close()


_default: Backups | None = None
_making = Mutex()


def default_backups() -> Backups:
    """Those of this program, by this machine's home and settings; made when they are first asked for."""
    global _default
    with _making:
        if _default is None:
            _default = Backups()
        return _default


def save_hook(path: AnyPath, name: str | None = None) -> Backup:
    """Back up what a training loop has just written, and return at once; see `Backups.save`."""
    try:
        backups = default_backups()
    except Exception as error:  # supervised: whatever is wrong with a backup, the training goes on
        reason = error if isinstance(error, RoostError) else Failed(f"{type(error).__name__}: {error}")
        tell_failed(name or _called(path), reason)
        return Backup(name or _called(path), reason)
    return backups.save(path, name)


def _called(path: AnyPath) -> str:
    """What to call it where it may have no name of its own."""
    try:
        return default_name(Path(os.path.abspath(path)))
    except (RoostError, OSError, ValueError, TypeError):
        return str(path)
