"""Machines that find each other on a wire, whatever it lets through, and form a cluster by a code alone."""

import platform
import time

from e2e import trees
from lab.conftest import MakeLab
from lab.machines import Lab

FOUND_LIMIT_S = 3.0
FORMED_LIMIT_S = 60.0


def ways(answer: dict[str, object], label: str) -> set[str]:
    """The ways by which a node of this label is seen."""
    found: set[str] = set()
    for cluster in answer["clusters"]:  # type: ignore[attr-defined]
        for node in cluster["nodes"]:
            if node["label"] == label:
                found |= {way for address in node["addresses"] for way in address["ways"]}
    return found


def test_four_machines_form_a_cluster_by_a_code_and_store_within_a_minute(make_lab: MakeLab) -> None:
    lab = make_lab(5)
    begun = time.monotonic()
    coordinator, code = lab.start("m1", "-n", 4)
    nodes = [lab.begin(name, "join", code, "--name", name) for name in ("m2", "m3", "m4", "m5")]
    for node in nodes:
        node.until("listening")
    coordinator.until("ready", timeout_s=FORMED_LIMIT_S)
    path = trees.write(lab.root / "step-1.safetensors", trees.model([2_000_000] * 3, seed=1))
    stored = lab.done("m1", "store", path, "--name", "run/step-1")
    assert time.monotonic() - begun < FORMED_LIMIT_S
    assert (stored["copies"], stored["degraded"]) == (2, False)
    joined = [line["name"] for line in coordinator.lines if line.get("event") == "node-joined"]
    assert sorted(joined) == ["m2", "m3", "m4", "m5"]


def sees(lab: Lab, name: str, label: str, *, within_s: float) -> set[str]:
    """The ways by which a machine sees another that is known by this label, looking for so long."""
    return ways(lab.done(name, "discover", "--seconds", within_s), label)


def test_a_machine_is_found_within_three_seconds_of_its_start_by_both_ways(make_lab: MakeLab) -> None:
    lab = make_lab(2)
    looking = lab.begin("m2", "discover", "--seconds", 2 * FOUND_LIMIT_S)
    lab.start("m1")
    assert ways(looking.wait().result, label(lab)) == {"mdns", "broadcast"}
    assert sees(lab, "m2", label(lab), within_s=FOUND_LIMIT_S) == {"mdns", "broadcast"}


def label(lab: Lab) -> str:
    """How coordinators are labelled: the host's name, the same on all machines of a lab."""
    return platform.node()


def test_where_multicast_is_blocked_broadcast_finds(make_lab: MakeLab) -> None:
    lab = make_lab(2)
    lab.wires.flood(multicast=False, broadcast=True)
    _, code = lab.start("m1")
    told = lab.done("m2", "discover", "--explain")
    assert ways(told, label(lab)) == {"broadcast"}
    assert "multicast is blocked" in told["verdict"]
    lab.begin("m2", "join", code, "--name", "m2").until("listening")
    assert [node["name"] for node in lab.done("m1", "nodes")["nodes"]] == ["m2"]


def test_where_broadcast_is_blocked_too_addresses_work_and_the_message_names_client_isolation(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(3)
    lab.wires.flood(multicast=False, broadcast=False)
    _, code = lab.start("m1")
    answer = lab.cli("m2", "join", code)
    assert (answer.code, answer.result["code"]) == (6, "unreachable")
    assert "client isolation" in answer.result["message"]
    assert "discover --explain" in answer.result["hint"]
    address = f"{lab.wires.hosts['m1']}:7400"
    lab.begin("m2", "join", code, "--at", address, "--name", "m2").until("listening")
    lab.config("m3", more=f'discovery: {{peers: ["{address}"]}}')
    lab.begin("m3", "join", code, "--name", "m3").until("listening")
    told = lab.done("m3", "discover", "--explain")
    assert "client isolation" in told["verdict"]
    assert [tried["problem"] for tried in told["tried"] if tried["way"] == "static"] == [""]


def test_a_second_cluster_on_the_wire_stays_separate(make_lab: MakeLab) -> None:
    lab = make_lab(4)
    lab.config("m3", cluster="theirs")
    _, ours = lab.start("m1")
    _, theirs = lab.start("m3")
    answer = lab.cli("m2", "join", ours)
    assert (answer.code, answer.result["code"]) == (2, "usage")
    assert "--cluster" in answer.result["hint"]
    lab.begin("m2", "join", ours, "--cluster", "test", "--name", "m2").until("listening")
    wrong = lab.cli("m4", "join", ours, "--cluster", "theirs")
    assert (wrong.code, wrong.result["code"]) == (7, "not-admitted")
    [their_id] = [one["id"] for one in lab.done("m4", "discover")["clusters"] if one["name"] == "theirs"]
    again = lab.programs[1].until("join-code")["join_code"]
    assert again != theirs
    lab.begin("m4", "join", again, "--cluster", their_id, "--name", "m4").until("listening")
    for name, node in (("m1", "m2"), ("m3", "m4")):
        assert [row["name"] for row in lab.done(name, "nodes")["nodes"]] == [node]


def test_joining_again_is_harmless_and_a_node_comes_back_at_any_address(make_lab: MakeLab) -> None:
    lab = make_lab(3)
    _, code = lab.start("m1")
    node = lab.begin("m2", "join", code, "--name", "m2")
    first = node.until("listening")["node"]
    node.handle.kill()
    lab.wires.readdress("m2", "10.77.0.99")
    again = lab.begin("m2", "join", code)
    assert again.until("listening")["node"] == first
    path = trees.write(lab.root / "a.bin", trees.noise(400_000, seed=2))
    lab.begin("m3", "join", code, "--name", "m3").until("listening")
    assert lab.done("m1", "store", path, "--name", "a")["copies"] == 2
    states = {row["name"]: (row["state"], row["address"]) for row in lab.done("m1", "nodes")["nodes"]}
    assert states["m2"] == ("alive", "10.77.0.99:7400")
