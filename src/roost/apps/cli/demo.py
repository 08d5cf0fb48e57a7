"""`roost demo`: the whole story in a minute, with real processes: store, lose a node, damage a copy, gather, repair;
and a training that loses its disk and goes on."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from roost.apps.cli.demo_checkpoint import make_checkpoint
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder, undisturbed
from roost.apps.cli.demo_resume import lose_and_resume
from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.output import Output
from roost.apps.cli.results_here import Demonstrated, Step
from roost.apps.cli.words import counted, duration, listed, size, table
from roost.core.errors import Damaged, Failed, NoSpace, RoostError

NODES = 4
NAME = "demo/step-1000"
SPACE_BYTES = 800 * 1024 * 1024
DIGEST_BYTES = 1024 * 1024


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary folder for a look.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """See it work in a minute.

    A cluster of its own in a temporary folder: your own home, settings and cluster are not touched.
    """
    frame = Frame.of(home, config, json)
    with frame.watched(), temporary_folder("roost-demo-", keep=keep) as folder:
        story = Story(frame.output)
        if keep:
            frame.output.tell(f"kept: {folder}")
        try:
            _play(story, folder)
        except RoostError as error:
            error.hint = error.hint or "see it again with: roost demo --keep; the logs are in the folder that it names"
            raise
        seconds = frame.seconds
        frame.output.result(
            Demonstrated(tuple(story.steps), identical=True, seconds=seconds, folder=str(folder) if keep else None),
            summary(story, seconds),
        )
    return 0


@dataclass(slots=True)
class Story:
    """The steps so far, each told as soon as it is done."""

    output: Output
    steps: list[Step] = field(default_factory=list)

    def add(self, step: str, begun: float, *, what: str, count: int | None = None) -> None:
        """A step that began at `begun` (monotonic seconds) and ends now."""
        done = Step(step, round(time.monotonic() - begun, 3), count, what)
        self.steps.append(done)
        fields = {"step": done.step, "seconds": done.seconds, "bytes": done.bytes, "what": done.what}
        self.output.progress("step", fields)
        self.output.say(f"{len(self.steps)}. {done.step}: {done.what} ({duration(done.seconds)})")


def _play(story: Story, folder: Path) -> None:
    """The whole story; what it raises says where it failed."""
    if shutil.disk_usage(folder).free < SPACE_BYTES:
        raise NoSpace(f"the demo needs {size(SPACE_BYTES)} in {folder.parent}", hint="name another folder with TMPDIR")
    begun = time.monotonic()
    original = folder / "made" / "step-1000"
    total = make_checkpoint(original)
    story.add("make a checkpoint", begun, what="a model of bf16 weights, as Hugging Face writes it", count=total)
    cluster = DemoCluster(folder, NODES)
    try:
        begun = time.monotonic()
        cluster.start()
        story.add("start a cluster", begun, what=f"a coordinator and {counted(NODES, 'node')}, a process each")
        _store_and_lose(story, cluster, original)
        _gather_and_compare(story, cluster, original, folder / "back")
        _train_and_resume(story, cluster, folder / "training")
    finally:
        with undisturbed():
            cluster.stop()


def _store_and_lose(story: Story, cluster: DemoCluster, original: Path) -> None:
    begun = time.monotonic()
    stored = cluster.roost("store", str(original), "--name", NAME).result
    where = listed(sorted(stored["nodes"]))
    what = f"{counted(stored['chunks'], 'chunk')}, {stored['copies']} copies of each, on {where}"
    story.add("store it", begun, what=what, count=stored["bytes_sent"])
    nodes = {node["name"]: node for node in cluster.roost("nodes").result["nodes"]}
    chunks = cluster.roost("show", NAME).result["chunks"]
    victim, chunk, damaged = choose(chunks)
    begun = time.monotonic()
    cluster.kill(nodes[victim]["pid"])
    lost = sum(c["bytes"] for c in chunks if victim in c["nodes"])
    story.add("kill -9 a node", begun, what=f"{victim}, and every copy on it is gone", count=lost)
    begun = time.monotonic()
    flip(Path(nodes[damaged]["home"]) / "chunks" / chunk[:2] / chunk)
    story.add("flip a bit on a disk", begun, what=f"in {damaged}'s copy of chunk {chunk[:12]}", count=1)


def _gather_and_compare(story: Story, cluster: DemoCluster, original: Path, back: Path) -> None:
    begun = time.monotonic()
    gathered = cluster.roost("gather", NAME, "--to", str(back)).result
    again = gathered["failovers"]
    passed = f"{counted(again, 'chunk')} asked of a second node" if again else "each chunk from a good copy"
    story.add("gather it", begun, what=f"from the nodes that are left, {passed}", count=gathered["bytes"])
    begun = time.monotonic()
    expected, found = digests(original), digests(back)
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise Damaged(f"what came back is not what was stored: {listed(wrong)}")
    same = f"SHA-256 of {counted(len(found), 'file')}: all as they were"
    story.add("compare", begun, what=same, count=gathered["bytes"])
    begun = time.monotonic()
    verdict = cluster.roost("verify", NAME, "--deep", expect=(3, 5)).result["checkpoints"][0]
    seen = counted(len(verdict["damaged"]), "damaged copy", "damaged copies")
    story.add("verify --deep", begun, what=f"health {verdict['health']}, {seen} found, no chunk lost")
    begun = time.monotonic()
    mended = cluster.roost("repair").result
    health = cluster.roost("verify", NAME).result["checkpoints"][0]["health"]
    made = counted(mended["copies"], "copy", "copies")
    story.add("repair", begun, what=f"{made} made again, node to node: {health}", count=mended["bytes"])


def _train_and_resume(story: Story, cluster: DemoCluster, folder: Path) -> None:
    begun = time.monotonic()
    first, second, loss = lose_and_resume(cluster, folder)
    lost = f"killed at step {first.last}, its disk lost, resumed from step {second.begun} in the cluster"
    what = f"{lost}: at step {second.last} the loss is {loss:.3g}, to the last bit that of a run that nobody stopped"
    story.add("train, lose the disk, resume", begun, what=what)


def choose(chunks: list[dict[str, Any]]) -> tuple[str, str, str]:
    """The node to kill, a chunk, and the node on which to damage it, so that a good copy of everything is left.

    The node to kill is the one that holds most, so that it matters; the chunk is the largest with two copies elsewhere.
    """
    held: dict[str, int] = {}
    for chunk in chunks:
        for node in chunk["nodes"]:
            held[node] = held.get(node, 0) + 1
    for victim in sorted(held, key=lambda node: (-held[node], node)):
        others = [c for c in chunks if victim not in c["nodes"] and len(c["nodes"]) >= 2]
        if others and all(len(c["nodes"]) >= 2 for c in chunks):
            chosen = max(others, key=lambda c: (c["bytes"], c["id"]))
            return victim, chosen["id"], min(chosen["nodes"])
    raise Failed("no chunk has two copies that the demo could do without one of", hint="see: roost show --chunks")


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, its length and times as a failing disk would leave them."""
    before = path.stat()
    os.chmod(path, before.st_mode | 0o200)
    with open(path, "r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)
        file.seek(before.st_size // 2)
        file.write(bytes([byte[0] ^ 1]))
    os.chmod(path, before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, by its path in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while piece := file.read(DIGEST_BYTES):
                    digest.update(piece)
            found[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return found


def summary(story: Story, seconds: float) -> Iterator[str]:
    """The table at the end."""
    yield ""
    rows = [(s.step, duration(s.seconds), "" if s.bytes is None else f"{s.bytes:,}") for s in story.steps]
    yield from table(("STEP", "TIME", "BYTES"), [*rows, ("all of it", duration(seconds), "")], right=(1, 2))
    yield ""
    yield "One node killed, one copy damaged: every byte is back, and every chunk on two nodes again."
    yield "One training killed and its disk lost: it went on as if nothing had been."
