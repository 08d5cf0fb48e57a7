"""How fast connections may come from one address."""

from roost.net.pace import Pace


def test_a_burst_is_let_in_and_then_so_many_a_second() -> None:
    pace = Pace(per_s=10, burst=20, hosts_max=4)
    assert sum(pace.admits("a", now=5.0) for _ in range(50)) == 20
    admitted = sum(pace.admits("a", now=5.0 + step / 100) for step in range(1, 1001))
    assert 98 <= admitted <= 101
    assert pace.admits("b", now=15.0), "another address is not slowed down"


def test_who_was_quiet_may_come_again_in_a_burst_but_never_in_a_larger_one() -> None:
    pace = Pace(per_s=10, burst=20, hosts_max=4)
    for now in (0.0, 1000.0):
        assert sum(pace.admits("a", now=now) for _ in range(50)) == 20


def test_being_refused_costs_nothing_more() -> None:
    pace = Pace(per_s=1, burst=1, hosts_max=4)
    assert pace.admits("a", now=0.0)
    assert not any(pace.admits("a", now=0.5) for _ in range(100))
    assert pace.admits("a", now=1.0)


def test_few_addresses_are_remembered_and_those_who_came_last_are() -> None:
    pace = Pace(per_s=1, burst=1, hosts_max=3)
    for number in range(1000):
        assert pace.admits(f"host {number}", now=0.0)
    assert len(pace._left) == 3
    assert not pace.admits("host 999", now=0.1)
    assert pace.admits("host 1", now=0.1), "it is forgotten"
