"""Who may ask the API: names of this machine on loopback, the token elsewhere, and no page of another site."""

import pytest

from roost.apps.api.guard import COOKIE, refusal

HERE = {"host": "127.0.0.1:7480"}
AWAY = {"host": "192.168.1.5:7480"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7480", "localhost:7480", "[::1]:7480", "127.9.9.9"])
def test_on_loopback_this_machine_may_ask(host: str) -> None:
    assert refusal("GET", {"host": host}, None) is None


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:7480", "192.168.1.5", "localhost.evil.example"])
def test_a_foreign_name_that_leads_here_may_not(host: str) -> None:
    found = refusal("GET", {"host": host}, None)
    assert found is not None
    assert found.status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer other"}, 401),
        ({"authorization": "Basic secret"}, 401),
        ({"authorization": "secret"}, 401),
        ({"cookie": f"{COOKIE}=wrong"}, 401),
        ({"cookie": "other=secret"}, 401),
        ({"authorization": "Bearer secret"}, None),
        ({"authorization": "bearer secret"}, None),
        ({"cookie": f"a=b; {COOKIE}=secret; c=d"}, None),
    ],
)
def test_elsewhere_whoever_has_the_token(headers: dict[str, str], status: int | None) -> None:
    found = refusal("GET", {**AWAY, **headers}, "secret")
    assert (found.status if found else None) == status


def test_a_page_of_another_site_changes_nothing() -> None:
    for origin, status in (("http://127.0.0.1:7480", None), ("http://evil.example", 403), ("null", 403),
                           ("http://127.0.0.1:9999", 403)):  # fmt: skip
        found = refusal("POST", {**HERE, "origin": origin}, None)
        assert (found.status if found else None) == status, origin
    assert refusal("POST", HERE, None) is None, "a program has no origin"
    assert refusal("GET", {**HERE, "origin": "http://evil.example"}, None) is None, "browsers keep the answer from it"
