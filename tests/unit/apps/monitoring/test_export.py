"""An export: which files it has and who may read them, what it replaces and what it refuses, and what the real programs
say of it."""

import dataclasses
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

import monitoring_kits as kits
from roost.apps.monitoring import compose, plan
from roost.apps.monitoring.alertmanager import is_told, settings_text, untold
from roost.apps.monitoring.export import MARK, made, write
from roost.core.cluster import Address
from roost.core.errors import Failed, UsageError
from roost.settings.load import load
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings

TOKEN = "ab" * 24
SECRETS = {"alertmanager/alertmanager.yml", "grafana/admin-password", "prometheus/api-token"}
MAIL = 'alerts: {email: {smtp: "smtp://me@example.org@smtp.example.org", to: [you@example.org]}}\n'


def settings_of(folder: Path, text: str) -> Settings:
    path = folder / "settings.yaml"
    path.write_text(text)
    return load(str(path), home=Home(folder)).settings


def planned(settings: Settings | None = None, **more: Any) -> plan.Plan:
    values: dict[str, Any] = {
        "coordinator": Address("127.0.0.1", 7480), "token": None, "logs": [], "user": "1000:1000",
    }  # fmt: skip
    return plan.Plan(settings=settings or default_settings(), **{**values, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "export"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_reads_what_is_secret(folder: Path) -> None:
    names = write(folder, planned(token=TOKEN), force=False)
    assert set(names) > SECRETS
    for name in names:
        assert mode(folder / name) == (0o600 if name in SECRETS else 0o644), name
    assert mode(folder) == 0o700
    secret = (folder / "grafana/admin-password").read_text().strip()
    assert len(secret) >= 20
    for name in set(names) - SECRETS:
        text = (folder / name).read_text()
        assert secret not in text
        assert TOKEN not in text


@pytest.mark.parametrize("token", [None, TOKEN])
def test_prometheus_and_alertmanager_take_their_settings(folder: Path, token: str | None) -> None:
    write(folder, planned(token=token), force=False)
    assert "SUCCESS" in kits.checked("promtool", "check", "config", folder / "prometheus/prometheus.yml")
    assert "SUCCESS" in kits.checked("amtool", "check-config", folder / "alertmanager/alertmanager.yml")
    scraped = yaml.safe_load((folder / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["honor_labels"]
    assert ("authorization" in scraped) is ("authorization" in scraped["http_sd_configs"][0]) is (token is not None)


def test_all_yaml_is_yaml_and_names_the_ports(folder: Path) -> None:
    ports = plan.ports_of(["prometheus=1001", "alertmanager=1002", "grafana=1003", "loki=1004", "alloy=1006"])
    write(folder, planned(ports=ports, every_s=7), force=False)
    texts = {path: path.read_text() for path in folder.rglob("*.y*ml")}
    assert len(texts) == 7
    assert all(yaml.safe_load(text) for text in texts.values())
    everything = "".join(texts.values()) + (folder / "alloy/config.alloy").read_text()
    assert "@" not in everything.replace("prom/", "")
    for usual in plan.PORTS.values():
        assert f":{usual}" not in everything
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert set(services) == set(compose.DATA)
    for service in services.values():
        assert service["network_mode"] == "host"
        assert service["image"].partition(":")[2] not in ("", "latest")
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_PORT"] == "1003"


def test_logs_are_read_where_they_lie_and_only_read(tmp_path: Path) -> None:
    odd = tmp_path / "it's $HOME: {a}"
    service = yaml.safe_load(made(planned(logs=[plan.LogFolder("coordinator", odd)]))["compose.yaml"].text)
    [volume] = [each for each in service["services"]["alloy"]["volumes"] if isinstance(each, dict)]
    assert volume["source"].replace("$$", "$") == str(odd)
    assert volume["read_only"]
    assert not volume["bind"]["create_host_path"]


def test_an_earlier_export_is_replaced_and_keeps_what_was_measured(folder: Path) -> None:
    write(folder, planned(token=TOKEN), force=False)
    password = (folder / "grafana/admin-password").read_text()
    (folder / "data/prometheus/block").write_text("measured")
    (folder / "compose.override.yaml").write_text("mine")
    names = write(folder, planned(), force=False)
    assert not (folder / "prometheus/api-token").exists()
    assert (folder / "data/prometheus/block").read_text() == "measured"
    assert (folder / "compose.override.yaml").read_text() == "mine"
    assert (folder / "grafana/admin-password").read_text() == password
    assert json.loads((folder / MARK).read_text())["files"] == names


def test_a_folder_of_something_else_is_refused_and_left_as_it_was(folder: Path) -> None:
    folder.mkdir()
    (folder / "compose.yaml").write_text("mine")
    with pytest.raises(Failed, match="not an earlier export"):
        write(folder, planned(), force=False)
    assert [path.name for path in folder.iterdir()] == ["compose.yaml"]
    assert (folder / "compose.yaml").read_text() == "mine"
    write(folder, planned(), force=True)
    assert (folder / "compose.yaml").read_text() != "mine"


def test_what_stands_in_a_mark_removes_nothing_outside(folder: Path, tmp_path: Path) -> None:
    write(folder, planned(), force=False)
    outside = tmp_path / "mine"
    outside.write_text("mine")
    (folder / MARK).write_text(json.dumps({"files": ["../mine", str(outside)]}))
    write(folder, planned(), force=False)
    assert outside.exists()


def test_an_export_that_was_interrupted_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x")

    with monkeypatch.context() as broken:
        broken.setattr("roost.apps.monitoring.export._write_all", full)
        with pytest.raises(Failed, match="No space left"):
            write(folder, planned(), force=False)
    assert (folder / "compose.yaml").exists() is False
    assert "compose.yaml" in write(folder, planned(), force=False)


def test_a_file_in_the_place_of_the_folder_is_an_error_in_words(folder: Path) -> None:
    folder.write_text("mine")
    with pytest.raises(Failed, match="cannot be written"):
        write(folder, planned(), force=False)


# -- where the coordinator is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "given", "expected"),
    [
        ("127.0.0.1:7480", None, "127.0.0.1:7480"),
        ("0.0.0.0:7481", None, "127.0.0.1:7481"),
        ("[::]:7481", None, "[::1]:7481"),
        ("192.168.1.5:7480", None, "192.168.1.5:7480"),
        ("127.0.0.1:7480", "192.168.1.5:80", "192.168.1.5:80"),
    ],
)
def test_the_coordinator_is_where_it_listens(tmp_path: Path, listen: str, given: str | None, expected: str) -> None:
    settings = settings_of(tmp_path, f'api: {{listen: "{listen}"}}\n')
    assert str(plan.coordinator_address(Home(tmp_path), settings, given)) == expected


def test_a_port_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'api: {listen: "127.0.0.1:0"}\n')
    with pytest.raises(Failed, match="leaves the port open"):
        plan.coordinator_address(Home(tmp_path), settings, None)


def test_a_token_is_wanted_only_off_loopback_and_then_it_must_be_there(tmp_path: Path) -> None:
    home, here = Home(tmp_path), Address("127.0.0.1", 7480)
    assert plan.coordinator_token(home, default_settings(), here) is None
    away = settings_of(tmp_path, 'api: {listen: "0.0.0.0:7480"}\n')
    with pytest.raises(Failed, match="wants a token"):
        plan.coordinator_token(home, away, here)
    home.api_token.write_text(f"{TOKEN}\n")
    assert plan.coordinator_token(home, away, here) == TOKEN


@pytest.mark.parametrize(
    "wrong", ["grafana", "grafana=", "grafana=x", "grafana=0", "other=80", "alloy=9090", "alloy=3101"]
)
def test_a_port_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        plan.ports_of([wrong])


# -- who is told -------------------------------------------------------------------------------------------------------


def receiver(made_by: plan.Plan) -> dict[str, Any]:
    [found] = yaml.safe_load(settings_text(made_by))["receivers"]
    assert isinstance(found, dict)
    return found


def test_nobody_is_told_when_the_settings_name_nobody_or_it_is_not_wanted(tmp_path: Path) -> None:
    assert receiver(planned()) == {"name": "people"}
    settings = settings_of(tmp_path, MAIL)
    assert is_told(planned(settings, smtp_password="x"))
    assert not is_told(planned(settings, smtp_password="x", tell=False))


def test_mail_is_encrypted_and_has_its_password(tmp_path: Path) -> None:
    [mail] = receiver(planned(settings_of(tmp_path, MAIL), smtp_password="it's"))["email_configs"]
    assert mail["smarthost"] == "smtp.example.org:587"
    assert mail["require_tls"]
    assert (mail["auth_username"], mail["auth_password"]) == ("me@example.org", "it's")
    assert (mail["from"], mail["to"]) == ("me@example.org", "you@example.org")


def test_mail_to_a_server_of_this_machine_needs_no_encryption(tmp_path: Path) -> None:
    text = 'alerts: {email: {smtp: "127.0.0.1:25", from: me@example.org, to: [you@example.org, her@example.org]}}\n'
    [mail] = receiver(planned(settings_of(tmp_path, text)))["email_configs"]
    assert not mail["require_tls"]
    assert "auth_password" not in mail
    assert mail["to"] == "you@example.org, her@example.org"


@pytest.mark.parametrize(
    ("template", "kind", "key", "url"),
    [
        ("", "webhook_configs", "url", "https://example.org/abc"),
        ("ntfy", "webhook_configs", "url", "https://example.org/abc?template=alertmanager"),
        ("slack", "slack_configs", "api_url", "https://example.org/abc"),
        ("discord", "discord_configs", "webhook_url", "https://example.org/abc"),
    ],
)
def test_webhooks_are_those_that_alertmanager_has(
    tmp_path: Path, folder: Path, template: str, kind: str, key: str, url: str
) -> None:
    header = '"Authorization: Bearer {secret}"'
    hook = f'{{url: "https://example.org/{{secret}}", template: "{template}", headers: [{header}]}}'
    made_by = planned(settings_of(tmp_path, f"alerts: {{webhook: {hook}}}\n"), webhook_secret="abc")
    [found] = receiver(made_by)[kind]
    assert found[key] == url
    assert found["http_config"]["authorization"] == {"type": "Bearer", "credentials": "abc"}
    assert list(untold(made_by)) == []
    write(folder, made_by, force=False)
    assert "SUCCESS" in kits.checked("amtool", "check-config", folder / "alertmanager/alertmanager.yml")


def test_what_alertmanager_cannot_do_is_said(tmp_path: Path) -> None:
    text = 'alerts: {webhook: {url: "https://example.org/", template: "{title}: {text}"}}\n'
    made_by = planned(settings_of(tmp_path, text))
    assert receiver(made_by) == {"name": "people"}
    assert "template" in next(untold(made_by))
    assert list(untold(dataclasses.replace(made_by, tell=False))) == []
