"""`roost service` against stand-ins for systemctl, journalctl and launchctl.

They are small programs on PATH that write down what they were asked, and answer from files.
"""

import json
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli_stand_in import RunCommand
from roost.apps.cli import service, service_manager, service_plan, service_systemd
from roost.apps.cli.service_launchd import Launchd
from roost.apps.cli.service_systemd import Systemd
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

USER = 4242
STAND_IN = """\
#!/bin/sh
# What was asked goes to asked; fail-VERB makes a verb fail with its content; answer-VERB is what a verb prints.
name=${0##*/}
verb=
for word; do case $word in -*) ;; *) verb=$word; break ;; esac; done
echo "$name $*" >> "$STAND_IN/asked"
if [ -e "$STAND_IN/fail-$verb" ]; then cat "$STAND_IN/fail-$verb" >&2; exit 1; fi
if [ -e "$STAND_IN/when-$verb" ]; then . "$STAND_IN/when-$verb"; fi
if [ -e "$STAND_IN/answer-$verb" ]; then cat "$STAND_IN/answer-$verb"; fi
"""
RUNS = """\
UnitFileState=enabled
ActiveState=active
SubState=running
Result=success
ExecMainStatus=0
MainPID=77
NeedDaemonReload=no
ActiveEnterTimestampMonotonic=1000000
"""
ENDED = RUNS.replace("=active", "=failed").replace("=running", "=failed").replace("=success", "=exit-code")
STATUS = ENDED.replace("ExecMainStatus=0", "ExecMainStatus=7")
GONE = "UnitFileState=\nActiveState=inactive\nSubState=dead\nMainPID=0\n"
STARTS = 'cp "$STAND_IN/runs" "$STAND_IN/answer-show"\n'


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with stand-ins on its PATH."""

    folder: Path
    home: Home
    units: Path

    def asked(self, *, but: str = " show ") -> list[str]:
        """What was asked since the last call, but not looking."""
        file = self.folder / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [line for line in lines if but not in f"{line} "]

    def tell(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def pair(self, *, stores: bool = True) -> None:
        """Make the home that of a machine of a cluster, and of a storage node if it `stores`."""
        self.home.identity.mkdir(parents=True, exist_ok=True)
        (self.home.identity / "certificate.der").write_bytes(b"certificate")
        if stores:
            (self.home.identity / "store").write_bytes(b"id")

    def admit(self) -> None:
        self.home.authority.mkdir(parents=True, exist_ok=True)
        (self.home.authority / "key.pem").write_bytes(b"key")

    @property
    def unit(self) -> Path:
        return self.units / "roost-node.service"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Linux with systemd, and this process as root by itself; its account owns what the tests make."""
    folder = tmp_path / "stand-in"
    units = tmp_path / "units"
    for place in (folder, units, tmp_path / "run"):
        place.mkdir()
    for name in ("systemctl", "journalctl", "launchctl"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in ("SUDO_USER", "ROOST_TOKEN", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(service_systemd, "SYSTEM_UNITS", units)
    monkeypatch.setattr(service_systemd, "RUNNING", tmp_path / "run")
    monkeypatch.setattr(service_systemd, "LINGERING", tmp_path / "linger")
    monkeypatch.setattr(service, "PAIR_LIMIT_S", 0.5)
    found = Machine(folder, Home(tmp_path / "home"), units)
    found.tell("answer-show", GONE)
    found.tell("runs", RUNS)
    found.tell("when-restart", STARTS)
    as_account(monkeypatch, 0, name="root", directory="/root")
    on(monkeypatch, Systemd.for_system())
    return found


def as_account(monkeypatch: pytest.MonkeyPatch, number: int, *, name: str, directory: str) -> None:
    """Let this process be `number`, an account that owns what this process makes."""
    entry = pwd.struct_passwd((name, "x", os.getuid(), os.getgid(), "", directory, "/bin/sh"))
    monkeypatch.setattr(os, "geteuid", lambda: number)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry)
    for call in ("seteuid", "setegid"):
        monkeypatch.setattr(os, call, lambda _: None)


def on(monkeypatch: pytest.MonkeyPatch, *managers: service_manager.ServiceManager) -> None:
    """Let these be the machine's service managers."""
    for module in (service, service_manager):
        monkeypatch.setattr(module, "managers", lambda: list(managers))


def test_install_writes_enables_and_starts(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    ran = roost("service", "install", "--json")
    assert ran.code == 0, ran
    assert machine.asked() == [
        "systemctl --no-ask-password daemon-reload",
        "systemctl --no-ask-password enable roost-node.service",
        "systemctl --no-ask-password reset-failed roost-node.service",
        "systemctl --no-ask-password restart roost-node.service",
    ]
    result = ran.result
    assert result["role"] == "node"
    assert result["home"] == str(machine.home.root)
    assert (result["changed"], result["enabled"], result["running"], result["pid"]) == (True, True, True, 77)
    assert f"--home {machine.home.root}\n" in machine.unit.read_text()
    assert stat.S_IMODE(machine.unit.stat().st_mode) == 0o644


def test_install_again_touches_nothing(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    before = machine.unit.stat()
    machine.asked()
    ran = roost("service", "install", "--json")
    assert ran.result["changed"] is False
    assert machine.asked() == ["systemctl --no-ask-password enable roost-node.service"]
    after = machine.unit.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_install_again_takes_what_changed_and_restarts(roost: RunCommand, machine: Machine, tmp_path: Path) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    machine.asked()
    config = tmp_path / "other.yaml"
    config.write_text("cluster: other\n")
    assert roost("service", "install", "--config", "other.yaml", "--json").result["config"] == str(config)
    assert "systemctl --no-ask-password restart roost-node.service" in machine.asked()
    assert f"--config {config}\n" in machine.unit.read_text()


def test_install_again_starts_one_that_ended(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    machine.tell("answer-show", ENDED)
    machine.asked()
    assert roost("service", "install", "--json").result["changed"] is False
    assert "systemctl --no-ask-password restart roost-node.service" in machine.asked()


def test_one_that_does_not_run_is_told_with_3(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    machine.tell("runs", STATUS)
    ran = roost("service", "install")
    assert ran.code == 3
    assert "does not run (failed (failed): exit-code, exit 7)" in ran.out


def test_the_coordinators_home_is_told_from_a_nodes(roost: RunCommand, machine: Machine) -> None:
    machine.pair(stores=False)
    assert roost("service", "install", "--dry-run", "--json").result["role"] == "coordinator"
    machine.admit()
    assert roost("service", "install", "--dry-run", "--json").result["role"] == "coordinator"
    assert roost("service", "install", "--dry-run", "--json", "--role", "node").error["code"] == "usage"
    machine.pair()
    assert roost("service", "install", "--dry-run", "--json").result["role"] == "node"
    assert roost("service", "install", "--dry-run", "--json", "--role", "coordinator").error["code"] == "usage"


def test_dry_run_writes_nothing_and_asks_nobody(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    ran = roost("service", "install", "--dry-run")
    assert ran.code == 0
    assert "[Service]" in ran.out
    assert not machine.unit.exists()
    assert not machine.asked(but="none")


def test_a_home_without_a_cluster_is_told_what_to_do(roost: RunCommand, machine: Machine) -> None:
    ran = roost("service", "install", "--json")
    assert ran.code == 7
    assert "join TOKEN" in ran.error["hint"]
    assert "ROOST_TOKEN" in ran.error["hint"]
    assert "start --home" in roost("service", "install", "--role", "coordinator", "--json").error["hint"]
    assert not machine.home.root.exists()


# -- a token ---------------------------------------------------------------------------------------------------------


def test_a_token_pairs_a_new_node_and_is_removed_then(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_TOKEN", "roost-abc234")
    home = machine.home
    machine.tell(
        "when-restart",
        f'cp "{home.root}/service.env" "$STAND_IN/seen"; ls -l "{home.root}/service.env" > "$STAND_IN/mode"\n'
        f'mkdir "{home.identity}"; : > "{home.identity}/certificate.der"\n{STARTS}',
    )
    ran = roost("service", "install", "--json")
    assert ran.code == 0, ran
    assert ran.result["paired"] is True
    assert (machine.folder / "seen").read_text() == "ROOST_TOKEN=roost-abc234\n"
    assert (machine.folder / "mode").read_text().startswith("-rw-------")
    assert not (home.root / "service.env").exists()
    assert f"EnvironmentFile=-{home.root}/service.env" in machine.unit.read_text()
    everything = machine.unit.read_text() + ran.out + ran.err + (machine.folder / "asked").read_text()
    assert "roost-abc234" not in everything


def test_a_token_waits_for_a_node_that_finds_nobody(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_TOKEN", "roost-abc234")
    ran = roost("service", "install")
    assert ran.code == 3
    assert "not paired yet" in ran.err
    file = machine.home.root / "service.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.home.root.stat().st_mode) == 0o700
    machine.asked()
    assert roost("service", "install").code == 3
    assert not [line for line in machine.asked() if "restart" in line]
    monkeypatch.setenv("ROOST_TOKEN", "roost-newer234")
    assert roost("service", "install").code == 3
    assert [line for line in machine.asked() if "restart" in line]
    machine.pair()
    assert roost("service", "install").code == 0
    assert not file.exists()
    assert "EnvironmentFile" not in machine.unit.read_text()


@pytest.mark.parametrize("token", ["roost-abc\nPATH=/evil", "roost-`id`", "a b", "x" * 9000])
def test_what_cannot_be_a_token_is_written_nowhere(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("ROOST_TOKEN", token)
    assert roost("service", "install", "--json").error["code"] == "usage"
    assert not machine.home.root.exists()


# -- whose it is -----------------------------------------------------------------------------------------------------


def test_by_sudo_it_runs_as_who_typed_it_in_their_home(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ROOST_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("SUDO_USER", "ada")
    as_account(monkeypatch, 0, name="ada", directory=str(tmp_path))
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: Path(os.environ["HOME"]) / "home")
    machine.pair()
    ran = roost("service", "install", "--json")
    assert ran.code == 0, ran
    assert "\nUser=ada\n" in machine.unit.read_text()
    assert ran.result["home"] == str(machine.home.root)


def test_root_leaves_no_file_that_the_user_could_not_have_written(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "seteuid", lambda number: calls.append(("user", number)))
    monkeypatch.setattr(os, "setegid", lambda number: calls.append(("group", number)))
    person = service_plan.Person("ada", 1000, 1001, "/home/ada", True)
    with person.acting():
        assert calls == [("group", 1001), ("user", 1000)]
    assert calls[2:] == [("user", 0), ("group", os.getegid())]


def test_a_home_of_somebody_else_is_refused(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.pair()
    other = pwd.struct_passwd(("ada", "x", os.getuid() + 1, os.getgid(), "", "/home/ada", "/bin/sh"))
    monkeypatch.setenv("SUDO_USER", "ada")
    monkeypatch.setattr(pwd, "getpwnam", lambda _: other)
    assert "but the service would run as ada" in roost("service", "install", "--json").error["message"]
    assert not machine.unit.exists()


def test_without_root_it_is_the_users_own_and_says_what_that_lacks(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.pair()
    as_account(monkeypatch, USER, name="ada", directory=str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    on(monkeypatch, Systemd.for_user(), Systemd.for_system())
    ran = roost("service", "install")
    assert ran.code == 0, ran
    assert "loginctl enable-linger ada" in ran.err
    assert "systemctl --user --no-ask-password enable roost-node.service" in machine.asked()
    unit = tmp_path / ".config" / "systemd" / "user" / "roost-node.service"
    assert "WantedBy=default.target" in unit.read_text()
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / "ada").touch()
    assert "linger" not in roost("service", "install").err


def test_without_root_the_systems_is_not_touched(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    as_account(monkeypatch, USER, name="ada", directory=str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    on(monkeypatch, Systemd.for_user(), Systemd.for_system())
    assert "installed already" in roost("service", "install", "--json").error["message"]
    assert "sudo" in roost("service", "uninstall", "--json").error["hint"]
    assert machine.unit.exists()
    assert roost("service", "status", "--json").result["services"][0]["manager"] == "systemd"


# -- what is in the way ----------------------------------------------------------------------------------------------


def test_another_home_is_not_taken_over(roost: RunCommand, machine: Machine, tmp_path: Path) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    before = machine.unit.read_text()
    other = Machine(machine.folder, Home(tmp_path / "other"), machine.units)
    other.pair()
    ran = roost("service", "install", "--home", str(other.home.root), "--json")
    assert ran.error["message"] == f"{machine.unit} is installed already, for {machine.home.root}"
    assert machine.unit.read_text() == before


def test_a_home_that_is_served_by_hand_is_busy(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    disk = PosixDisk(machine.home.root)
    lock = disk.lock("lock")
    try:
        machine.home.run_state.write_text(json.dumps({"pid": os.getpid(), "address": "127.0.0.1:7400"}))
        ran = roost("service", "install", "--json")
    finally:
        lock.release()
    assert ran.error["code"] == "busy"
    assert str(os.getpid()) in ran.error["message"]
    assert not machine.unit.exists()


def test_where_no_systemd_runs_it_says_so(
    roost: RunCommand, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.pair()
    monkeypatch.setattr(service_systemd, "RUNNING", tmp_path / "absent")
    ran = roost("service", "install", "--json")
    assert "systemd does not run here" in ran.error["message"]
    assert "restart policy" in ran.error["hint"]
    assert not machine.unit.exists()


def test_an_error_of_systemctl_is_shown_with_its_command(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    machine.tell("fail-enable", "Failed to enable unit: Read-only file system\n")
    ran = roost("service", "install", "--json")
    assert ran.code == 1
    assert ran.error["message"] == (
        "systemctl --no-ask-password enable roost-node.service failed: Failed to enable unit: Read-only file system"
    )


# -- the others ------------------------------------------------------------------------------------------------------


def test_status_tells_home_and_since_when(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    ran = roost("service", "status", "--json")
    assert ran.code == 3
    assert (ran.result["installed"], ran.result["services"]) == (False, [])
    assert roost("service", "install").code == 0
    ran = roost("service", "status", "--json")
    assert ran.code == 0, ran
    one = ran.result["services"][0]
    assert (one["home"], one["enabled"], one["running"], one["pid"]) == (str(machine.home.root), True, True, 77)
    assert one["since"].endswith("Z")
    people = roost("service", "status").out
    assert str(machine.home.root) in people
    assert "process 77" in people
    machine.tell("answer-show", STATUS)
    ran = roost("service", "status", "--json")
    assert ran.code == 3
    assert (ran.result["enabled"], ran.result["running"]) == (True, False)
    assert "exit 7" in ran.result["services"][0]["detail"]


def test_status_needs_no_settings_that_can_be_read(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    machine.home.settings.write_text("nonsense: [")
    assert roost("service", "status").code == 0
    assert roost("service", "uninstall").code == 0


def test_uninstall_removes_the_service_and_keeps_the_home(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    assert roost("service", "install").code == 0
    machine.asked()
    ran = roost("service", "uninstall", "--json")
    assert ran.code == 0
    assert [one["home"] for one in ran.result["uninstalled"]] == [str(machine.home.root)]
    assert machine.asked() == [
        "systemctl --no-ask-password disable --now roost-node.service",
        "systemctl --no-ask-password daemon-reload",
        "systemctl --no-ask-password reset-failed roost-node.service",
    ]
    assert not machine.unit.exists()
    assert (machine.home.identity / "store").exists()
    assert roost("service", "uninstall", "--json").result["uninstalled"] == []


def test_logs_are_the_journals(roost: RunCommand, machine: Machine) -> None:
    machine.pair()
    assert roost("service", "logs", "--json").error["code"] == "not-found"
    assert roost("service", "install").code == 0
    machine.asked()
    machine.tell("answer-roost-node.service", "listening\nnot \x1b[31mred\n")
    assert roost("service", "logs", "-n", "7").out == "listening\nnot \\x1b[31mred\n"
    assert machine.asked() == ["journalctl --unit roost-node.service --lines 7 --no-pager --output short-iso"]
    ran = roost("service", "logs", "--follow", "--json")
    assert [line.get("text") for line in ran.lines] == ["listening", "not \x1b[31mred", None]
    assert ran.result["lines"] == 2
    assert machine.asked()[0].endswith(" --follow")


def test_doctor_can_ask_whether_a_home_has_a_service(roost: RunCommand, machine: Machine, tmp_path: Path) -> None:
    machine.pair()
    assert service_manager.installed(machine.home) is None
    assert roost("service", "install").code == 0
    answer = service_manager.installed(machine.home)
    assert answer is not None
    found, state = answer
    assert (found.role, state.running) == ("node", True)
    assert service_manager.installed(Home(tmp_path / "other")) is None
    machine.tell("fail-show", "no bus\n")
    answer = service_manager.installed(machine.home)
    assert answer is not None
    assert (answer[1].running, "no bus" in answer[1].detail) == (False, True)


# -- launchd ---------------------------------------------------------------------------------------------------------

PRINTED = """\
system/local.roost.node = {
\tactive count = 1
\tstate = running
\tpid = 1
\tlast exit code = (never exited)
}
"""
LOADS = 'cp "$STAND_IN/printed" "$STAND_IN/answer-print"; rm -f "$STAND_IN/fail-print"\n'
UNLOADS = 'echo "Could not find service" > "$STAND_IN/fail-print"\n'


@pytest.fixture
def mac(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    on(monkeypatch, Launchd(machine.units))
    machine.tell("printed", PRINTED)
    machine.tell("fail-print", "Could not find service\n")
    machine.tell("when-bootstrap", LOADS)
    machine.tell("when-bootout", UNLOADS)
    machine.pair()
    return machine


def test_launchd_is_given_a_daemon_once(roost: RunCommand, mac: Machine) -> None:
    plist = mac.units / "local.roost.node.plist"
    ran = roost("service", "install", "--json")
    assert ran.code == 0, ran
    assert mac.asked(but=" print") == [
        "launchctl enable system/local.roost.node",
        f"launchctl bootstrap system {plist}",
    ]
    assert (ran.result["running"], ran.result["pid"]) == (True, 1)
    assert roost("service", "install", "--json").result["changed"] is False
    assert mac.asked(but=" print") == ["launchctl enable system/local.roost.node"]
    (mac.home.settings).write_text("cluster: other\n")
    assert roost("service", "install", "--json").result["changed"] is True
    assert mac.asked(but=" print") == [
        "launchctl bootout system/local.roost.node",
        "launchctl enable system/local.roost.node",
        f"launchctl bootstrap system {plist}",
    ]
    assert stat.S_IMODE(plist.stat().st_mode) == 0o644


def test_launchd_says_whether_it_runs(roost: RunCommand, mac: Machine) -> None:
    assert roost("service", "install").code == 0
    one = roost("service", "status", "--json").result["services"][0]
    assert (one["manager"], one["enabled"], one["running"]) == ("launchd", True, True)
    assert one["since"].endswith("Z")
    mac.tell("answer-print-disabled", 'disabled services = {\n\t"local.roost.node" => disabled\n}\n')
    mac.tell("answer-print", "x = {\n\tstate = spawn scheduled\n\tlast exit code = 7\n}\n")
    ran = roost("service", "status", "--json")
    assert ran.code == 3
    one = ran.result["services"][0]
    assert (one["enabled"], one["running"], one["detail"]) == (False, False, "spawn scheduled: exit 7")


def test_launchd_needs_root_and_keeps_its_log_in_the_home(
    roost: RunCommand, mac: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert roost("service", "install").code == 0
    (mac.home.logs / "service.log").write_text("one\ntwo\nthree\n")
    assert roost("service", "logs", "-n", "2").out == "two\nthree\n"
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    assert "sudo" in roost("service", "uninstall", "--json").error["hint"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    mac.asked()
    assert roost("service", "uninstall").code == 0
    assert mac.asked(but=" print") == ["launchctl bootout system/local.roost.node"]
    assert not list(mac.units.iterdir())
