"""A rank of torch's distributed checkpoint on ``roost://``: saves or loads a small sharded state, resharded on load.

``python dcp.py save|load URL RANK WORLD RENDEZVOUS SEED``, one process a rank.
"""

import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

ROWS, COLUMNS = 240, 64


def whole(seed: int) -> torch.Tensor:
    """The tensor as it is when nobody has cut it."""
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed))


def main() -> None:
    what, url, rank, world, rendezvous, seed = sys.argv[1:]
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(world))
    mesh = init_device_mesh("cpu", (int(world),))
    if what == "save":
        state = {"weight": distribute_tensor(whole(int(seed)), mesh, [Shard(0)]), "step": int(seed)}
        dcp.save(state, checkpoint_id=url)
    else:
        state = {"weight": distribute_tensor(torch.zeros(ROWS, COLUMNS), mesh, [Shard(0)]), "step": 0}
        dcp.load(state, checkpoint_id=url)
        weight = state["weight"]
        assert isinstance(weight, DTensor)
        assert torch.equal(weight.full_tensor(), whole(int(seed))), "other numbers came back"
        assert state["step"] == int(seed)
    dist.destroy_process_group()
    print("done")


main()
