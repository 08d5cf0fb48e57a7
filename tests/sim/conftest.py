"""Which seeds run: `--sim N` the first N, `--seed N` that one alone; and how long each took."""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        only = metafunc.config.getoption("--seed")
        count = metafunc.config.getoption("--sim")
        metafunc.parametrize("seed", [only] if only is not None else range(count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many seeds ran, and how long one takes."""
    runs = [
        (report.duration, report.nodeid.partition("[")[2].rstrip("]"))
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" and "::test_no_promise_is_broken[" in report.nodeid
    ]
    if runs:
        total, (slowest, seed) = sum(duration for duration, _ in runs), max(runs)
        each = f"{total / len(runs):.2f} s each, at most {slowest:.1f} s (seed {seed})"
        terminalreporter.write_line(f"{len(runs)} clusters simulated, {each}")
