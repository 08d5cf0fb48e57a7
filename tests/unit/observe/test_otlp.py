"""Log lines over OTLP/HTTP, at a collector that is there, one that is away, and without the library."""

import gzip
import http.server
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from roost.apps.cli.frame import Frame
from roost.observe import otlp
from roost.observe.log import bound, get_logger, shutdown


@dataclass
class Collector:
    """What a collector was sent."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    """Severity and body."""
    services: set[str] = field(default_factory=set)


@pytest.fixture
def collector() -> Iterator[Collector]:
    seen = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            seen.asked.append(self.path)
            for resource in ExportLogsServiceRequest.FromString(data).resource_logs:
                seen.services |= {one.value.string_value for one in resource.resource.attributes}
                for scope in resource.scope_logs:
                    seen.lines += [(one.severity_text, one.body.string_value) for one in scope.log_records]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in otlp.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(otlp, "SEND_LIMIT_S", 1)
    monkeypatch.chdir(tmp_path)
    yield
    shutdown()


def log_to(home: Path) -> None:
    """The log of a node in `home`."""
    Frame.of(str(home), None, json=True).log_to("node")


def file_of(home: Path) -> list[str]:
    return (home / "logs/node.jsonl").read_text().splitlines()


def test_a_collector_gets_the_lines_of_the_file(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    log_to(tmp_path)
    with bound(node="pi-3", operation="9f2c"):
        get_logger("roost.test").info("served", request="Put")
        get_logger("roost.test").warning("röst", why="no-space")
        get_logger("roost.test").debug("not of interest")
    shutdown()
    assert [body for _, body in collector.lines] == file_of(tmp_path)
    assert [severity for severity, _ in collector.lines] == ["INFO", "WARNING"]
    told = json.loads(collector.lines[0][1])
    assert (told["event"], told["node"], told["operation"], told["request"]) == ("served", "pi-3", "9f2c", "Put")
    assert set(collector.asked) == {"/v1/logs"}
    assert {"roost", "node"} <= collector.services


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_that_is_away_costs_the_lines_and_a_moment_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:9/v1/logs")
    log_to(tmp_path)
    begun = time.monotonic()
    for number in range(2 * otlp.QUEUE_MAX):
        get_logger("roost.test").info("a line", number=number)
    assert len(file_of(tmp_path)) == 2 * otlp.QUEUE_MAX
    shutdown()
    assert time.monotonic() - begun < 30
    assert capfd.readouterr().err == ""


def test_without_the_library_it_says_what_to_install_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    log_to(tmp_path)
    get_logger("roost.test").info("goes on")
    first, second = map(json.loads, file_of(tmp_path))
    assert (first["level"], first["hint"]) == ("warning", "pip install 'roost[otlp]'")
    assert second["event"] == "goes on"


def test_nothing_is_loaded_where_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    log_to(tmp_path)
    get_logger("roost.test").info("a line")
    assert len(file_of(tmp_path)) == 1
