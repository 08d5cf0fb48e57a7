"""What the whole suite shares: the options that write golden files anew, and that choose the simulator's seeds, and
which tests stay together."""

import pytest
from hypothesis import settings

settings.register_profile("ours", deadline=None)  # how long an example takes says what else the machine does
settings.load_profile("ours")

pytest_plugins = ["scheduling"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        default=False,
        help="write the golden files from what the code does now, instead of comparing",
    )
    parser.addoption(
        "--sim", type=int, default=100, metavar="N", help="how many seeds the simulator in tests/sim runs (default 100)"
    )
    parser.addoption(
        "--pictures", default=None, metavar="FOLDER", help="make the pictures of the page for the documentation"
    )
    parser.addoption("--seed", type=int, default=None, metavar="N", help="run this one seed of tests/sim again")
