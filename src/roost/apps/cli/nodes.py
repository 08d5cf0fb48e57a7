"""`roost nodes`: who keeps checkpoints in this cluster, and how each of them is."""

from typing import TYPE_CHECKING

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.words import size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roost.client import NodeRow

_HERE = ("home", "pid")


def nodes(home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False) -> int:
    """Who is in the cluster."""
    frame = Frame.of(home, config, json)
    return frame.run(_nodes(frame))


async def _nodes(frame: Frame) -> int:
    async with frame.cluster() as cluster:
        rows = await cluster.nodes()
    frame.output.result({"nodes": [fields(row) for row in rows]}, lines(rows))
    if not rows:
        frame.output.tell("no nodes yet: let machines join with: roost token create")
    return 0


def fields(row: "NodeRow") -> dict[str, object]:
    """A node for scripts; home and pid only of one on this machine."""
    every = {
        "id": row.id, "name": row.name, "address": row.address, "state": row.state, "home": row.home, "pid": row.pid,
        "bytes_used": row.bytes_used, "bytes_free": row.bytes_free, "problem": row.problem,
    }  # fmt: skip
    return {key: value for key, value in every.items() if key not in _HERE or value is not None}


def lines(rows: "Sequence[NodeRow]") -> list[str]:
    """The table that a person sees; nothing when there are no nodes."""
    if not rows:
        return []
    return table(
        ("NODE", "STATE", "ADDRESS", "USED", "FREE", "ID", ""),
        [(r.name, r.state, r.address, _size(r.bytes_used), _size(r.bytes_free), r.id[:8], r.problem) for r in rows],
        right=(3, 4),
    )


def _size(count: int | None) -> str:
    return "?" if count is None else size(count)
