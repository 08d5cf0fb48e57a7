"""What is being done about what is wrong, in a sentence for people."""

from collections.abc import Collection

from roost.apps.cli.words import counted, duration, listed
from roost.client import ClusterStatus
from roost.core.checkpoint import Health
from roost.core.cluster import NodeState

AWAY = (NodeState.SUSPECT, NodeState.DOWN)


def doing(found: ClusterStatus, running: Collection[str], *, grace_s: float) -> str:
    """What happens to what lacks copies; empty when nothing need happen. `running` are the kinds of the operations that
    run now; `grace_s` is how long a machine that went is waited for."""
    how = found.by_health
    lost, short = how.get(Health.LOST, 0), how.get(Health.DEGRADED, 0) + how.get(Health.AT_RISK, 0)
    away = [row.name for row in found.nodes if row.state in AWAY]
    words = []
    if "repair" in running or "drain" in running:
        words.append("Copies are being made, from machine to machine.")
    elif short and away:
        words.append(
            f"Waiting {duration(grace_s)} for {listed(away)} to come back; then the missing copies are made on other "
            "machines. Repair now does not wait."
        )
    elif short:
        words.append("The missing copies are made again by themselves, a look every minute; Repair now is quicker.")
    if lost and away:
        words.append(f"What is lost may still be on {listed(away)}: bring it back.")
    elif lost:
        it = "it" if lost == 1 else "them"
        words.append(f"{counted(lost, 'checkpoint')} cannot be made whole from here: store {it} again from the source.")
    elif how.get(Health.UNKNOWN, 0) and away:
        words.append(f"It is known again when {listed(away)} answers.")
    return " ".join(words)
