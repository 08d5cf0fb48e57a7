"""What watches a cluster in the tests: Prometheus and Alertmanager as an export runs them, and a server for mail.

The programs are Debian's, started with the words of the compose file, which name places in containers: each such place
is put where the export has it.
"""

import contextlib
import http.client
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

import monitoring_kits as kits

LOOK_EVERY_S = 0.2
START_LIMIT_S = 20.0
BINARIES = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}


class Mailbox:
    """A server that takes mail for anybody on a port of its own; a context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._arrived: queue.Queue[EmailMessage] = queue.Queue()
        self._controller = Controller(self, hostname="127.0.0.1", port=port)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take one mail; aiosmtpd calls this."""
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self._arrived.put(message)
        return "250 taken"

    def __enter__(self) -> "Mailbox":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def until(self, *words: str, within_s: float) -> EmailMessage:
        """The next mail with all these words in its subject; others are put aside."""
        deadline = time.monotonic() + within_s
        seen: list[str] = []
        while True:
            try:
                message = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no mail with {words} within {within_s:.0f} s, but {seen}") from None
            subject = str(message["Subject"])
            if all(word in subject for word in words):
                return message
            seen.append(subject)


def words_of(mail: EmailMessage) -> str:
    """What a mail says to people."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@contextlib.contextmanager
def running(export: Path, *names: str, log: Path) -> Iterator[None]:
    """Run programs of the export until the block ends."""
    services = yaml.safe_load((export / "compose.yaml").read_text())["services"]
    with contextlib.ExitStack() as stack:
        for name in names:
            output = stack.enter_context((log / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [kits.program(BINARIES[name]), *_words(export, services[name])], cwd=export,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(_end, process)
        yield


def _words(export: Path, service: Mapping[str, Any]) -> Iterator[str]:
    places = {}
    for volume in service["volumes"]:
        here, there, *_ = volume.split(":")
        places[there] = str(export / here)
    for word in service["command"]:
        option, _, value = word.partition("=")
        place = next((there for there in places if value == there or value.startswith(f"{there}/")), None)
        yield f"{option}={value.replace(place, places[place], 1)}" if place else word


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


class Prometheus:
    """Asks a Prometheus that runs at a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **query: str) -> Any:
        """The data that its HTTP answers; ConnectionError while it does not yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            response = connection.getresponse()
            if response.status == http.client.SERVICE_UNAVAILABLE:
                raise ConnectionError("it is still starting")
            answer = json.loads(response.read())
        finally:
            connection.close()
        assert answer["status"] == "success", f"{query}: {answer}"
        return answer["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that a query gives now, each with its `metric` and `value`."""
        result = self.get("/api/v1/query", query=expression)["result"]
        assert isinstance(result, list)
        return result

    def value(self, expression: str) -> float:
        """The one value that a query gives."""
        [series] = self.ask(expression)
        return float(series["value"][1])

    def up(self) -> dict[str, str]:
        """The targets that it has found, by the name of the instance, and how each is."""
        return {
            target["labels"]["instance"]: target["health"] for target in self.get("/api/v1/targets")["activeTargets"]
        }

    def until(self, holds: Callable[["Prometheus"], bool], what: str, *, within_s: float) -> None:
        """Look until something holds."""
        deadline = time.monotonic() + within_s
        pause = threading.Event()
        while True:
            with contextlib.suppress(OSError):
                if holds(self):
                    return
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
            pause.wait(LOOK_EVERY_S)

    def until_some(self, expression: str, *, within_s: float) -> None:
        """Ask until a query gives any series."""
        self.until(lambda asked: bool(asked.ask(expression)), expression, within_s=within_s)
