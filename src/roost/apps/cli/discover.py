"""`roost discover`: the clusters and nodes in sight, by which way each was seen, and what keeps others out of sight."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.words import printable, table

if TYPE_CHECKING:
    from roost.client import Surroundings

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
    from roost.client import explore

    around, mine = await explore(frame.home, frame.settings, limit_s=seconds, explain=explain)
    told = described(around, mine, explain=explain)
    frame.output.result(told, lines(told, explain=explain))
    return 0


def described(around: "Surroundings", mine: bytes | None, *, explain: bool) -> dict[str, Any]:
    """What was found, as scripts read it. `mine` is the hash of the cluster that this home belongs to."""
    clusters = [
        {
            "name": nodes[0].advert.name,
            "id": hash_.hex()[:ID_CHARACTERS],
            "mine": hash_ == mine,
            "nodes": [
                {
                    "id": node.advert.node,
                    "label": node.advert.label,
                    "admits": node.advert.admits,
                    "addresses": [
                        {"address": str(address), "ways": sorted(ways)} for address, ways in node.addresses.items()
                    ],
                }
                for node in nodes
            ],
        }
        for hash_, nodes in around.clusters().items()
    ]
    told: dict[str, Any] = {"clusters": clusters, "verdict": around.verdict()}
    if explain:
        told["ways"] = [
            {
                "way": str(state.way), "on": state.on, "problem": state.problem, "hint": state.hint,
                "seen": sum(any(state.way in ways for ways in node.addresses.values()) for node in around.nodes),
            }
            for state in around.ways
        ]  # fmt: skip
        told["tried"] = [
            {"address": str(tried.address), "way": str(tried.way), "node": tried.node, "problem": tried.problem}
            for tried in around.tried
        ]
    return told


def lines(told: dict[str, Any], *, explain: bool) -> list[str]:
    """The same for people."""
    rows = [
        (
            f"{cluster['name']} ({cluster['id']}{', yours' if cluster['mine'] else ''})",
            node["label"],
            "admits" if node["admits"] else "",
            "; ".join(f"{one['address']} by {' and '.join(one['ways'])}" for one in node["addresses"]),
        )
        for cluster in told["clusters"]
        for node in cluster["nodes"]
    ]
    found = table(("cluster", "machine", "", "seen at"), rows) if rows else ["nobody is in sight"]
    if explain:
        found += ["", *(_way_line(way) for way in told["ways"])]
        found += [
            f"{tried['way']:<10}  {tried['address']}: {printable(tried['problem']) or 'answers'}"
            for tried in told["tried"]
        ]
    if told["verdict"]:
        found += ["", printable(told["verdict"])]
    elif not explain and not rows:
        found += ["", "see: roost discover --explain"]
    return found


def _way_line(way: dict[str, Any]) -> str:
    works = f"works, as far as it can be told; saw {way['seen']}"
    state = printable(way["problem"]) or works if way["on"] else "off"
    hint = f" ({way['hint']})" if way["hint"] else ""
    return f"{way['way']:<10}  {state}{hint}"
