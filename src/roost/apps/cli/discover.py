"""`roost discover`: the clusters and nodes in sight, by which way each was seen, and what keeps others out of sight."""

from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results_here import Discovered, SeenAddress, SeenCluster, SeenNode, Tried, Way
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import duration, printable, table

if TYPE_CHECKING:
    from roost.client import InSight, Surroundings

ID_CHARACTERS = 8
SECONDS_MAX = 60.0


def discover(
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each way of finding others, what it saw, and why it failed.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.5, max=SECONDS_MAX, help="For how long to look.")
    ] = 3.0,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Show the clusters and nodes in sight.

    What is seen is only told, not proved: who is really there shows when it is dialled.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_discover(frame, explain, seconds))


async def _discover(frame: Frame, explain: bool, seconds: float) -> int:
    from roost.client import Progress, explore

    async with shown(Progress(f"looking around for {duration(seconds)}"), frame.output):
        around, mine = await explore(frame.home, frame.settings, limit_s=seconds, explain=explain)
    told = described(around, mine, explain=explain)
    frame.output.result(told, lines(told, explain=explain))
    return 0


def described(around: "Surroundings", mine: bytes | None, *, explain: bool) -> Discovered:
    """What was found, as scripts read it. `mine` is the hash of the cluster that this home belongs to."""
    clusters = tuple(
        SeenCluster(nodes[0].advert.name, hash_.hex()[:ID_CHARACTERS], hash_ == mine, tuple(map(_seen, nodes)))
        for hash_, nodes in around.clusters().items()
    )
    told = Discovered(clusters, around.verdict())
    if not explain:
        return told
    ways = tuple(
        Way(
            str(state.way), state.on, state.problem, state.hint,
            sum(any(state.way in ways for ways in node.addresses.values()) for node in around.nodes),
        )
        for state in around.ways
    )  # fmt: skip
    tried = tuple(Tried(str(each.address), str(each.way), each.node, each.problem) for each in around.tried)
    return replace(told, ways=ways, tried=tried)


def _seen(node: "InSight") -> SeenNode:
    addresses = tuple(
        SeenAddress(str(address), tuple(sorted(map(str, ways)))) for address, ways in node.addresses.items()
    )
    return SeenNode(node.advert.node, node.advert.label, node.advert.admits, addresses)


def lines(told: Discovered, *, explain: bool) -> list[str]:
    """The same for people."""
    ways, every = told.ways or (), told.tried or ()
    rows = [
        (
            f"{cluster.name} ({cluster.id}{', yours' if cluster.mine else ''})",
            node.label,
            "admits" if node.admits else "",
            "; ".join(f"{one.address} by {' and '.join(one.ways)}" for one in node.addresses),
        )
        for cluster in told.clusters
        for node in cluster.nodes
    ]
    found = table(("cluster", "machine", "", "seen at"), rows) if rows else ["nobody is in sight"]
    if explain:
        found += ["", *(_way_line(way) for way in ways)]
        found += [f"{tried.way:<10}  {tried.address}: {printable(tried.problem) or 'answers'}" for tried in every]
    if told.verdict:
        found += ["", printable(told.verdict)]
    elif not explain and not rows:
        found += ["", "see: roost discover --explain"]
    return found


def _way_line(way: Way) -> str:
    works = f"works, as far as it can be told; saw {way.seen}"
    state = printable(way.problem) or works if way.on else "off"
    hint = f" ({way.hint})" if way.hint else ""
    return f"{way.way:<10}  {state}{hint}"
