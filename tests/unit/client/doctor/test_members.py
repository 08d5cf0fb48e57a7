"""What the doctor makes of certificates, releases and machines; and what it sees of keys in a home."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from roost.client.doctor.findings import Finding, Level
from roost.client.doctor.keys import look_at_keys
from roost.client.doctor.members import IdentitySeen, judge_identity, judge_releases, judge_spread, judge_standing
from roost.core.ids import MachineId
from roost.disk.posix import PosixDisk
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.settings.paths import Home

OWN = "roost 0.2.0"


def bad(findings: Sequence[Finding]) -> list[tuple[str, Level]]:
    """The findings that are not well; each that must be mended says how."""
    assert all(finding.mend for finding in findings if finding.is_bad)
    return [(finding.check, finding.level) for finding in findings if finding.level is not Level.OK]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The home of a cluster's founder, with the authority."""
    disk = PosixDisk(tmp_path)
    authority = Authority.create("lab")
    authority.save(disk)
    Identity.found(authority, NodeKey.create(), machine=MachineId("a" * 32)).save(disk)
    return Home(tmp_path)


def identity(home: Home) -> list[Finding]:
    """Look and judge."""
    seen, _ = look_at_keys(PosixDisk(home.root), home)
    return list(judge_identity(seen))


def test_a_home_that_is_whole(home: Home) -> None:
    [found] = identity(home)
    assert found.level is Level.OK
    assert "lab" in found.text
    assert look_at_keys(PosixDisk(home.root), home)[1] is not None


def test_a_home_that_belongs_to_no_cluster_or_is_not_there(tmp_path: Path) -> None:
    assert bad(identity(Home(tmp_path))) == [("certificates", Level.NOTE)]
    assert bad(identity(Home(tmp_path / "nowhere"))) == [("certificates", Level.NOTE)]


@pytest.mark.parametrize("key", ["identity/key.pem", "authority/key.pem"])
def test_a_key_that_others_may_read_is_a_problem_with_the_command_for_that_file(home: Home, key: str) -> None:
    (home.root / key).chmod(0o640)
    found = identity(home)
    assert bad(found) == [("certificates", Level.PROBLEM)]
    assert found[0].mend == f"chmod go= {home.root / key}"
    assert "0640" in found[0].text


def test_the_command_takes_a_path_with_spaces_as_one_word() -> None:
    [found] = judge_identity(IdentitySeen("/h", True, modes={"/my home/key.pem": 0o644}))
    assert found.mend == "chmod go= '/my home/key.pem'"


def test_a_certificate_of_another_authority_is_a_problem(home: Home) -> None:
    (home.identity / "authority.der").write_bytes(Authority.create("other").certificate)
    assert bad(identity(home)) == [("certificates", Level.PROBLEM)]


def test_a_damaged_key_is_a_problem(home: Home) -> None:
    (home.identity / "key.pem").write_bytes(b"nonsense")
    found = identity(home)
    assert bad(found) == [("certificates", Level.PROBLEM)]
    assert "identity/key.pem" in found[0].text


def test_an_authority_of_another_cluster_is_a_problem(home: Home) -> None:
    Authority.create("other").save(PosixDisk(home.root))
    found = identity(home)
    assert bad(found) == [("certificates", Level.PROBLEM)]
    assert "another cluster" in found[0].text


def test_what_is_wrong_is_told_with_the_way_out_of_its_error() -> None:
    seen = IdentitySeen("/h", True, problem="the identity does not fit together", hint="join again")
    assert [(f.text, f.mend) for f in judge_identity(seen)] == [("the identity does not fit together", "join again")]


def test_a_revoked_certificate_is_a_problem() -> None:
    assert bad(list(judge_standing(struck_off=True))) == [("certificates", Level.PROBLEM)]
    assert list(judge_standing(struck_off=False)) == []


def test_other_releases_are_a_warning_with_the_names_of_those_that_run_them() -> None:
    assert bad(list(judge_releases(OWN, {"a": OWN, "b": OWN}))) == []
    found = list(judge_releases(OWN, {"c": "roost 0.1.0", "a": "roost 0.1.0", "b": OWN}))
    assert bad(found) == [("releases", Level.WARNING)]
    assert found[0].text == "a, c run roost 0.1.0, this machine roost 0.2.0"
    assert list(judge_releases(OWN, {})) == []


def test_nodes_on_one_machine_are_a_warning() -> None:
    assert bad(list(judge_spread({"a": "m1", "b": "m2"}))) == []
    assert bad(list(judge_spread({"a": "m1", "b": "m1"}))) == [("machines", Level.WARNING)]
    assert bad(list(judge_spread({"a": "m1"}))) == [("machines", Level.WARNING)]
    assert bad(list(judge_spread({}))) == [("machines", Level.NOTE)]
