"""The files that tell systemd and launchd of a service: golden texts, and what systemd itself reads in them."""

import os
import plistlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.apps.cli.service_units import (
    ROLES,
    Service,
    describe_plist,
    describe_unit,
    launchd_plist,
    systemd_unit,
    unit_name,
)
from roost.core.errors import UsageError

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
PLAIN = Service("coordinator", Path("/home/ada/.local/share/roost"), None, "ada", "/opt/roost/bin/python")
ODD = Path('/mnt/my disk/100% "it\'s" $HOME\\n;x é')
NASTY = Service(
    "node", ODD, ODD / "roost $$ <&>.yaml", "ada", "/opt/a b/bin/python", token_file=ODD / "service.env"
)  # fmt: skip
TEMPORARY = Service("coordinator", Path("/srv/roost"), None, "ada", "/opt/python", reads=(Path("/tmp/runs"),))
SPECIMENS = {
    "service_coordinator_system.service": systemd_unit(PLAIN, system=True),
    "service_coordinator_user.service": systemd_unit(PLAIN, system=False),
    "service_coordinator_watching_tmp.service": systemd_unit(TEMPORARY, system=True),
    "service_coordinator.plist": launchd_plist(PLAIN).decode(),
    "service_nasty_system.service": systemd_unit(NASTY, system=True),
    "service_nasty_user.service": systemd_unit(NASTY, system=False),
    "service_nasty.plist": launchd_plist(NASTY).decode(),
}
SYSTEMD = Path("/lib/systemd/systemd")
NOBODY = 65534
NOTED = "systemd is not installed here: what it reads in the units is not looked at"


@pytest.mark.parametrize("name", SPECIMENS)
def test_the_text_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / name
    if request.config.getoption("--rewrite-golden"):
        path.write_text(SPECIMENS[name], encoding="utf-8")
    assert path.read_text(encoding="utf-8") == SPECIMENS[name]


def test_there_is_no_golden_service_without_a_specimen() -> None:
    assert {path.name for path in GOLDEN.glob("service_*")} == set(SPECIMENS)


@pytest.mark.parametrize("service", [PLAIN, NASTY, TEMPORARY])
def test_a_file_says_what_it_was_made_of(service: Service) -> None:
    for described in (
        describe_unit(systemd_unit(service, system=True)),
        describe_unit(systemd_unit(service, system=False)),
        describe_plist(launchd_plist(service)),
    ):
        assert (described.home, described.config, described.user) == (service.home, service.config, service.user)


@pytest.mark.parametrize("text", ["", "[Unit]\n", "# roost: {", '# roost: {"home": 1}', "# roost: []"])
def test_a_unit_of_somebody_else_says_nothing(text: str) -> None:
    assert describe_unit(text).home is None


@pytest.mark.parametrize("data", [b"", b"<plist>", b"no plist", b"<plist><array/></plist>", b"bplist00"])
def test_a_property_list_of_somebody_else_says_nothing(data: bytes) -> None:
    assert describe_plist(data).home is None


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\udc80b", "a\x7fb"])
def test_a_path_that_no_file_could_tell_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="control characters"):
        Service("node", Path("/srv") / name, None, "ada", "/opt/python").check()
    NASTY.check()


def test_launchd_gets_the_token_from_the_file_alone(tmp_path: Path) -> None:
    """The command of the property list, run as launchd runs it, on a home with a name that a shell would take apart."""
    home = tmp_path / 'it\'s $HOME; `x` "é"'
    home.mkdir()
    file = home / "service.env"
    service = Service("node", home, None, "ada", shutil.which("printenv") or "", token_file=file)
    words = plistlib.loads(launchd_plist(service))["ProgramArguments"]
    begin, program = words[:4], words[4:]
    assert program == service.command()
    for there, told in ((True, "roost-abc"), (False, "")):
        if there:
            file.write_text("ROOST_TOKEN=roost-abc\n")
        else:
            file.unlink()
        script = 'printf "%s" "$ROOST_TOKEN"; for word; do printf "\\n%s" "$word"; done'
        done = subprocess.run(
            [*begin, "/bin/sh", "-c", script, *program], capture_output=True, text=True, check=True,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert done.stdout.split("\n") == [told, *program[1:]]


# -- what systemd reads ----------------------------------------------------------------------------------------------


@pytest.fixture
def for_all() -> Iterator[Path]:
    """A folder that every user may read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def usable(folder: Path, service: Service, *, system: bool) -> Path:
    """The unit, with a program and an account that are here, so that systemd has nothing else to say of it."""
    text = systemd_unit(service, system=system).replace("User=ada", "User=daemon")
    text = text.replace(f'"{service.python}"', "/bin/sh").replace(service.python, "/bin/sh")
    path = folder / unit_name(service.role)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("service", [PLAIN, NASTY, TEMPORARY])
@pytest.mark.parametrize("system", [True, False], ids=["system", "user"])
def test_systemd_finds_nothing_wrong(service: Service, system: bool, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip(NOTED)
    unit = usable(tmp_path, service, system=system)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


@pytest.mark.parametrize("service", [PLAIN, NASTY])
def test_systemd_reads_every_path_as_it_is(service: Service, for_all: Path) -> None:
    if not SYSTEMD.exists():
        pytest.skip(NOTED)
    usable(for_all, service, system=True)
    root = os.geteuid() == 0  # by whom systemd refuses to be tried
    done = subprocess.run(
        [str(SYSTEMD), "--test", "--system", f"--unit={unit_name(service.role)}"], capture_output=True, check=False,
        env={"SYSTEMD_UNIT_PATH": f"{for_all}:/lib/systemd/system", "PATH": os.environ["PATH"]}, timeout=60,
        user=NOBODY if root else None, group=NOBODY if root else None, extra_groups=[] if root else None,
    )  # fmt: skip
    dump = done.stdout.decode().partition(f"-> Unit {unit_name(service.role)}:")[2].partition("\t-> Unit ")[0]
    assert dump, done.stderr.decode()[-2000:]
    lines = [line.strip() for line in dump.splitlines()]
    assert f"RequiresMountsFor: {service.home} (origin-file)" in lines
    assert f"ReadWritePaths: {service.home}" in lines
    assert (f"EnvironmentFile: -{service.token_file}" in lines) == (service.token_file is not None)
    command = next(line.removeprefix("Command Line: ") for line in lines if line.startswith("Command Line: "))
    assert shlex.split(command.replace("\\$", "$"))[1:] == service.command()[1:]


def test_every_role_has_its_command() -> None:
    commands = [Service(role, Path("/h"), None, "ada", "/p").command()[3] for role in ROLES]
    assert commands == ["join", "start"]
