"""The condition of a disk: one fault is damage, several make its node one to be given nothing."""

from roost.chunks.condition import FILES_MAX, SILENT_MAX, SILENT_WITHIN_S, WITHIN_S, DiskCondition, Fault


def fault(path: str, at: float = 100.0, *, writing: bool = False) -> Fault:
    return Fault(path, writing, at, f"cannot read {path}: it burns")


def noted(*faults: Fault) -> DiskCondition:
    condition = DiskCondition()
    for one in faults:
        condition.note(one)
    return condition


def test_a_disk_without_faults_is_well() -> None:
    condition = noted()
    assert (condition.trouble, condition.faults) == ("", 0)


def test_one_bad_file_is_damage_and_no_more_however_often_it_is_tried() -> None:
    condition = noted(*(fault("chunks/ab/x", 100 + n) for n in range(50)))
    assert (condition.trouble, condition.faults) == ("", 50)


def test_several_files_within_an_hour_are_a_disk_that_keeps_failing() -> None:
    condition = noted(*(fault(f"chunks/{n}", 100 + n) for n in range(FILES_MAX - 1)))
    assert condition.trouble == ""
    condition.note(fault("records/y", 105))
    assert (
        condition.trouble == "its disk keeps failing, on 3 files within an hour; last: cannot read records/y: it burns"
    )


def test_faults_that_lie_far_apart_are_no_pattern() -> None:
    condition = noted(*(fault(f"chunks/{n}", n * WITHIN_S / 2) for n in range(20)))
    assert condition.trouble == ""


def test_a_node_that_cannot_write_its_own_state_is_in_trouble_at_once() -> None:
    assert noted(fault("state/scrub.tmp-0", writing=True)).trouble.startswith("its disk does not take")
    assert noted(fault("state", writing=True)).trouble
    assert noted(fault("state/scrub")).trouble == "", "what cannot be read of it can be made anew"
    assert noted(fault("stately/scrub", writing=True)).trouble == ""


def test_the_verdict_stands_until_all_was_read_and_good() -> None:
    condition = noted(*(fault(f"chunks/{n}") for n in range(FILES_MAX)))
    assert condition.trouble
    condition.note(fault("chunks/x", 100 + 10 * WITHIN_S))
    assert condition.trouble, "time alone heals nothing"
    condition.recover()
    assert condition.trouble == ""
    condition.note(fault("chunks/1", 101 + 10 * WITHIN_S))
    assert condition.trouble == "", "and what was before does not count again"


def test_a_flood_of_faults_is_bounded_and_still_a_verdict() -> None:
    condition = noted(*(fault(f"chunks/{n}") for n in range(100_000)))
    assert condition.trouble
    assert condition.faults < 1000
    assert len(noted(Fault("state/x", True, 1.0, "x" * 5000)).trouble) < 1000


def rot(path: str, at: float = 100.0) -> Fault:
    return Fault(path, False, at, f"{path} is damaged", silent=True)


def test_many_files_that_go_bad_in_silence_are_a_disk_that_fails() -> None:
    condition = noted(*(rot(f"chunks/{n}") for n in range(SILENT_MAX - 1)), *(rot("chunks/1") for _ in range(50)))
    assert condition.trouble == "", "a few are damage, and made again"
    condition.note(rot("chunks/y"))
    assert condition.trouble == "its disk loses what it keeps, 16 files within a day; last: chunks/y is damaged"
    condition.recover()
    assert condition.trouble == ""
    condition.note(rot("chunks/z"))
    assert condition.trouble == ""


def test_files_that_go_bad_now_and_then_are_no_pattern_and_no_faults_of_reading() -> None:
    assert noted(*(rot(f"chunks/{n}", n * SILENT_WITHIN_S / 2) for n in range(50))).trouble == ""
    assert noted(*(rot(f"chunks/{n}") for n in range(FILES_MAX))).trouble == ""


def test_a_verdict_of_an_earlier_process_stands_until_all_was_read_and_good() -> None:
    condition = DiskCondition()
    condition.restore("its disk keeps failing")
    assert condition.trouble == "its disk keeps failing"
    condition.recover()
    assert condition.trouble == ""
    condition.restore("")
    assert condition.trouble == ""
