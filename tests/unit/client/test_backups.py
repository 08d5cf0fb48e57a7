"""Backups: what waits is stored in its order, what fails is tried again or told, and nothing reaches the caller."""

import asyncio
import gc
import logging
import os
import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from roost.checkpoints.holding import Changed
from roost.checkpoints.progress import Progress
from roost.client import backlog as module
from roost.client.backlog import HOLDS_MAX, RETRY_FIRST_S, RETRY_MAX_S, Backlog, Waiting
from roost.client.backup_notes import NOTES_MAX, SHOWN_MAX, BackupNote, BackupNotes, backup_problems
from roost.client.backups import Backups
from roost.client.results import StoreResult
from roost.client.storing import Held, hold
from roost.core.errors import Failed, NoSpace, NotAdmitted, NotFound, RoostError, Unreachable, UsageError
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

Scenario = Callable[["Program"], Awaitable[None]]


class Program:
    """A backlog on virtual time, and the cluster that it stores in."""

    def __init__(self, folder: Path, waiting_max: int) -> None:
        self.folder = folder
        self.runtime = SimRuntime(random.Random(1))
        self.begun = self.runtime.now()
        self.disk = MemoryDisk()
        self.notes = BackupNotes(self.disk, Home(Path("/home/of/it")))
        self.backlog = Backlog(self.runtime, self.open, self.notes, waiting_max=waiting_max)
        self.seconds = 0.0
        self.errors: dict[str, list[Exception]] = {}
        self.away: RoostError | None = None
        self.attempts: list[tuple[str, float]] = []
        self.read: dict[str, bytes] = {}
        self.opened = self.closed = 0
        self.counted: list[tuple[str, str]] = []

    async def open(self) -> "Program":
        if self.away is not None:
            self.attempts.append(("", self.at))
            raise self.away
        self.opened += 1
        return self

    def backup_failed(self, name: str, error: RoostError) -> None:
        self.counted.append((name, error.code))

    async def aclose(self) -> None:
        self.closed += 1

    @property
    def at(self) -> float:
        return self.runtime.now() - self.begun

    async def store_held(
        self, held: Held, *, redundancy: str | None = None, progress: Progress | None = None
    ) -> StoreResult:
        self.attempts.append((held.name, self.at))
        await asyncio.sleep(self.seconds)
        if errors := self.errors.get(held.name):
            raise errors.pop(0)
        [found] = held.holding.scan.found
        buffer = bytearray(found.info.size)
        file = held.holding.take(found)
        file.pread(memoryview(buffer), 0)
        held.holding.give(found, file)
        self.read[held.name] = bytes(buffer)
        return stored(held.name)

    def save(self, name: str, data: bytes = b"weights", awaited: tuple[str, ...] = ()) -> "asyncio.Task[StoreResult]":
        path = self.folder / name.replace("/", "-")
        path.write_bytes(data)
        held = hold(path, name=name)
        return asyncio.create_task(self.backlog.store(Waiting(path, name, name, held, awaited)))


def stored(name: str, *, degraded: bool = False) -> StoreResult:
    return StoreResult(name, "1-abcdef", False, 7, 7, 1, 1, 1 if degraded else 2, degraded, ("a",), 0.1, False, ())


def simulate(scenario: Scenario, folder: Path, *, waiting_max: int = 4, seconds_max: float = 10_000) -> None:
    async def main() -> None:
        program = Program(folder, waiting_max)
        await scenario(program)
        await program.backlog.aclose()

    run_simulated(main(), seconds_max=seconds_max)


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="roost")


def test_the_newest_goes_first_and_the_cluster_is_left_when_nothing_waits(tmp_path: Path) -> None:
    async def scenario(program: Program) -> None:
        program.seconds = 5
        tasks = [program.save(f"run/step-{step}") for step in range(4)]
        await asyncio.gather(*tasks)
        assert [name for name, _ in program.attempts] == ["run/step-3", "run/step-2", "run/step-1", "run/step-0"]
        await asyncio.sleep(1)
        assert (program.opened, program.closed) == (1, 1)

    simulate(scenario, tmp_path)


def test_what_is_removed_or_replaced_is_stored_as_it_was_saved(tmp_path: Path) -> None:
    async def scenario(program: Program) -> None:
        program.seconds = 5
        tasks = [program.save("run/step-1", b"first"), program.save("run/last", b"one")]
        (tmp_path / "run-step-1").unlink()
        (tmp_path / "new").write_bytes(b"two")
        (tmp_path / "new").replace(tmp_path / "run-last")
        await asyncio.gather(*tasks)
        assert program.read == {"run/step-1": b"first", "run/last": b"one"}

    simulate(scenario, tmp_path)


