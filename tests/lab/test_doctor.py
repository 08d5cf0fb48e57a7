"""`roost doctor` on machines of their own: what it says of a wire that lets everything through, or nothing but TCP."""

import time
from typing import Any

from lab.conftest import MakeLab
from lab.machines import Lab

DIALLED_LIMIT_S = 60.0


def checks(lab: Lab, name: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds on a machine, the last of each check."""
    return {finding["check"]: finding for finding in lab.cli(name, "doctor").result["findings"]}


def test_an_open_wire_is_well_and_one_that_keeps_multicast_and_broadcast_back_is_told_with_the_peers_to_name(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(3)
    _, code = lab.start("m1")
    for name in ("m2", "m3"):
        lab.begin(name, "join", code, "--name", name).until("listening")

    deadline = time.monotonic() + DIALLED_LIMIT_S
    while (found := checks(lab, "m2"))["ports"]["level"] != "ok":
        assert time.monotonic() < deadline, found
    assert [found[check]["level"] for check in ("multicast", "broadcast", "unicast", "machines")] == ["ok"] * 4
    assert f"m3 at {lab.wires.hosts['m2']}:7400" in found["ports"]["text"]

    lab.wires.flood(multicast=False, broadcast=True)
    found = checks(lab, "m2")
    assert (found["multicast"]["level"], found["broadcast"]["level"]) == ("note", "ok")

    lab.wires.flood(multicast=False, broadcast=False)
    found = checks(lab, "m2")
    assert (found["discovery"]["level"], found["unicast"]["level"]) == ("warning", "ok")
    assert "client isolation" in found["discovery"]["text"]
    assert f"{lab.wires.hosts['m3']}:7400" in found["discovery"]["mend"]
