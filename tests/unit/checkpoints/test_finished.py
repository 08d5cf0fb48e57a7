"""Is a file finished? Judged from what was seen of it alone."""

import pytest

from checkpoint_kits import noise, safetensors
from roost.checkpoints.finished import QUIET_S, Look, is_ignored, judge_quiet, judge_safetensors

FIRST = Look(at=100.0, size=5, mtime_ns=7, inode=9)


@pytest.mark.parametrize(
    ("now", "finished", "reason"),
    [
        (Look(100.0, 5, 7, 9), False, "unchanged for 0 of 10 s"),
        (Look(109.9, 5, 7, 9), False, "unchanged for 10 of 10 s"),
        (Look(110.0, 5, 7, 9), True, "unchanged for 10 s"),
        (Look(200.0, 5, 7, 9), True, "unchanged for 100 s"),
        (Look(200.0, 6, 7, 9), False, "it is being written"),
        (Look(200.0, 5, 8, 9), False, "it is being written"),
        (Look(200.0, 5, 7, 8), False, "it is being written"),
    ],
)
def test_any_file_is_finished_after_two_equal_looks_far_enough_apart(now: Look, finished: bool, reason: str) -> None:
    assert QUIET_S == 10.0
    verdict = judge_quiet(FIRST, now)
    assert (verdict.finished, verdict.reason) == (finished, reason)


def test_a_safetensors_file_is_finished_at_the_size_that_its_header_says_and_at_no_other() -> None:
    data = safetensors({"w": noise(1000), "v": noise(200)})
    header = data[: 8 + int.from_bytes(data[:8], "little")]
    assert judge_safetensors(header, len(data)).finished
    for size in (len(header), len(data) - 1, len(data) + 1):
        verdict = judge_safetensors(header, size)
        assert not verdict.finished
        assert "does not fit its header yet" in verdict.reason
    for cut in (0, 5, 8, len(header) - 1):
        assert not judge_safetensors(header[:cut], len(data)).finished
    assert not judge_safetensors(b"\xff" * 20, 20).finished
    assert judge_safetensors(safetensors({}), len(safetensors({}))).finished


@pytest.mark.parametrize("name", [".hidden", "x.tmp", "x.part", "x.partial", "x.crdownload", "x~", ".x.roost-12345678"])
def test_names_of_unfinished_files_are_ignored(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["model.safetensors", "tmp", "x.tmp.pt", "a.b"])
def test_other_names_are_not(name: str) -> None:
    assert not is_ignored(name)
