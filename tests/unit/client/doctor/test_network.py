"""What the doctor makes of the network and the Wi-Fi, from observations that are planted."""

import errno
import os
from collections.abc import Sequence

import pytest

from roost.client.discovering import InSight, Surroundings, Tried
from roost.client.doctor.findings import Finding, Level
from roost.client.doctor.network import Dialled, Heard, Serving, judge_dialled, judge_discovery, judge_served
from roost.client.doctor.radio import Radio, judge_radios
from roost.cluster.discovery.finder import WayState
from roost.cluster.discovery.sightings import Advert, Way
from roost.core.cluster import Address
from roost.core.ids import NodeId

NO_ROUTE = os.strerror(errno.EHOSTUNREACH)
WORKING = (WayState(Way.MDNS, True), WayState(Way.BROADCAST, True))
HERE = frozenset({"192.168.1.99"})
SERVING = Serving("0.0.0.0:7400", 500.0)


def bad(findings: Sequence[Finding]) -> list[tuple[str, Level]]:
    """The findings that are not well; each that must be mended says how."""
    assert all(finding.mend for finding in findings if finding.is_bad)
    assert not any("roost doctor" in f.mend and f.check in ("multicast", "broadcast") for f in findings)
    return [(finding.check, finding.level) for finding in findings if finding.level is not Level.OK]


def in_sight(number: int, *ways: Way) -> InSight:
    advert = Advert(bytes(32), NodeId(f"{number:032x}"), "home", 7400, False, f"pi-{number}")
    return InSight(advert, {Address(f"192.168.1.{number}", 7400): frozenset(ways)})


def tried(number: int, problem: str = "") -> Tried:
    return Tried(Address(f"192.168.1.{number}", 7400), Way.REMEMBERED, None, problem)


def discovery(
    *nodes: InSight, ways: Sequence[WayState] = WORKING, tried: Sequence[Tried] = (), loopback: bool = False,
    platform: str = "linux",
) -> list[Finding]:  # fmt: skip
    return list(judge_discovery(Surroundings(nodes, ways, HERE, tried), loopback=loopback, platform=platform))


def test_multicast_and_broadcast_that_both_show_somebody() -> None:
    found = discovery(in_sight(1, Way.MDNS, Way.BROADCAST), in_sight(2, Way.BROADCAST))
    assert bad(found) == []
    assert [(f.check, f.text) for f in found] == [
        ("multicast", "shows 1 on other machines"), ("broadcast", "shows 2 on other machines"),
    ]  # fmt: skip


def test_who_is_on_this_machine_says_nothing_of_the_network() -> None:
    here = in_sight(99, Way.MDNS, Way.BROADCAST)
    assert bad(discovery(here)) == [("discovery", Level.NOTE)]
    assert bad(discovery(here, in_sight(1, Way.BROADCAST))) == [("multicast", Level.NOTE)]


@pytest.mark.parametrize(("works", "blocked"), [(Way.BROADCAST, "multicast"), (Way.MDNS, "broadcast")])
def test_where_one_way_is_blocked_the_other_is_enough(works: Way, blocked: str) -> None:
    found = discovery(in_sight(1, works))
    assert bad(found) == [(blocked, Level.NOTE)]


def test_both_ways_blocked_where_addresses_answer_is_client_isolation_and_the_peers_are_spelled_out() -> None:
    [found] = discovery(tried=[tried(2), tried(3, "no answer"), tried(4)])
    assert (found.check, found.level) == ("discovery", Level.WARNING)
    assert "client isolation" in found.text
    assert found.mend.endswith("{peers: [192.168.1.2:7400, 192.168.1.4:7400]}")


def test_nobody_in_sight_is_a_warning_only_where_somebody_should_be() -> None:
    assert bad(discovery()) == [("discovery", Level.NOTE)]
    assert bad(discovery(tried=[tried(2, "no answer")])) == [("discovery", Level.WARNING)]


def test_a_way_that_fails_says_why_and_what_to_do() -> None:
    taken = WayState(Way.BROADCAST, True, f"broadcast is not possible here: {os.strerror(errno.EADDRINUSE)}", "see: x")
    found = discovery(in_sight(1, Way.MDNS), ways=(WORKING[0], taken))
    assert bad(found) == [("broadcast", Level.WARNING)]
    assert "lsof" in found[0].mend
    alone = [WayState(way, True, "this machine is on no network", "see: roost doctor") for way in Way if way in "mdns"]
    assert "cable" in discovery(ways=alone)[0].mend


