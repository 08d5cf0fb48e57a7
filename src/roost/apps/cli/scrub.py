"""`roost scrub`: everything that the nodes hold read back and hashed now, and what is damaged made again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, printable, size, table
from roost.core.errors import Damaged

if TYPE_CHECKING:
    from roost.apps.cli.results import Scrubbed
    from roost.client import ScrubResult

EXIT_SHORT = 3
DAMAGED_SHOWN = 20


def scrub(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="A node's name, or the start of its id. [default: all nodes]")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Read back and hash everything that the nodes hold, now, and make again what is damaged.

    Each node does the same by itself, within scrub.every and scrub.rate of its settings. Exit code 0: all was read, and
    what was damaged is whole again; 3: some chunks lack copies, or a node was not read to the end; 5: something is
    lost.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_scrub(frame, node))


async def _scrub(frame: Frame, node: str | None) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        result = await cluster.scrub(node, progress=progress)
    frame.output.result(told(result, frame.seconds), lines(result))
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    return exit_code(result)


def exit_code(result: "ScrubResult") -> int:
    """0 when all is as it should be, 5 when something is lost, else 3."""
    if result.lost:
        return Damaged.exit_code
    return EXIT_SHORT if result.short or any(row.problem for row in result.nodes) else 0


def told(result: "ScrubResult", seconds: float) -> "Scrubbed":
    """The result for scripts."""
    from roost.apps.cli.results import Reference, Scrubbed, ScrubbedNode

    nodes = tuple(
        ScrubbedNode(row.id, row.name, row.objects, row.bytes, row.damaged, row.problem) for row in result.nodes
    )
    return Scrubbed(
        nodes=nodes, damaged=sum(len(row.damaged) for row in nodes), copies=result.copies, short=result.short,
        lost=tuple(Reference(name, version) for name, version in result.lost), notes=result.notes, seconds=seconds,
    )  # fmt: skip


def lines(result: "ScrubResult") -> Iterator[str]:
    """What a person sees: a row a node, what was damaged, and what became of it."""
    yield from table(
        ("NODE", "OBJECTS", "BYTES", "DAMAGED", ""),
        [
            (row.name, f"{row.objects:,}", size(row.bytes), str(len(row.damaged)), _problem(row.problem))
            for row in result.nodes
        ],
        right=(1, 2, 3),
    )
    damaged = [(row.name, digest) for row in result.nodes for digest in row.damaged]
    for name, digest in damaged[:DAMAGED_SHOWN]:
        yield f"damaged: {digest} on {printable(name)}"
    if len(damaged) > DAMAGED_SHOWN:
        yield f"... and {len(damaged) - DAMAGED_SHOWN:,} more"
    for name, version in result.lost:
        yield f"LOST: {printable(name)}@{version} has a chunk of which no good copy is left"
    found = f"{counted(len(damaged), 'damaged copy', 'damaged copies')} found"
    made = f"{counted(result.copies, 'copy', 'copies')} made again"
    if result.short:
        yield f"{found}, {made}; {counted(result.short, 'chunk')} still short"
    elif damaged or result.copies:
        yield f"{found}, {made}: every chunk has its copies"
    else:
        yield "nothing was damaged: every chunk has its copies"


def _problem(problem: str) -> str:
    return f"NOT READ TO THE END: {problem}" if problem else ""
