"""Templates fill text as it is and JSON as JSON, and what cannot be one is refused with a reason."""

import json

import pytest

from roost.core.errors import UsageError
from roost.settings.template import check_header, check_template, check_url, fill_body, headers_of

FIELDS = {
    "title": 'a "quoted" <title>',
    "text": "two\nlines {title} \\ & more",
    "state": "firing",
    "severity": "critical",
    "priority": "5",
    "cluster": "home",
    "machine": "mac",
    "secret": "s3cret",
}


def test_text_is_filled_as_it_is_and_once() -> None:
    body = fill_body("{title}: {text}", FIELDS)
    assert body.data.decode() == 'a "quoted" <title>: two\nlines {title} \\ & more'
    assert body.content_type == "text/plain; charset=utf-8"


def test_json_stays_json_whatever_a_field_holds() -> None:
    template = '{"chat_id": 7, "text": "{title}\\n{text}", "priority": "{priority}", "deep": [{"x": "{secret}"}]}'
    body = fill_body(check_template(template), FIELDS)
    assert json.loads(body.data) == {
        "chat_id": 7,
        "text": f"{FIELDS['title']}\n{FIELDS['text']}",
        "priority": 5,
        "deep": [{"x": "s3cret"}],
    }
    assert body.content_type == "application/json"


def test_named_templates() -> None:
    assert json.loads(fill_body("slack", FIELDS).data)["text"].startswith('*a "quoted" &lt;title&gt;*\ntwo\nlines')
    assert json.loads(fill_body("discord", FIELDS).data)["content"].startswith('**a "quoted" <title>**\n')
    assert json.loads(fill_body("", FIELDS).data)["severity"] == "critical"
    assert fill_body("ntfy", FIELDS).data.decode() == FIELDS["text"]
    assert headers_of("ntfy", (), FIELDS) == {"Title": 'a "quoted" <title>', "Priority": "5"}
    long = json.loads(fill_body("discord", {**FIELDS, "text": "x" * 9000}).data)["content"]
    assert len(long) < 2000


def test_headers_are_filled_and_stay_one_line() -> None:
    headers = headers_of("", ("Authorization: Bearer {secret}", "X-Text: {text}"), FIELDS)
    assert headers == {"Authorization": "Bearer s3cret", "X-Text": "two lines {title} \\ & more"}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('{"text": "{title}",}', "looks like JSON and is none"),
        ('{"text": {title}}', "looks like JSON and is none"),
        ("{titel}", "nothing is known as {titel}"),
        ("telegram", "no template has the name 'telegram'"),
    ],
)
def test_what_is_no_template_is_refused(template: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_template(template)
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("header", ["Title", "Ti tle: x", "Title: ", "X: {nothing}", "X: a\nY: b"])
def test_what_is_no_header_is_refused(header: str) -> None:
    with pytest.raises(UsageError):
        check_header(header)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "https://", "https:/x", "https://u:p@x/", "https://x/{title}", "x", "http://a b"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url)


def test_good_urls_are_taken() -> None:
    for url in ("", "https://ntfy.sh/x", "http://127.0.0.1:80", "https://api.telegram.org/bot{secret}/sendMessage?a=b"):
        assert check_url(url) == url