def test_while_the_cluster_is_away_it_is_tried_with_growing_pauses_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(program: Program) -> None:
        program.away = Unreachable("no node answers", hint="start them")
        task = program.save("run/step-1")
        await asyncio.sleep(2000)
        pauses = [later - at for (_, at), (_, later) in zip(program.attempts, program.attempts[1:], strict=False)]
        assert pauses[:3] == pytest.approx([RETRY_FIRST_S, 2 * RETRY_FIRST_S, 4 * RETRY_FIRST_S], abs=0.1)
        assert max(pauses) == pytest.approx(RETRY_MAX_S, abs=0.1)
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [record.getMessage() for record in warnings] == [
            "backup of run/step-1 waits and is tried again: no node answers"
        ]
        [note] = program.notes.read()
        assert (note.name, note.waiting, note.message, note.hint) == (
            "run/step-1",
            True,
            "no node answers",
            "start them",
        )
        assert program.counted == [], "nobody is there who could"
        program.away = None
        assert (await task).copies == 2
        assert program.notes.read() == []
        assert program.counted == [("run/step-1", "unreachable")], "once, and when it is back"

    simulate(scenario, tmp_path)


def test_a_success_lets_all_others_try_at_once(tmp_path: Path) -> None:
    async def scenario(program: Program) -> None:
        program.away = Unreachable("no node answers")
        old = program.save("run/step-1")
        await asyncio.sleep(1000)
        program.away = None
        now = program.at
        await program.save("run/step-2")
        await old
        assert program.at - now < 1

    simulate(scenario, tmp_path)


def test_more_than_a_few_do_not_wait_and_the_oldest_is_given_up_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(program: Program) -> None:
        program.away = Unreachable("no node answers")
        tasks = [program.save("run/step-0")]
        await asyncio.sleep(1)
        tasks += [program.save(f"run/step-{step}") for step in (1, 2)]
        await asyncio.sleep(1)
        with pytest.raises(Failed, match="2 newer ones wait") as caught:
            await tasks[0]
        assert "no node answers" in caught.value.message
        assert "NO BACKUP of run/step-0" in caplog.text
        assert [note.name for note in program.notes.read() if not note.waiting] == ["run/step-0"]
        program.away = None
        assert {(await task).name for task in tasks[1:]} == {"run/step-1", "run/step-2"}
        assert program.notes.read() == [], "a later checkpoint of the run has overtaken it"

    simulate(scenario, tmp_path, waiting_max=2)


@pytest.mark.parametrize(
    "error", [NotAdmitted("not a member"), UsageError("bad settings"), Failed("no"), ValueError("a fault of ours")]
)
def test_what_no_trying_mends_is_given_up_aloud_and_the_next_one_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def scenario(program: Program) -> None:
        program.errors["run/step-1"] = [error]
        with pytest.raises(RoostError, match=str(error)):
            await program.save("run/step-1")
        assert f"NO BACKUP of run/step-1: {error if isinstance(error, RoostError) else 'ValueError'}" in caplog.text
        assert [note.waiting for note in program.notes.read()] == [False]
        await asyncio.sleep(1)
        code = error.code if isinstance(error, RoostError) else "failed"
        assert program.counted == [("run/step-1", code)], "though nothing else is to be stored"
        await program.save("run/step-2")

    simulate(scenario, tmp_path)


def test_a_full_cluster_is_tried_again(tmp_path: Path) -> None:
    async def scenario(program: Program) -> None:
        program.errors["run/step-1"] = [NoSpace("full"), NoSpace("full")]
        await program.save("run/step-1")
        assert len(program.attempts) == 3

    simulate(scenario, tmp_path)


