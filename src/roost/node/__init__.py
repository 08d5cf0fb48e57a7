"""The processes: a storage node, a coordinator with its local nodes and watched folders, and how machines join.

Names are resolved when they are used: a storage node has no need of what only the coordinator or a client loads.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.node.api_token import api_token
    from roost.node.coordinator import run_coordinator
    from roost.node.daemon import run_node
    from roost.node.events import Event, History, Numbered, Say
    from roost.node.inside import Beside, Inside
    from roost.node.joining import Invitation, cluster_shown, the_cluster
    from roost.node.recovery import Recovered, new_code, recover
    from roost.node.tokens import create_token, revoke_tokens
    from roost.node.watching import watch_alone

__all__ = [
    "Beside", "Event", "History", "Inside", "Invitation", "Numbered", "Recovered", "Say", "api_token", "cluster_shown",
    "create_token", "new_code", "recover", "revoke_tokens", "run_coordinator", "run_node", "the_cluster",
    "watch_alone",
]  # fmt: skip

_PLACES = {
    "Event": "events", "History": "events", "Numbered": "events", "Say": "events", "Beside": "inside",
    "Inside": "inside", "api_token": "api_token", "create_token": "tokens", "revoke_tokens": "tokens",
    "Recovered": "recovery", "new_code": "recovery", "recover": "recovery", "run_coordinator": "coordinator",
    "run_node": "daemon", "Invitation": "joining", "cluster_shown": "joining", "the_cluster": "joining",
    "watch_alone": "watching",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
