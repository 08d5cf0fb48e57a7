"""The processes: a storage node, a coordinator with its local nodes and watched folders, and how machines join."""

from roost.node.coordinator import run_coordinator
from roost.node.daemon import run_node
from roost.node.events import Event, Say
from roost.node.tokens import create_token, revoke_tokens

__all__ = ["Event", "Say", "create_token", "revoke_tokens", "run_coordinator", "run_node"]