def test_what_changed_is_opened_anew_a_few_times(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(program: Program) -> None:
        program.errors["run/last"] = [Changed("last")]
        task = program.save("run/last", b"torn")
        await asyncio.sleep(1)
        (tmp_path / "run-last").write_bytes(b"whole")
        await task
        assert program.read["run/last"] == b"whole"
        program.errors["run/always"] = [Changed("always") for _ in range(HOLDS_MAX + 1)]
        with pytest.raises(Changed):
            await program.save("run/always")
        assert len(program.errors["run/always"]) == 1
        assert "NO BACKUP of run/always" in caplog.text
        program.errors["run/gone"] = [Changed("gone")]
        task = program.save("run/gone")
        await asyncio.sleep(1)
        (tmp_path / "run-gone").unlink()
        with pytest.raises(NotFound):
            await task

    simulate(scenario, tmp_path)


def test_a_folder_that_a_rotation_is_removing_is_not_stored_in_part(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    for name in ("model", "optimizer", "rng_state_0.pth"):
        (folder / name).write_bytes(name.encode())

    async def scenario(program: Program) -> None:
        seen: list[list[str]] = []

        async def store_held(
            held: Held, *, redundancy: str | None = None, progress: Progress | None = None
        ) -> StoreResult:
            if errors := program.errors.get(held.name):
                raise errors.pop(0)
            seen.append([found.path for found in held.holding.scan.found])
            return stored(held.name)

        program.store_held = store_held  # type: ignore[method-assign]
        both = ("rng_state_0.pth", "rng_state_1.pth")
        awaiting = Waiting(folder, "run/1", "run/1", hold(folder, name="run/1"), both)
        changed = Waiting(folder, "run/2", "run/2", hold(folder, name="run/2"))
        program.errors["run/2"] = [Changed("model")]
        tasks = [asyncio.create_task(program.backlog.store(item)) for item in (awaiting, changed)]
        await asyncio.sleep(1)
        (folder / "optimizer").unlink()
        await tasks[0]
        assert seen == [["model", "optimizer", "rng_state_0.pth"]]
        with pytest.raises(Failed, match="optimizer is not there any more"):
            await tasks[1]

    simulate(scenario, tmp_path)


def test_files_of_other_processes_are_waited_for_and_belong_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "rng_state_0.pth").write_bytes(b"0")

    async def scenario(program: Program) -> None:
        seen: list[list[str]] = []

        async def store_held(
            held: Held, *, redundancy: str | None = None, progress: Progress | None = None
        ) -> StoreResult:
            seen.append([found.path for found in held.holding.scan.found])
            return stored(held.name)

        program.store_held = store_held  # type: ignore[method-assign]
        both = ("rng_state_0.pth", "rng_state_1.pth")

        def save() -> "asyncio.Task[StoreResult]":
            item = Waiting(folder, "run/1", "run/1", hold(folder, name="run/1"), both)
            return asyncio.create_task(program.backlog.store(item))

        task = save()
        await asyncio.sleep(5)
        assert not seen
        (folder / "rng_state_1.pth").write_bytes(b"1")
        await task
        (folder / "rng_state_1.pth").unlink()
        await save()
        assert "stored without rng_state_1.pth" in caplog.text
        task = save()
        await asyncio.sleep(1)
        shutil.rmtree(folder)
        await task
        assert seen == [["rng_state_0.pth", "rng_state_1.pth"], ["rng_state_0.pth"], ["rng_state_0.pth"]]

    simulate(scenario, tmp_path)


def test_the_end_waits_while_something_moves_and_no_longer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(program: Program) -> None:
        program.seconds = 50
        tasks = [program.save(f"run/step-{step}") for step in range(3)]
        await asyncio.sleep(1)
        await program.backlog.settle(patience_s=60)
        assert all(task.done() for task in tasks), "each of them was progress"
        program.away = Unreachable("no node answers")
        task = program.save("run/late")
        await asyncio.sleep(1)
        now = program.at
        await program.backlog.settle(patience_s=60)
        assert program.at - now == pytest.approx(60, abs=1)
        tries = [at for _, at in program.attempts if at >= now]
        assert len(tries) >= 5, "it is tried more often then"
        await program.backlog.aclose()
        with pytest.raises(Failed, match="program ended"):
            await task
        assert "NO BACKUP of run/late: the program ended before it was stored (no node answers)" in caplog.text

    simulate(scenario, tmp_path)


def test_fewer_copies_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(program: Program) -> None:
        async def store_held(
            held: Held, *, redundancy: str | None = None, progress: Progress | None = None
        ) -> StoreResult:
            return stored(held.name, degraded=True)

        program.store_held = store_held  # type: ignore[method-assign]
        await program.save("run/step-1")
        assert "backup of run/step-1 has fewer copies than asked: 1 copy" in caplog.text

    simulate(scenario, tmp_path)


# -- notes ---------------------------------------------------------------------------------------------------------


def test_notes_are_bounded_replaced_and_shown_the_newest_first() -> None:
    notes = BackupNotes(MemoryDisk(), Home(Path("/home/of/it")))
    assert notes.read() == []
    for step in range(NOTES_MAX + 3):
        notes.write(BackupNote(f"run/step-{step}", "/out", 1000 + step, "x" * 10_000))
    notes.write(BackupNote("run/step-50", "/out", 5000, "again", waiting=True))
    kept = notes.read()
    assert len(kept) == NOTES_MAX
    assert (kept[0].name, kept[-1].name) == ("run/step-50", "run/step-3")
    assert max(len(note.message) for note in kept) < 3000
    told = backup_problems(kept, now=5000 + 600)
    assert told[0] == "the backup of run/step-50 has waited for 10 min: again"
    assert len(told) == SHOWN_MAX + 1
    assert told[-1].startswith(f"{NOTES_MAX - SHOWN_MAX} more")
    assert "failed 2 h ago" in backup_problems([BackupNote("a", "/a", 0, "no")], now=7300)[0]
    notes.write(BackupNote("alone", "/alone", 1, "no"))
    notes.stored("other")
    notes.stored("run/step-900")
    assert [note.name for note in notes.read()] == ["alone"]
    notes.stored("alone")
    assert notes.read() == []


def test_a_disk_that_takes_no_note_disturbs_nobody(tmp_path: Path) -> None:
    disk = MemoryDisk()
    notes = BackupNotes(disk, Home(Path("/home/of/it")))
    notes.write(BackupNote("a", "/a", 1, "no"))
    disk.read_only = True
    notes.write(BackupNote("b", "/b", 2, "no"))
    notes.stored("a")
    assert [note.name for note in notes.read()] == ["a"]
    absent = BackupNotes(PosixDisk(tmp_path / "absent"), Home(tmp_path / "absent"))
    absent.write(BackupNote("a", "/a", 1, "no"))
    assert not (tmp_path / "absent").exists(), "no home is made"


# -- for programs --------------------------------------------------------------------------------------------------


class Opened:
    """A cluster that takes everything, when `gate` lets it."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self.names: list[str] = []

    async def open(self) -> "Opened":
        self.gate = self.gate or asyncio.Event()
        return self

    async def store_held(
        self, held: Held, *, redundancy: str | None = None, progress: Progress | None = None
    ) -> StoreResult:
        self.names.append(held.name)
        return stored(held.name)

    async def aclose(self) -> None:
        pass


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def test_a_program_saves_and_waits(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened()
    monkeypatch.setattr(Backups, "_open", lambda self: opened.open())
    backups = Backups(home=tmp_path)
    backup = backups.save(model)
    assert backup.name == "out/model"
    assert backup.wait(20).copies == 2
    assert (backup.done, backup.error) == (True, None)
    backups.save(str(model), "run/step-2")
    report = backups.wait(20)
    assert (report.stored, report.failed, report.waiting) == (("out/model", "run/step-2"), (), ())
    assert str(report) == "2 stored"
    backups.close()
    backups.close()
    assert backups.save(model).error is not None
    gc.collect()


def test_nothing_that_is_wrong_raises_into_the_training(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backups = Backups(home=tmp_path / "nobody")
    for path, name, kind in (
        (tmp_path / "absent", None, NotFound), (model, "bad//name", UsageError), (3, None, Failed),
    ):  # fmt: skip
        backup = backups.save(path, name)  # type: ignore[arg-type]
        assert backup.done
        assert isinstance(backup.error, kind)
        with pytest.raises(kind):
            backup.wait()
    backup = backups.save(model, "run/step-1")
    with pytest.raises(NotAdmitted):
        backup.wait(20)
    report = backups.wait(20)
    assert [name for name, _ in report.failed][-1] == "run/step-1"
    assert "NOT STORED: run/step-1" in str(report)
    assert caplog.text.count("NO BACKUP of") == 4
    backups.finish(1)
    assert "backups of this program: 0 stored; NOT STORED" in caplog.text
    backups.close()


async def never(self: Backups) -> Opened:
    """A cluster that is away."""
    raise Unreachable("no node answers")


def test_what_still_waits_when_it_is_closed_says_so(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backups, "_open", never)
    backups = Backups(home=tmp_path)
    backup = backups.save(model, "run/step-1")
    with pytest.raises(TimeoutError):
        backup.wait(0.05)
    assert (backup.done, backup.error) == (False, None)
    assert backups.wait(0.05).waiting == ("run/step-1",)
    backups.close()
    with pytest.raises(Failed, match="program ended"):
        backup.wait(1)


def test_a_forked_process_begins_with_nothing_and_waits_for_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backups, "_open", never)
    backups = Backups(home=tmp_path)
    backup = backups.save(model, "run/step-1")
    child = os.fork()
    if child == 0:  # here no assert may escape: it would run the parent's tests
        code = 1
        try:
            opened = Opened()
            Backups._open = lambda self: opened.open()  # type: ignore[method-assign,assignment,return-value]
            quiet = backups.wait(5).waiting == () and not backup.done
            backups._at_exit()
            mine = backups.save(model, "child/step-1")
            code = 0 if quiet and mine.wait(20).name == "child/step-1" and opened.names == ["child/step-1"] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backups.report().waiting == ("run/step-1",)
    backups.close()


def test_the_bounds_are_told_as_they_are() -> None:
    assert module.RETRY_FIRST_S <= module.AWAITED_S < module.RETRY_MAX_S
