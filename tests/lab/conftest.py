"""The labs: made by root on Linux; elsewhere their tests are skipped and say why."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.machines import Lab, lab
from lab.wires import missing

_NUMBERS = itertools.count(os.getpid() % 5000 * 10)

MakeLab = Callable[[int], Lab]


@pytest.fixture(scope="session")
def _possible() -> None:
    if why := missing():
        pytest.skip(why)


@pytest.fixture
def make_lab(_possible: None, tmp_path: Path) -> Iterator[MakeLab]:
    with ExitStack() as stack:
        yield lambda machines: stack.enter_context(lab(tmp_path, next(_NUMBERS), machines))
