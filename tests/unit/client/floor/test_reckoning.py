"""The floor's reckoning: every step that must be done is counted, as often as it must be; the disk bounds it too."""

from dataclasses import fields, replace

import pytest

from roost.client.floor.reckoning import (
    Cost,
    Costs,
    floor_of_gather,
    floor_of_store,
    sealing_bytes_per_s,
    sender_bytes_per_s,
)

PLAIN, REST = 3_000_000_000, 2_000_000_000
NOTHING = Costs(*(Cost(0.0, 0.0) for _ in fields(Costs)))


def only(**cpu_s: float) -> Costs:
    """A machine where nothing but these steps costs anything."""
    return replace(NOTHING, **{step: Cost(seconds, 0.0) for step, seconds in cpu_s.items()})


@pytest.mark.parametrize(
    ("step", "two_copies", "three_copies"),
    [
        ("read", 3 + 2, 3 + 2 * 2),  # the file; and a copy by who passes it on
        ("sha", 2 * 3 + 2 + 2 * 2 + 2, 2 * 3 + 2 + 3 * 2 + 2 * 2),  # file, chunks, id; each who takes, each who gives
        ("encode", 3, 3),
        ("decode", 0, 0),
        ("tls", 2 * 2, 3 * 2),
        ("write_objects", 2 * 2, 3 * 2),
        ("write_file", 0, 0),
    ],
)
def test_a_store_does_each_step_so_often(step: str, two_copies: float, three_copies: float) -> None:
    for copies, gigabytes in ((2, two_copies), (3, three_copies)):
        least = floor_of_store(only(**{step: 1.0}), plain_bytes=PLAIN, rest_bytes=REST, copies=copies, cores=1)
        assert least.seconds == pytest.approx(gigabytes)


@pytest.mark.parametrize(
    ("step", "gigabytes"),
    [
        ("read", 2),
        ("sha", 2 + 2 + 3),
        ("encode", 0),
        ("decode", 3),
        ("tls", 2),
        ("write_objects", 0),
        ("write_file", 3),
    ],
)
def test_a_gather_does_each_step_so_often(step: str, gigabytes: float) -> None:
    least = floor_of_gather(only(**{step: 1.0}), plain_bytes=PLAIN, rest_bytes=REST, cores=1)
    assert least.seconds == pytest.approx(gigabytes)


def test_cores_share_the_work_until_the_disk_is_slower() -> None:
    costs = replace(only(encode=4.0), write_objects=Cost(0.0, 0.5), write_file=Cost(0.0, 3.0))
    store = [floor_of_store(costs, plain_bytes=PLAIN, rest_bytes=REST, copies=2, cores=n).seconds for n in (1, 2, 100)]
    assert store == pytest.approx([12.0, 6.0, 2 * 2 * 0.5])
    assert floor_of_gather(costs, plain_bytes=PLAIN, rest_bytes=REST, cores=2).seconds == pytest.approx(3 * 3.0)


def test_the_reference_machine() -> None:
    costs = replace(only(read=0.1, sha=1 / 1.06, encode=1 / 0.55, decode=0.9, tls=3.2), write_objects=Cost(0.6, 1.0))
    store = floor_of_store(costs, plain_bytes=942_000_000, rest_bytes=631_000_000, copies=2, cores=2)
    assert 5.0 < store.seconds < 5.8


def test_what_a_sender_can_make_and_encrypt() -> None:
    costs = only(read=0.1, sha=1.0, encode=1.5, tls=2.0)
    assert sender_bytes_per_s(costs, ratio=0.5, cores=2) == pytest.approx(2e9 / (0.1 + 2.0 + 1.5 + 0.5 * (1.0 + 1.0)))
    assert sealing_bytes_per_s(costs, cores=2) == pytest.approx(2e9)
