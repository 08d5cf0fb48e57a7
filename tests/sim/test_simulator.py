"""Whole clusters from seeds: `--sim N` runs so many, `--seed N` runs that one again."""

from sim.story import run


def test_nothing_acknowledged_is_lost(seed: int) -> None:
    outcome = run(seed)
    assert outcome.digest
