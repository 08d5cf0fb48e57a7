"""Patience: a request that is answered *busy* is asked again in a moment, a few times."""

import stamina

from roost.core.errors import Busy
from roost.core.runtime import Runtime
from roost.net.link import Link
from roost.wire.messages import AnyAnswer, AnyRequest

ATTEMPTS = 5
PAUSE_S = 1.0
PAUSE_MAX_S = 3.0


async def call_patiently(runtime: Runtime, link: Link, request: AnyRequest) -> AnyAnswer:
    """The answer to `request`; Busy when five askings in some ten seconds were all too soon."""
    async for attempt in stamina.retry_context(
        on=Busy, attempts=ATTEMPTS, timeout=None, wait_initial=PAUSE_S * (1 + runtime.random()), wait_max=PAUSE_MAX_S,
        wait_jitter=0,  # stamina's own chance is not the runtime's
    ):  # fmt: skip
        with attempt:
            return await link.call(request)
    raise AssertionError("the last attempt either returns or raises")
