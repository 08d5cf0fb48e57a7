"""What a training step loses to each way of saving a state of 500 MB, beside plain torch.save.

    python -m bench.integrations [--bytes 500000000] [--only WAY]

A cluster of four local nodes; each way in a process of its own, which makes steps of some 50 ms, saves once, and goes
on until the state is safe. *waits* is what the saving call takes, *slower* what the steps until then took longer
together than undisturbed ones (the store, and here the nodes too, share the cores with the training), *stored* when it
is on two nodes, counted from the call. Needs torch: pip install -e '.[frameworks]'.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from roost.apps.cli.demo_cluster import DemoCluster, environment, temporary_folder

NODES = 4
STATE_BYTES = 500_000_000
TENSORS = 50
STEPS_MIN = 30
LIMIT_S = 300.0
STEP_SIDE = 900

Done = Callable[[], bool]
"""Whether what was saved is stored."""
Save = Callable[[Any, Path], Done]


@dataclass(frozen=True, slots=True)
class Lost:
    """Seconds: what the call took, what steps took longer, and when it was stored (None: it never is)."""

    waits_s: float
    slower_s: float
    stored_s: float | None


def at_once() -> bool:
    """It is done when the call returns."""
    return True


def torch_save(state: Any, folder: Path) -> Done:
    """Plain torch.save: one disk, no copy."""
    import torch

    torch.save(state, folder / "state.pt")
    return at_once


def save_hook(state: Any, folder: Path) -> Done:
    """torch.save and roost.save_hook, as the callbacks of Trainer, Lightning and Accelerate do."""
    import roost

    torch_save(state, folder)
    backup = roost.save_hook(folder / "state.pt", "bench/hook")

    def done() -> bool:
        if backup.error is not None:
            raise backup.error
        return backup.done

    return done


def watched(folder: Path) -> Save:
    """torch.save beside a `roost watch` process, which is there already."""
    watching = subprocess.Popen(
        [sys.executable, "-m", "roost", "watch", str(folder), "--name", "bench/watched", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    out = watching.stdout
    assert out is not None
    said = bytearray(out.readline())
    os.set_blocking(out.fileno(), False)

    def save(state: Any, folder: Path) -> Done:
        torch_save(state, folder)
        return done

    def done() -> bool:
        with contextlib.suppress(BlockingIOError):
            said.extend(os.read(out.fileno(), 1 << 16))
        if b'"stored"' not in said:
            return False
        watching.terminate()
        watching.wait()
        return True

    return save


def blocking_store(state: Any, folder: Path) -> Done:
    """torch.save and a store that the loop waits for."""
    import roost

    torch_save(state, folder)
    with roost.connect() as cluster:
        cluster.store(folder / "state.pt", name="bench/blocking")
    return at_once


def by_url(state: Any, folder: Path) -> Done:
    """torch.save into a file that fsspec opened at roost://."""
    import fsspec
    import torch

    with fsspec.open("roost://bench/url.pt", "wb") as file:
        torch.save(state, file)
    return at_once


def dcp_folder(state: Any, folder: Path) -> Done:
    """torch.distributed.checkpoint to a folder: one disk, no copy."""
    from torch.distributed import checkpoint

    checkpoint.save(state, checkpoint_id=str(folder / "dcp"))
    return at_once


def dcp_url(state: Any, folder: Path) -> Done:
    """torch.distributed.checkpoint to roost://, which the loop waits for."""
    from torch.distributed import checkpoint

    checkpoint.save(state, checkpoint_id="roost://bench/dcp")
    return at_once


def dcp_async_url(state: Any, folder: Path) -> Done:
    """Its async_save to roost://: the loop waits for the copy in memory."""
    import torch.distributed as dist
    from torch.distributed import checkpoint

    if not dist.is_initialized():
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=0, world_size=1)
    begun: Any = checkpoint.async_save(state, checkpoint_id="roost://bench/dcp-async")

    def done() -> bool:
        if not begun.done():
            return False
        begun.result()
        return True

    return done


