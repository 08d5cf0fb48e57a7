"""What `roost bench --cluster` ends with: every node probed, and in words where the bottleneck is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from roost.apps.cli.bench_floor import cores, measured
from roost.apps.cli.frame import Frame
from roost.apps.cli.results_here import Bottleneck, Measured, ProbedNode
from roost.apps.cli.words import printable, table
from roost.client.bottleneck import MB, Sender, Verdict, find
from roost.client.floor.reckoning import sealing_bytes_per_s, sender_bytes_per_s
from roost.client.probe import Probed, probe

RATIO = 0.67
"""Bytes at rest for each plain byte of bfloat16 weights."""


@dataclass(frozen=True, slots=True)
class Probing:
    """What the probe found, as JSON and as lines for people."""

    probed: Probed
    verdict: Verdict

    def told(self, measured: Measured) -> Measured:
        """What was measured, with the bottleneck, None when none stands out, and the nodes."""
        found = self.verdict.bottleneck
        nodes = tuple(
            ProbedNode(node.name, _mb(node.put), _mb(node.get), node.problem or UNSET) for node in self.probed.nodes
        )
        worst = None
        if found is not None:
            worst = Bottleneck(found.node, found.what, round(found.mb_per_s, 1), round(found.without, 2), found.text)
        return replace(measured, bottleneck=worst, nodes=nodes)

    def lines(self) -> list[str]:
        """A table of the nodes, who failed, and the verdict."""
        rows = [(node.name, _words(node.put), _words(node.get)) for node in self.probed.nodes]
        problems = [f"{node.name}: {node.problem}" for node in self.probed.nodes if node.problem]
        told = [*table(("NODE", "TO IT", "FROM IT"), rows, right=(1, 2)), *map(printable, problems)]
        return [*told, "", printable(f"bottleneck: {self.verdict.text}")]


async def bottleneck(frame: Frame, folder: Path, say: Callable[[str], None]) -> Probing:
    """Probe the configured cluster and this machine (in `folder`), and judge. Unreachable when no node is."""
    say("measuring what this machine can do at the most")
    costs = measured(folder)
    async with frame.cluster() as cluster:
        probed = await probe(cluster.session, say=say)
    count = cores()
    sender = Sender(
        out=probed.out,
        makes=RATIO * sender_bytes_per_s(costs, ratio=RATIO, cores=count),
        ratio=RATIO,
        seals=sealing_bytes_per_s(costs, cores=count),
        only=probed.only,
    )
    return Probing(probed, find(probed.nodes, sender, copies=frame.settings.redundancy.copies))


def _mb(rate: float | None) -> float | None:
    return round(rate / MB, 1) if rate is not None else None


def _words(rate: float | None) -> str:
    return f"{rate / MB:.3g} MB/s" if rate is not None else "-"
