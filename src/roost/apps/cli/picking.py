"""Asking a person: which of several clusters to join, from a menu on a terminal and from a numbered list elsewhere, and
the code that its coordinator shows."""

import asyncio
import io
import os
import sys
from collections.abc import Callable, Sequence

from roost.apps.cli.frame import Frame
from roost.apps.cli.output import Output
from roost.apps.cli.words import counted, printable
from roost.core.errors import UsageError

CHOICES_MAX = 99
MISTYPED_MAX = 5

Read = Callable[[str], str]


def somebody_answers() -> bool:
    """Whether questions can be asked: there is a terminal, or something to read in its place."""
    if sys.stdin is None or sys.stdin.closed:
        return False
    return sys.stdin.isatty() or (isinstance(sys.stdin.buffer, io.BufferedReader) and bool(sys.stdin.buffer.peek(1)))


def _read(prompt: str) -> str:
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise UsageError("nothing was typed", hint="roost join CODE, or roost join TOKEN")
    return line.strip()


def pick_cluster(frame: Frame, wanted: str | None, *, read: Read = _read) -> str | None:
    """The hash (hex) of a cluster in sight: the `wanted` one, the only one, or the one that a person picks. None when
    none is in sight, but addresses are configured; Unreachable when there are none either."""
    from roost.client import Surroundings, look_around
    from roost.core.errors import Unreachable
    from roost.core.runtime import SystemRuntime
    from roost.node import cluster_shown, the_cluster

    frame.output.tell("looking for clusters on this network ...")
    around: Surroundings = asyncio.run(look_around(SystemRuntime(), frame.settings))
    clusters = list(around.clusters().values())
    if not clusters and frame.settings.discovery.peers:
        return None
    if not clusters:
        raise Unreachable(f"no cluster is in sight: {around.verdict()}", hint="see: roost discover --explain")
    if wanted is not None or len(clusters) == 1:
        chosen = the_cluster(around, wanted)
        frame.output.tell(f"found the cluster {printable(cluster_shown(chosen[0]))}")
    else:
        rows = [
            f"{cluster_shown(nodes[0])}, at {nodes[0].advert.label}, {counted(len(nodes), 'machine')} in sight"
            for nodes in clusters
        ]
        chosen = clusters[choose(frame.output, rows[:CHOICES_MAX], "which cluster?", read=read)]
    return chosen[0].advert.cluster.hex()


def choose(output: Output, rows: Sequence[str], question: str, *, read: Read = _read) -> int:
    """The place of the row that a person chooses: with the arrow keys, or by its number."""
    if sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return _menu(rows, question)
    output.tell(*(f"  {number}  {printable(row)}" for number, row in enumerate(rows, start=1)))
    for _ in range(MISTYPED_MAX):
        said = read(f"{question} [1-{len(rows)}] ")
        if said.isascii() and said.isdigit() and 1 <= int(said) <= len(rows):
            return int(said) - 1
        output.tell(f"type a number from 1 to {len(rows)}")
    raise _nothing_chosen()


def _menu(rows: Sequence[str], question: str) -> int:
    from simple_term_menu import TerminalMenu

    # A bar would begin a preview, and brackets a shortcut: what stands in a row comes from the network.
    shown = [printable(row).replace("|", "/").replace("[", "(").replace("]", ")") for row in rows]
    chosen = TerminalMenu(shown, title=question, raise_error_on_interrupt=True).show()
    if not isinstance(chosen, int):
        raise _nothing_chosen()
    return chosen


def _nothing_chosen() -> UsageError:
    return UsageError("no cluster was chosen", hint="roost join CODE --cluster NAME-OR-ID says it at once")


def ask_code(output: Output, *, read: Read = _read) -> str:
    """The join code, or a token, that a person types; one that is mistyped is asked for again."""
    from roost.node import Invitation

    for _ in range(MISTYPED_MAX):
        said = read("join code (roost start shows it there): ")
        try:
            Invitation(said).read()
        except UsageError as error:
            output.tell(f"{error.message}; {error.hint}")
            continue
        return said
    raise UsageError("no join code was typed", hint="roost join CODE, or roost join TOKEN")