def test_on_a_mac_packets_without_a_route_are_the_local_network_permission() -> None:
    ways = (WayState(Way.MDNS, False), WayState(Way.BROADCAST, True, f"packets are not sent: {NO_ROUTE}", "x"))
    assert "Local Network" in discovery(ways=ways, platform="darwin")[1].mend
    assert "Local Network" not in discovery(ways=ways, platform="linux")[1].mend


def test_ways_that_are_switched_off_are_noted() -> None:
    found = discovery(ways=[WayState(Way.MDNS, False), WayState(Way.BROADCAST, False)])
    assert bad(found) == [("multicast", Level.NOTE), ("broadcast", Level.NOTE)]
    assert found[0].mend == "set discovery: {mdns: true}"


def test_who_listens_on_loopback_is_told_so() -> None:
    assert bad(discovery(loopback=True)) == [("discovery", Level.NOTE)]


def dialled(*members: Dialled, platform: str = "linux") -> list[Finding]:
    return list(judge_dialled(members, platform=platform))


def test_members_that_answer_and_members_that_do_not() -> None:
    well = Dialled("a", "192.168.1.2:7400", True)
    assert bad(dialled(well, Dialled("b", "127.0.0.1:7401", False))) == []
    found = dialled(well, Dialled("c", "192.168.1.4:7444", True, "no answer within 5 s"))
    assert bad(found) == [("unicast", Level.WARNING)]
    assert "c at 192.168.1.4:7444 does not answer: no answer within 5 s" in found[0].text
    assert "7444/tcp" in found[0].mend
    assert dialled() == []


def test_on_a_mac_no_route_to_a_member_is_the_local_network_permission() -> None:
    lost = Dialled("c", "192.168.1.4:7400", True, f"nobody answers at 192.168.1.4:7400 ({NO_ROUTE})")
    assert ("local-network", Level.PROBLEM) in bad(dialled(lost, platform="darwin"))
    assert bad(dialled(lost)) == [("unicast", Level.WARNING)]


def served(serving: Serving | None, *heard: Heard, node: bool = True, platform: str = "linux") -> list[Finding]:
    return list(judge_served(serving, heard, platform=platform, node=node))


def test_a_node_that_others_dialled_is_reached_both_ways() -> None:
    [found] = served(SERVING, Heard("a", "alive", "192.168.1.9:7400"), Heard("b", "draining", "192.168.1.9:7400"))
    assert (found.check, found.level) == ("ports", Level.OK)
    assert "both ways" in found.text
    assert "a at 192.168.1.9:7400" in found.text


@pytest.mark.parametrize("heard", [Heard("a", "alive", ""), Heard("a", "down", "192.168.1.9:7400")])
def test_a_node_that_another_never_dialled_or_lost_is_behind_a_firewall(heard: Heard) -> None:
    [found] = served(SERVING, heard, Heard("b", "alive", "192.168.1.9:7400"))
    assert (found.check, found.level) == ("ports", Level.WARNING)
    assert found.text.startswith("a cannot dial this node at 0.0.0.0:7400")
    assert "ufw allow 7400/tcp" in found.mend
    assert "Firewall" in served(SERVING, heard, platform="darwin")[0].mend


def test_a_node_that_has_just_begun_need_not_have_been_dialled_yet() -> None:
    assert bad(served(Serving("0.0.0.0:7400", 3.0), Heard("a", "suspect", ""))) == [("ports", Level.NOTE)]


def test_a_home_whose_own_port_is_silent_is_a_problem() -> None:
    assert bad(served(Serving("0.0.0.0:7400", 500.0, "refused"))) == [("ports", Level.PROBLEM)]


def test_a_home_that_nobody_serves_is_noted_if_it_is_a_node() -> None:
    assert bad(served(None)) == [("ports", Level.NOTE)]
    assert served(None, node=False) == []


def test_where_nobody_elsewhere_tells_that_is_said() -> None:
    [found] = served(SERVING)
    assert found.level is Level.OK
    assert "nobody elsewhere tells" in found.text


def test_wifi_that_saves_power_is_a_warning_with_the_command_for_that_interface() -> None:
    found = list(judge_radios([Radio("wlan7", True, -50.0)]))
    assert bad(found) == [("wifi", Level.WARNING)]
    assert found[0].mend.startswith("sudo iw dev wlan7 set power_save off")


def test_wifi_that_does_not_tell_or_is_weak_is_noted() -> None:
    assert bad(list(judge_radios([Radio("wlan0", False, -50.0), Radio("wlan1", False, None)]))) == []
    assert bad(list(judge_radios([Radio("wlan0", None, None)]))) == [("wifi", Level.NOTE)]
    assert "-81 dBm" in list(judge_radios([Radio("wlan0", False, -81.0)]))[1].text
