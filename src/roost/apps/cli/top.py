"""`roost top`: the cluster in a terminal, again and again, until q."""

import contextlib
import os
import sys

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.core.errors import UsageError


def top(home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False) -> int:
    """Watch the cluster in this terminal: nodes, checkpoints, transfers, what waits, what happens.

    On any machine of the cluster. It changes nothing. q or Ctrl-C ends it; ? says what the keys do.
    """
    if json:
        raise UsageError("roost top is for people, and prints no JSON", hint="roost status --json")
    if os.environ.get("TERM") == "dumb" or not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError(
            "roost top needs a terminal", hint="for one look: roost status; for a script: roost status --json"
        )
    frame = Frame.of(home, config, json)
    return frame.run(_top(frame))


async def _top(frame: Frame) -> int:
    from roost.apps.tui.source import ClusterSource
    from roost.apps.tui.top import Top

    async with frame.cluster() as cluster:
        with contextlib.closing(ClusterSource(cluster, frame.home)) as source:
            ended = await Top(source).run_async()
    if ended is not None:
        raise ended
    return 0
