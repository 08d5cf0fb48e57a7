"""Whether lines of JSON are what a command says that it prints: by its own schema, read strictly, and its exit code."""

from collections.abc import Sequence
from typing import Any

from jsonschema import Draft202012Validator

from roost.apps.cli import schema


def strict(command: str) -> dict[str, Any]:
    """The schema of a command's lines that allows no field which it does not name."""
    told = schema.schema_of(command)
    for definition in told["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    result = [each for each in told["oneOf"] if "allOf" in each]
    for each in result:  # `type` stands beside the fields of the struct
        told["$defs"][each["allOf"][1]["$ref"].rpartition("/")[2]]["properties"]["type"] = {"const": "result"}
    return told


def check(command: str, lines: Sequence[dict[str, Any]], code: int) -> None:
    """Any number of progress lines and then one result or error, each as the schema has it, with the exit code that
    goes with it. AssertionError says what is not."""
    validator = Draft202012Validator(strict(command))
    for line in lines:
        problems = [
            error.message
            for broad in validator.iter_errors(line)
            for error in (broad.context or [broad])
        ]  # fmt: skip
        assert not problems, f"roost {command} printed {line}: {problems}"
    *before, last = lines
    assert [line["type"] for line in before] == ["progress"] * len(before)
    assert code in schema.EXIT_CODES, f"roost {command} ended with {code}, which no page tells of"
    if last["type"] == "error":
        assert schema.CODES[last["code"]] == code, last
        assert code != schema.DONE
    else:
        assert last["type"] == "result"
        assert code in schema.OF_RESULTS, f"roost {command} ended with {code} and a result"
