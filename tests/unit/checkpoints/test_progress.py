"""Progress: what an operation has done, and whom it waits for in words."""

from roost.checkpoints.progress import Progress


def test_it_waits_for_whom_most_transfers_wait_for_or_for_its_phase() -> None:
    progress = Progress()
    progress.enter("reading")
    assert progress.waiting_for == "reading"
    for name in ("pi-2", "pi-1", "pi-2"):
        progress.begin_wait(name)
    assert progress.waiting_for == "pi-2"
    progress.end_wait("pi-2")
    assert progress.waiting_for == "pi-1, pi-2"
    progress.end_wait("pi-2")
    progress.end_wait("pi-1")
    assert progress.waiting_for == "reading"
    assert progress.waits == {}


def test_every_change_is_told_and_a_note_is_kept_once() -> None:
    told: list[tuple[int, str]] = []
    progress = Progress(changed=lambda p: told.append((p.bytes_done, p.phase)))
    progress.enter("reading")
    progress.advance(5)
    progress.note("pi-1 is full")
    progress.note("pi-1 is full")
    assert told == [(0, "reading"), (5, "reading"), (5, "reading")]
    assert progress.notes == ["pi-1 is full"]
