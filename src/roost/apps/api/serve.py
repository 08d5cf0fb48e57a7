"""Serving: the API on its address for as long as the coordinator runs, on the coordinator's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from roost.apps.api.series import Series
from roost.apps.vitals import Vitals
from roost.client import NodeRow
from roost.core.cluster import Address
from roost.core.errors import Busy
from roost.node import Beside, Inside, api_token
from roost.observe.log import silence
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings

PORTS_TRIED = 100
BACKLOG = 64
STOP_LIMIT_S = 2


def serving(home: Home, settings: Settings) -> Beside:
    """What a coordinator runs beside its services. It says where it answers; when the address that the settings name
    is taken, Busy ends the coordinator, but the default port may be another one."""

    async def beside(inside: Inside) -> None:
        runtime = inside.cluster.session.runtime
        listening = open_socket(settings.api.listen)
        address = Address(settings.api.listen.host, listening.getsockname()[1])
        with contextlib.closing(listening):
            token = None if address.is_loopback else await api_token(runtime, home)
            # A second of work: in a thread, so that the heartbeats go on meanwhile.
            vitals = Vitals(inside.cluster.node_metrics, runtime.now)
            series = Series(
                nodes=partial(_looked_at, inside, vitals), operations=inside.operations.rows, wall=runtime.wall
            )
            server = await runtime.in_thread(_server, inside, series, vitals, token, settings.repair.grace_s)
            url = f"http://{address}/"
            what = f"the page is at {url}" + (f", with the token in {home.api_token}" if token else "")
            await inside.opened(url, what)
            task = asyncio.create_task(server.serve(sockets=[listening]))
            sampling = asyncio.create_task(series.run(runtime.sleep))
            try:
                await asyncio.shield(task)
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
                server.should_exit = True
                inside.history.close()
                await task

    return beside


def open_socket(wanted: Address) -> socket.socket:
    """A socket that listens at `wanted`; from the default port on the next free one, if that is taken. Busy when it is
    taken and was asked for."""
    ports = range(wanted.port, wanted.port + (PORTS_TRIED if wanted == default_settings().api.listen else 1))
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    for port in ports:
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((wanted.host, port))
            found.listen(BACKLOG)
        except OSError as error:
            found.close()
            reason = error
            continue
        found.setblocking(False)
        return found
    raise Busy(f"the API cannot listen at {wanted}: {reason.strerror}", hint="name another address in api.listen")


async def _looked_at(inside: Inside, vitals: Vitals) -> Sequence[NodeRow]:
    """The nodes as they are now, each asked for its vitals too."""
    rows = await inside.cluster.nodes()
    await vitals.look(rows)
    return rows


def _server(inside: Inside, series: Series, vitals: Vitals, token: str | None, grace_s: float) -> Any:
    import uvicorn

    from roost.apps.api.app import make_app

    class Server(uvicorn.Server):
        """Ends when the coordinator cancels it: signals are the coordinator's."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    silence("uvicorn.error")  # what goes wrong in a route is told by our own log
    config = uvicorn.Config(
        make_app(inside, series, vitals, token=token, grace_s=grace_s),
        log_config=None, access_log=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=STOP_LIMIT_S, server_header=False, limit_concurrency=BACKLOG,
    )  # fmt: skip
    return Server(config)
