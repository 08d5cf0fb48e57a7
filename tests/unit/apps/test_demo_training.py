"""The demo's training: what it saves is all that going on takes, to the last bit."""

from pathlib import Path

from roost.apps.cli.demo_training import Training


def test_it_goes_on_from_what_it_saved_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = Training()
    losses = [whole.advance() for _ in range(12)]
    first = Training()
    assert [first.advance() for _ in range(5)] == losses[:5]
    first.save(tmp_path / "step-5")
    second = Training.load(tmp_path / "step-5")
    assert second.step == 5
    assert [second.advance() for _ in range(7)] == losses[5:]
    assert losses[-1] < losses[0], "it learns"


def test_without_its_random_state_it_would_not(tmp_path: Path) -> None:
    whole, other = Training(), Training()
    other.chance.random()
    assert whole.advance() != other.advance()
