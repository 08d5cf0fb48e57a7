"""What a storage node sees of the coordinator, as the metric by which Prometheus tells whether a target is up.

A dead coordinator cannot tell of itself: any node whose own settings name somebody to tell does.
"""

from collections.abc import Sequence

from roost.cluster.membership import Membership
from roost.cluster.pulse import Pulse
from roost.core.cluster import NodeState
from roost.node.alerting import Look
from roost.observe.samples import Sample

ROLE = "coordinator"


def coordinators_seen(membership: Membership, pulse: Pulse) -> Look:
    """Looks whether any coordinator answers: ``up`` is 0 when all that ever served are down. Where none is known,
    there is none to be missed."""

    async def look() -> Sequence[Sample]:
        states = pulse.states()
        coordinators = [member.node_id for member in membership.view.members if not member.storage]
        seen = [states[node].state for node in coordinators if node in states]
        up = not seen or any(state is not NodeState.DOWN for state in seen)
        return [Sample("up", {"instance": ROLE, "role": ROLE}, float(up))]

    return look
