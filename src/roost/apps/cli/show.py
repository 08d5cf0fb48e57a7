"""`roost show NAME`: one checkpoint in full: its files, its chunks, and on which node each copy is."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.words import counted, moment, printable, size, table

if TYPE_CHECKING:
    from roost.client import Shown

FILES_SHOWN = 20
BAR_CELLS = 10


def show(
    reference: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The checkpoint.")],
    files: Annotated[bool, typer.Option("--files", help=f"All files, not only the first {FILES_SHOWN}.")] = False,
    chunks: Annotated[bool, typer.Option("--chunks", help="Every chunk and who has it.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """One checkpoint: its files, and where each copy is."""
    frame = Frame.of(home, config, json)
    return frame.run(_show(frame, reference, files=files, chunks=chunks))


async def _show(frame: Frame, reference: str, *, files: bool, chunks: bool) -> int:
    async with frame.cluster() as cluster:
        shown = await cluster.show(reference)
    frame.output.result(shown, lines(shown, files=files, chunks=chunks))
    if not shown.complete:
        frame.output.warn("TOO FEW NODES ANSWERED to be sure that this is the newest version.")
    return 0


def lines(shown: "Shown", *, files: bool, chunks: bool) -> Iterator[str]:
    """What a person sees: facts, files, and the copies by node or by chunk."""
    yield from (f"{key:<9} {printable(value)}" for key, value in facts(shown))
    yield ""
    yield from file_lines(shown, most=None if files else FILES_SHOWN, hint=" (--files shows them all)")
    yield ""
    yield from _by_chunk(shown) if chunks else node_map(shown)


def facts(shown: "Shown") -> list[tuple[str, str]]:
    """What it is, and how it is."""
    return [
        ("name", shown.name),
        ("version", shown.version),
        ("size", f"{size(shown.bytes)} in {counted(len(shown.files), 'entry', 'entries')}"),
        ("at rest", _at_rest(shown)),
        ("stored", f"{moment(shown.stored_at)} from {shown.source}"),
        ("health", f"{shown.health}: {shown.copies} of {shown.redundancy} copies of everything"),
        ("verified", _verified(shown)),
    ]


def file_lines(shown: "Shown", *, most: int | None, hint: str = "") -> Iterator[str]:
    """A line a file, of `most` of them; `hint` says how to see the others."""
    some = shown.files[:most]
    yield from table(
        ("FILE", "SIZE", "SHA-256"),
        [(f.path, size(f.bytes) if f.kind == "f" else "", f.sha256 or _KINDS.get(f.kind, f.kind)) for f in some],
        right=(1,),
    )
    if len(some) < len(shown.files):
        yield f"... and {len(shown.files) - len(some):,} more{hint}"


_KINDS = {"d": "folder", "l": "symlink"}


def _at_rest(shown: "Shown") -> str:
    """What one copy takes, and where the rest went."""
    if not shown.bytes:
        return "nothing"
    words = [
        f"{size(count)} {why}"
        for count, why in (
            (shown.bytes - shown.bytes_distinct, "occur again in it"),
            (shown.bytes_distinct - shown.bytes_encoded, "saved by compression"),
            (shown.bytes_shared, "shared with other versions"),
        )
        if count
    ]
    return f"{size(shown.bytes_encoded)} a copy{': ' if words else ''}{', '.join(words)}"


def _verified(shown: "Shown") -> str:
    """The oldest time at which any copy was last verified; all others were verified since."""
    if shown.verified_at is None:
        return "never" if shown.chunks else "nothing to verify"
    return f"{moment(shown.verified_at)}, every copy since"


def node_map(shown: "Shown") -> Iterator[str]:
    """A line a node: how much of it that node has."""
    count: Counter[str] = Counter()
    held: Counter[str] = Counter()
    oldest: dict[str, str] = {}
    for chunk in shown.chunks:
        for node in chunk.nodes:
            count[node] += 1
            held[node] += chunk.bytes
        for node, at in chunk.verified_at.items():
            oldest[node] = min(at, oldest.get(node, at))
    every = len(shown.chunks)
    rows = [
        (n, f"{count[n]:,} of {every:,}", _bar(count[n], every), size(held[n]), moment(oldest.get(n)))
        for n in sorted(count)
    ]
    yield from table(("NODE", "CHUNKS", "", "BYTES", "VERIFIED"), rows, right=(1, 3))
    alone = sum(1 for chunk in shown.chunks if not chunk.nodes)
    if alone:
        yield f"{counted(alone, 'chunk')} on no node that answered"


def _bar(part: int, whole: int) -> str:
    """How much of it, as a person sees at once; something is never nothing."""
    full = min(BAR_CELLS, max(1, BAR_CELLS * part // whole)) if part else 0
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}]"


def _by_chunk(shown: "Shown") -> list[str]:
    rows = [(chunk.id, size(chunk.bytes), ", ".join(chunk.nodes) or "NONE") for chunk in shown.chunks]
    return table(("CHUNK", "BYTES", "NODES"), rows, right=(1,))
