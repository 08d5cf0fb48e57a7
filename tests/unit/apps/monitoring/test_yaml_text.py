"""The YAML that is written: it reads back as what was meant, whatever the texts hold."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from roost.apps.monitoring.yaml_text import quoted, tree

TEXTS = some.text(some.characters(exclude_categories=["Cs"]))
KEYS = some.text("abcdefghijklm_", min_size=4, max_size=9).map("k{}".format)
VALUES = some.recursive(
    TEXTS | some.integers() | some.booleans() | some.none(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(KEYS, inner, max_size=4),
)


@given(TEXTS)
def test_a_text_reads_back_as_itself(text: str) -> None:
    assert yaml.safe_load(f"a: {quoted(text)}\nb: 1") == {"a": text, "b": 1}


@given(some.dictionaries(KEYS, VALUES, min_size=1))
def test_a_tree_reads_back_as_itself(value: dict[str, Any]) -> None:
    assert yaml.safe_load(tree(value)) == value


@pytest.mark.parametrize("text", ["on", "1", "it's", 'say "no"', "a: b", "# no", "{{ $value }}", "a\nb", "", " a "])
def test_what_yaml_would_take_for_something_else_stays_a_text(text: str) -> None:
    assert yaml.safe_load(tree({"it": text, "all": [text]})) == {"it": text, "all": [text]}
