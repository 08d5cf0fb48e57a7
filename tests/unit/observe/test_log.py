"""Log lines: what stands in the file, what a person sees, and that the log never stands in the way."""

import asyncio
import io
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.observe import log


@pytest.fixture(autouse=True)
def _silent_afterwards() -> Iterator[None]:
    yield
    log.shutdown()


def lines(directory: Path, name: str = "roost") -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_event_is_one_json_line_with_its_fields(tmp_path: Path) -> None:
    log.configure(directory=tmp_path / "logs", name="node", people=None)
    log.get_logger("roost.net.links").info("a peer was dialled", peer="pi-3", port=7400, id=b"\xab\xcd", why=None)
    [line] = lines(tmp_path / "logs", "node")
    assert str(line.pop("at")).endswith("Z")
    assert line == {
        "event": "a peer was dialled",
        "level": "info",
        "logger": "roost.net.links",
        "peer": "pi-3",
        "port": 7400,
        "id": "abcd",
        "why": None,
    }


async def test_node_and_operation_are_bound_to_a_task_and_the_tasks_it_starts(tmp_path: Path) -> None:
    log.configure(directory=tmp_path, people=None)
    logger = log.get_logger("roost.node")

    async def work(step: str) -> None:
        logger.info(step)

    async def operation(node: str) -> None:
        with log.bound(node=node), log.bound(operation=f"store on {node}"):
            async with asyncio.TaskGroup() as group:
                group.create_task(work("inner"))
        await work("outer")

    async with asyncio.TaskGroup() as group:
        group.create_task(operation("a"))
        group.create_task(operation("b"))
    seen = sorted((str(line["event"]), str(line.get("node")), str(line.get("operation"))) for line in lines(tmp_path))
    assert seen == [
        ("inner", "a", "store on a"),
        ("inner", "b", "store on b"),
        ("outer", "None", "None"),
        ("outer", "None", "None"),
    ]


def test_only_this_user_may_read_the_log(tmp_path: Path) -> None:
    log.configure(directory=tmp_path / "logs", people=None)
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "logs" / "roost.jsonl").stat().st_mode) == 0o600


def test_the_files_stay_bounded(tmp_path: Path) -> None:
    log.configure(directory=tmp_path, people=None, file_bytes_max=2000)
    logger = log.get_logger("roost.node")
    for number in range(200):
        logger.info("a step", number=number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["roost.jsonl", *(f"roost.jsonl.{number}" for number in range(1, log.FILES_KEPT + 1))]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert lines(tmp_path)[-1]["number"] == 199


def test_a_long_field_is_cut(tmp_path: Path) -> None:
    log.configure(directory=tmp_path, people=None)
    log.get_logger("roost.net").info("a peer said", text="x" * 1_000_000, data=b"y" * 1_000_000)
    assert (tmp_path / "roost.jsonl").stat().st_size < 3 * log.FIELD_CHARACTERS_MAX


def test_people_read_a_plain_line_from_warnings_up() -> None:
    people = io.StringIO()
    log.configure(people=people)
    logger = log.get_logger("roost.checkpoints")
    logger.info("not for people")
    logger.warning("a node is passed over", node="pi-3", reason="no space")
    assert people.getvalue()[8:] == " warning: a node is passed over (node=pi-3, reason=no space)\n"


def test_no_peer_writes_to_a_terminal_through_the_log() -> None:
    people = io.StringIO()
    log.configure(people=people)
    log.get_logger("roost.net").error("refused", name="\x1b]0;owned\x07\nroot: all is well")
    assert people.getvalue().count("\n") == 1
    assert all(character.isprintable() for character in people.getvalue().rstrip("\n"))


def test_a_name_that_is_not_unicode_is_still_json(tmp_path: Path) -> None:
    log.configure(directory=tmp_path, people=None)
    log.get_logger("roost").info("refused", path=os.fsdecode(b"caf\xe9"))
    assert lines(tmp_path)[0]["path"] == "caf\udce9"


def test_a_traceback_goes_to_both(tmp_path: Path) -> None:
    people = io.StringIO()
    log.configure(directory=tmp_path, people=people)
    try:
        raise ValueError("planted")
    except ValueError:
        log.get_logger("roost.node").error("a task failed", traceback=True)
    assert "ValueError: planted" in str(lines(tmp_path)[0]["exception"])
    assert "\n    ValueError: planted\n" in people.getvalue()


def test_the_event_loop_is_heard_and_others_are_not(tmp_path: Path) -> None:
    log.configure(directory=tmp_path, people=None)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("someone.else").error("not ours")
    assert [line["event"] for line in lines(tmp_path)] == ["Task exception was never retrieved"]


def test_our_events_do_not_reach_the_loggers_of_the_program_around_us(tmp_path: Path) -> None:
    theirs = io.StringIO()
    handler = logging.StreamHandler(theirs)
    logging.getLogger().addHandler(handler)
    try:
        log.configure(directory=tmp_path, people=None)
        log.get_logger("roost.net").error("ours")
        logging.getLogger("someone.else").error("theirs")
    finally:
        logging.getLogger().removeHandler(handler)
    assert theirs.getvalue() == "theirs\n"
    assert [line["event"] for line in lines(tmp_path)] == ["ours"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_full_disk_does_not_disturb_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "roost.jsonl").symlink_to("/dev/full")
    with open("/dev/full", "w") as people:
        log.configure(directory=tmp_path, people=people)
        log.get_logger("roost.node").error("nobody can keep this")
        log.shutdown()
        with pytest.raises(OSError, match="No space left"):
            people.close()
    assert capsys.readouterr() == ("", "")


def test_configuring_again_moves_the_log(tmp_path: Path) -> None:
    logger = log.get_logger("roost.node")
    for folder in ("one", "two"):
        log.configure(directory=tmp_path / folder, people=None)
        logger.info(folder)
    log.shutdown()
    logger.info("nowhere")
    assert [line["event"] for line in lines(tmp_path / "one")] == ["one"]
    assert [line["event"] for line in lines(tmp_path / "two")] == ["two"]


def test_until_it_is_configured_the_log_is_silent_and_loads_nothing() -> None:
    program = (
        "import sys\n"
        "from roost.observe.log import bound, get_logger\n"
        "with bound(node='a'):\n"
        "    get_logger('roost.node').error('x')\n"
        "sys.exit('structlog' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
