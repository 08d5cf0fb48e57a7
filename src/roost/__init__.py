"""Roost keeps ML checkpoints safe on the machines you already own."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.client.backups import save_hook
    from roost.client.program import Cluster, connect
    from roost.client.resuming import resume

__version__ = "0.1.0"
__all__ = ["Cluster", "__version__", "connect", "resume", "save_hook"]

_PLACES = {"resume": "resuming", "save_hook": "backups"}
"""All others are the program's."""


def __getattr__(name: str) -> Any:
    """Programs find the front door here; a node, which has no use for it, does not load it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"roost.client.{_PLACES.get(name, 'program')}"), name)
