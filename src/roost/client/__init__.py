"""The front door for programs: store, gather, list and look after checkpoints, asynchronously or not.

Names are resolved when they are used: `AsyncCluster` loads numpy, which a storage node, built from parts of this
package, does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.client.cluster import AsyncCluster
    from roost.client.discovering import InSight, Surroundings, explore, look_around
    from roost.client.results import (
        ChunkRow,
        ClusterStatus,
        DrainResult,
        FileRow,
        ForgetResult,
        FreedRow,
        GatherResult,
        ListedRow,
        Listing,
        NodeRow,
        Progress,
        RemoveResult,
        RepairResult,
        RepairRow,
        ScrubResult,
        Shown,
        StoreResult,
        UndeleteResult,
        Verdict,
        WatchRow,
    )

__all__ = [
    "AsyncCluster", "ChunkRow", "ClusterStatus", "DrainResult", "FileRow", "ForgetResult", "FreedRow", "GatherResult",
    "InSight", "ListedRow", "Listing", "NodeRow", "Progress", "RemoveResult", "RepairResult", "RepairRow",
    "ScrubResult", "Shown", "StoreResult", "Surroundings", "UndeleteResult", "Verdict", "WatchRow",
    "explore", "look_around",
]  # fmt: skip

_PLACES = {
    "AsyncCluster": "cluster", "InSight": "discovering", "Surroundings": "discovering", "explore": "discovering",
    "look_around": "discovering",
}  # fmt: skip
"""All others are results."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'results')}"), name)