WATCHED = "torch.save + roost watch"
WAYS: dict[str, Save] = {
    "torch.save alone": torch_save,
    "torch.save + save_hook": save_hook,
    WATCHED: torch_save,
    "torch.save + store, waited for": blocking_store,
    "torch.save to roost://": by_url,
    "dcp.save to a folder alone": dcp_folder,
    "dcp.save to roost://": dcp_url,
    "dcp.async_save to roost://": dcp_async_url,
}


def train(way: Save, folder: Path, state_bytes: int, *, beside_watcher: bool) -> Lost:
    """Make steps, save once, and make steps until it is stored."""
    import torch

    each = state_bytes // TENSORS // 4
    state = {f"layer.{n}.weight": torch.randn(each) * 0.02 for n in range(TENSORS)}
    left, right = torch.randn(STEP_SIDE, STEP_SIDE), torch.randn(STEP_SIDE, STEP_SIDE)

    def step() -> float:
        begun = time.perf_counter()
        for _ in range(3):
            left.matmul(right).relu_().sum().item()
        return time.perf_counter() - begun

    import roost  # what is saved with is there before the training begins

    _ = roost.save_hook
    if beside_watcher:
        way = watched(folder)
    usual = statistics.median([step() for _ in range(STEPS_MIN)])
    begun = time.perf_counter()
    done = way(state, folder)
    waits_s = time.perf_counter() - begun
    slower_s, steps, stored_s = 0.0, 0, waits_s if done() else None
    while stored_s is None or steps < STEPS_MIN:
        slower_s += step() - usual
        steps += 1
        if stored_s is None and done():
            stored_s = time.perf_counter() - begun
        if time.perf_counter() - begun > LIMIT_S:
            break
    return Lost(waits_s, max(0.0, slower_s), stored_s)


def measured(cluster: DemoCluster, name: str, state_bytes: int) -> Lost:
    """One way, in a process of its own."""
    folder = cluster.folder / f"run-{list(WAYS).index(name)}"
    folder.mkdir()
    os.sync()
    said = subprocess.run(
        [sys.executable, "-m", "bench.integrations", "--bytes", str(state_bytes), "--one", name, "--in", str(folder)],
        env={**environment(), "ROOST_HOME": str(cluster.home.root), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=cluster.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        raise SystemExit(f"{name}: {said.stderr[-2000:]}")
    return Lost(**json.loads(said.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table, or with ``--one`` measure one way here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=STATE_BYTES, help="of the state")
    parser.add_argument("--only", choices=list(WAYS), action="append", help="this way")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if find_spec("torch") is None:
        raise SystemExit("torch is not installed; with it: pip install -e '.[frameworks]'")
    if arguments.one:
        watcher = arguments.one == WATCHED
        lost = train(WAYS[arguments.one], arguments.folder, arguments.bytes, beside_watcher=watcher)
        print(json.dumps({"waits_s": lost.waits_s, "slower_s": lost.slower_s, "stored_s": lost.stored_s}))
        return
    first: float | None = None
    print(f"a state of {arguments.bytes / 1e6:,.0f} MB, seconds\n")
    print(f"{'way':<34}{'waits':>8}{'slower':>9}{'lost':>8}{'ratio':>8}{'stored':>9}")
    with temporary_folder("roost-bench-") as folder, DemoCluster(folder, NODES) as cluster:
        for name in arguments.only or WAYS:
            lost = measured(cluster, name, arguments.bytes)
            total = lost.waits_s + lost.slower_s
            first = first if first is not None else total
            alone = name.endswith("alone")
            stored = "never" if alone or lost.stored_s is None else f"{lost.stored_s:.2f}"
            row = f"{lost.waits_s:>8.2f}{lost.slower_s:>9.2f}{total:>8.2f}{total / first:>8.2f}{stored:>9}"
            print(f"{name:<34}{row}", flush=True)


if __name__ == "__main__":
    main()
