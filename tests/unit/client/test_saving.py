"""What encoding and sharing chunks saved of one version."""

from record_specimens import manifest, planes, raw
from roost.client.saving import saving_of

WEIGHTS = planes("weights", 1000, 400)
NOISE = raw("noise", 500)
OWN = planes("own", 300, 100)


def test_repetitions_encoding_and_sharing_are_told_apart() -> None:
    mine = manifest([], [WEIGHTS, NOISE, WEIGHTS, OWN])
    other = manifest([], [WEIGHTS, planes("else", 50, 20)], seq=8)
    third = manifest([], [WEIGHTS, NOISE], seq=9)
    assert saving_of(mine, [other]) == (1800, 1000, 400)
    assert saving_of(mine, [other, third]) == (1800, 1000, 900)


def test_a_version_does_not_share_with_itself() -> None:
    mine = manifest([], [WEIGHTS])
    assert saving_of(mine, [mine]) == (1000, 400, 0)
    assert saving_of(manifest([], []), [mine]) == (0, 0, 0)
