"""Machines that change their addresses: a transfer goes on, and everybody finds everybody again."""

from e2e import trees
from lab.conftest import MakeLab
from lab.machines import Lab
from lab.shaping import shape

BYTES = 40_000_000
MBIT = 100
AGAIN_LIMIT_S = 30.0


def cluster(lab: Lab, *nodes: str) -> str:
    """A coordinator on m1, and these nodes; the join code."""
    coordinator, code = lab.start("m1", "-n", len(nodes))
    for name in nodes:
        lab.begin(name, "join", code, "--name", name)
    coordinator.until("ready", timeout_s=60)
    return code


def alive(lab: Lab, name: str) -> dict[str, str]:
    """The addresses of the nodes that are alive, as a machine sees it."""
    rows = lab.done(name, "nodes")["nodes"]
    return {row["name"]: row["address"] for row in rows if row["state"] == "alive"}


def test_a_node_killed_in_mid_transfer_and_back_under_a_new_address_takes_part_again(make_lab: MakeLab) -> None:
    lab = make_lab(5)
    cluster(lab, "m2", "m3", "m4", "m5")
    for name in lab.wires.hosts:
        shape(lab.wires, name, mbit=MBIT)
    path = trees.write(lab.root / "in/step-1.bin", trees.noise(BYTES, seed=3))
    storing = lab.begin("m1", "store", path, "--name", "run/step-1")
    storing.until_moving()
    victim = lab.programs[2]
    victim.handle.kill()
    lab.wires.readdress("m3", "10.77.0.77")
    again = lab.begin("m3", "join")
    again.until("listening")
    stored = storing.wait(timeout_s=120)
    assert stored.code == 0, stored
    assert stored.result["copies"] == 2
    assert alive(lab, "m1")["m3"] == "10.77.0.77:7400"
    gathering = lab.begin("m1", "gather", "run/step-1", "--to", lab.root / "back")
    gathering.until_moving()
    again.handle.kill()
    lab.wires.readdress("m3", "10.77.0.78")
    lab.begin("m3", "join").until("listening")
    gathered = gathering.wait(timeout_s=120)
    assert gathered.code == 0, gathered
    assert (lab.root / "back/step-1.bin").read_bytes() == path.read_bytes()


def test_a_machine_that_changes_its_address_in_mid_store_goes_on(make_lab: MakeLab) -> None:
    """The one that stores roams: all its connections are of an address that is gone."""
    lab = make_lab(4)
    cluster(lab, "m2", "m3", "m4")
    for name in lab.wires.hosts:
        shape(lab.wires, name, mbit=MBIT)
    path = trees.write(lab.root / "in/step-1.bin", trees.noise(BYTES, seed=4))
    storing = lab.begin("m1", "store", path, "--name", "run/step-1")
    storing.until_moving()
    lab.wires.readdress("m1", "10.77.0.55")
    stored = storing.wait(timeout_s=120)
    assert stored.code == 0, stored
    gathering = lab.begin("m1", "gather", "run/step-1", "--to", lab.root / "back")
    gathering.until_moving()
    lab.wires.readdress("m1", "10.77.0.56")
    gathered = gathering.wait(timeout_s=120)
    assert gathered.code == 0, gathered
    assert (lab.root / "back/step-1.bin").read_bytes() == path.read_bytes()


def test_nodes_that_get_other_addresses_while_they_run_are_found_within_seconds(make_lab: MakeLab) -> None:
    lab = make_lab(3)
    cluster(lab, "m2", "m3")
    lab.wires.readdress("m2", "10.77.0.66")
    lab.wires.readdress("m3", "10.77.0.67")
    moved = {"m2": "10.77.0.66:7400", "m3": "10.77.0.67:7400"}
    deadline = lab.deadline(AGAIN_LIMIT_S)
    while alive(lab, "m1") != moved:
        deadline()
    assert alive(lab, "m2") == moved


def test_a_client_finds_nodes_that_all_moved_while_it_was_off(make_lab: MakeLab) -> None:
    lab = make_lab(4)
    code = cluster(lab, "m2", "m3")
    lab.done("m4", "join", code, "--client", "--name", "m4")
    path = trees.write(lab.root / "a.bin", trees.noise(300_000, seed=5))
    lab.done("m4", "store", path, "--name", "a")
    for program in lab.programs[:3]:
        program.handle.kill()
    for name, host in (("m2", "10.77.0.66"), ("m3", "10.77.0.67")):
        lab.wires.readdress(name, host)
        lab.begin(name, "join").until("listening")
    listed = lab.done("m4", "ls")
    assert (listed["complete"], [row["name"] for row in listed["checkpoints"]]) == (True, ["a"])
