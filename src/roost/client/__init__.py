"""The front door for programs: store, gather, list and look after checkpoints, asynchronously or not."""

from roost.client.cluster import AsyncCluster
from roost.client.results import (
    ChunkRow,
    ClusterStatus,
    FileRow,
    GatherResult,
    ListedRow,
    Listing,
    NodeRow,
    Progress,
    RemoveResult,
    RepairResult,
    Shown,
    StoreResult,
    Verdict,
    WatchRow,
)

__all__ = [
    "AsyncCluster", "ChunkRow", "ClusterStatus", "FileRow", "GatherResult", "ListedRow", "Listing", "NodeRow",
    "Progress", "RemoveResult", "RepairResult", "Shown", "StoreResult", "Verdict", "WatchRow",
]  # fmt: skip
