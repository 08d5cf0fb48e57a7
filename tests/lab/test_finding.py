"""Machines that find each other on a wire, whatever it lets through, and form a cluster by a code alone."""

import time

from e2e import trees
from lab.conftest import MakeLab

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
