"""The life of checkpoints (`lifecycle.py`) under hypothesis, and bugs that are planted and found by it.

The examples are the same each time. ``ROOST_LIFECYCLE=N`` makes them N others, longer ones, and shortens what fails.
"""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from property.lifecycle import Lifecycle
from roost.checkpoints import collect, collector
from roost.checkpoints.collect import Unneeded
from roost.disk.durable import DurableFile
from roost.testing.disk import MemoryFile

ALWAYS = settings(
    max_examples=18,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
OTHERS = int(os.environ.get("ROOST_LIFECYCLE", "0"))
RANDOM = settings(
    ALWAYS, max_examples=max(1, OTHERS), stateful_step_count=50, derandomize=False,
    phases=(Phase.generate, Phase.shrink), print_blob=True,
)  # fmt: skip

Lifecycle.TestCase.settings = RANDOM if OTHERS else ALWAYS
TestLifecycle = Lifecycle.TestCase


def _removed_is_gone_at_once(planted: ExitStack) -> None:
    """The collector forgets that what was removed can be brought back for a while."""
    sound = collect.why_it_waits

    def hasty(one: Unneeded, **options: object) -> str:
        removal = one.removal
        return sound(replace(one, removal=removal and replace(removal, left_s=0.0)), **options)  # type: ignore[arg-type]

    for module in (collect, collector):  # as it plans, and once more as it removes
        planted.enter_context(mock.patch.object(module, "why_it_waits", hasty))


def _objects_are_not_synced(planted: ExitStack) -> None:
    """An object gets its name before its bytes are on the disk: after a power cut the name is there, and less of the
    bytes."""
    sound = DurableFile.commit

    def unsynced(self: DurableFile, path: str) -> None:
        if not re.match("chunks/[0-9a-f]{2}/", path):
            return sound(self, path)
        with mock.patch.object(MemoryFile, "sync"):
            return sound(self, path)

    planted.enter_context(mock.patch.object(DurableFile, "commit", unsynced))


@pytest.mark.parametrize("plant", [_removed_is_gone_at_once, _objects_are_not_synced])
def test_a_planted_bug_is_found(plant: Callable[[ExitStack], None]) -> None:
    with ExitStack() as planted:
        plant(planted)
        with pytest.raises(AssertionError, match=r"\d copies were promised, \d are there"):
            run_state_machine_as_test(Lifecycle, settings=ALWAYS)
