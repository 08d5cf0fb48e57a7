"""What is said to be done about what is wrong."""

import pytest
from msgspec.structs import replace

from cli_stand_in import NODE, STATUS
from roost.apps.api.doing import doing

UP = replace(NODE, name="pi-1")
DOWN = replace(NODE, name="pi-2", state="down")


@pytest.mark.parametrize(
    ("health", "nodes", "running", "says"),
    [
        ({"healthy": 3}, (UP,), (), ""),
        ({"healthy": 3}, (UP, DOWN), (), ""),
        ({"degraded": 1}, (UP, DOWN), (), "Waiting 10 min for pi-2 to come back; then"),
        ({"at-risk": 1}, (UP,), (), "are made again by themselves"),
        ({"at-risk": 1}, (UP, DOWN), ("repair",), "Copies are being made"),
        ({"healthy": 1}, (UP,), ("drain",), "Copies are being made"),
        ({"healthy": 1}, (UP,), ("store",), ""),
        ({"lost": 1}, (UP, DOWN), (), "may still be on pi-2: bring it back"),
        ({"lost": 1}, (UP,), (), "store it again from the source"),
        ({"lost": 2}, (UP,), (), "store them again from the source"),
        ({"unknown": 1}, (DOWN,), (), "known again when pi-2 answers"),
    ],
)
def test_it_says_what_happens_next(
    health: dict[str, int], nodes: tuple[object, ...], running: tuple[str, ...], says: str
) -> None:
    told = doing(replace(STATUS, by_health=health, nodes=nodes), running, grace_s=600.0)
    assert (says in told) if says else told == ""
