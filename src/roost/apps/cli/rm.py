"""`roost rm NAME`: take a checkpoint, or one version of it, off every list."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.words import listed, printable

if TYPE_CHECKING:
    from roost.client import RemoveResult


def rm(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="The checkpoint; without VERSION all its versions.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Forget a checkpoint."""
    frame = Frame.of(home, config, json)
    return frame.run(_rm(frame, reference, dry_run=dry_run))


async def _rm(frame: Frame, reference: str, *, dry_run: bool) -> int:
    async with frame.cluster() as cluster:
        result = await cluster.remove(reference, dry_run=dry_run)
    removed = [{"name": name, "version": version} for name, version in result.removed]
    frame.output.result(result, lines(result), removed=removed)
    if not result.everywhere and not result.dry_run:
        frame.output.tell(f"told to {listed(sorted(result.nodes))}; the other nodes learn of it when they are back")
    return 0


def lines(result: "RemoveResult") -> Iterator[str]:
    """One line a version."""
    done = "would remove" if result.dry_run else "removed"
    for name, version in result.removed:
        yield f"{done} {printable(name)} version {version}"
