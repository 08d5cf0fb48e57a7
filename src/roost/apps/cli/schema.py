"""The JSON that every command prints, as JSON Schemas made from the types of the results."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from roost.apps.cli import results, results_here, results_watching
from roost.apps.cli.commands import COMMANDS, Command
from roost.apps.cli.failure import EXIT_INTERRUPTED
from roost.apps.cli.meter import Reading
from roost.client import results as client
from roost.core.errors import BY_CODE, Endangers

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

RESULTS: Mapping[str, tuple[type, ...]] = {
    "start": (results.Stopped,),
    "join": (results.Stopped, results.Paired),
    "token create": (results.TokenCreated,),
    "token revoke": (results.TokensRevoked,),
    "service install": (results.ServiceInstalled, results.ServicePlan),
    "service uninstall": (results.ServicesRemoved,),
    "service status": (results.Services,),
    "service logs": (results.ServiceLogs,),
    "recover": (results.Recovered, results.NewCode),
    "store": (client.StoreResult,),
    "watch": (results.Stopped,),
    "gather": (client.GatherResult,),
    "ls": (client.Listing,),
    "show": (client.Shown,),
    "verify": (results.Verified,),
    "repair": (results.Repaired,),
    "scrub": (results.Scrubbed,),
    "rm": (results.Removed,),
    "undelete": (client.UndeleteResult,),
    "export": (results.Exported,),
    "import": (results.Imported,),
    "nodes": (results.Nodes,),
    "nodes drain": (results.Drained,),
    "nodes forget": (results.Forgotten,),
    "discover": (results_here.Discovered,),
    "doctor": (results_here.Examined,),
    "status": (results.Status,),
    "alerts": (results_watching.AlertsShown,),
    "alerts test": (results_watching.AlertsTried,),
    "monitoring export": (results_watching.MonitoringExported,),
    "top": (),
    "config show": (results_here.Configured,),
    "demo": (results_here.Demonstrated,),
    "bench": (results_here.Measured,),
    "bench repair": (results_here.Measured,),
}
"""By the command's words, the types that its result may have. `roost top` refuses ``--json``."""

DONE = 0
OF_RESULTS = (DONE, 1, 3, 5, 8)
"""The exit codes that may come with a result; 1, 5 and 8 where it was done and what it found is bad."""
EXIT_CODES: Mapping[int, tuple[str, str]] = {
    0: ("done", "done"),
    1: ("failed", "failed"),
    2: ("usage", "the command or an argument is wrong"),
    3: ("degraded", "done, but there are fewer copies than asked, or there is something to mend"),
    4: ("not-found", "no such checkpoint, version, file or node"),
    5: ("integrity", "damaged, or lost"),
    6: ("unreachable", "the cluster, or too many of it, cannot be reached"),
    7: ("not-admitted", "this machine is no member, or is refused"),
    8: ("no-space", "no space"),
    9: ("busy", "another process holds what is needed"),
    EXIT_INTERRUPTED: ("interrupted", "interrupted"),
}
"""Each exit code, its name, and what it means."""
CODES: Mapping[str, int] = {
    **{code: error.exit_code for code, error in BY_CODE.items()},
    Endangers.code: Endangers.exit_code,
    "interrupted": EXIT_INTERRUPTED,
    "bug": 1,
}
"""Each `code` that an error may have, and the exit code that goes with it."""


def commands() -> Iterator[str]:
    """The words of every command, in the order of help."""
    for name, entry in COMMANDS.items():
        if isinstance(entry, Command):
            yield name
            continue
        if entry.alone is not None:
            yield name
        yield from (f"{name} {member}" for member in entry.members)


def components(types: tuple[type, ...], *, at: str = "#/$defs/{name}") -> tuple[list[Schema], Schema]:
    """A schema for each type, and those that they refer to, by name; `at` is where these are put."""
    found, others = msgspec.json.schema_components(types, ref_template=at)
    return list(found), {name: _as_told(schema) for name, schema in others.items()}


def _as_told(schema: Schema) -> Schema:
    """A schema of what is written, where that of msgspec is of what may be read: a field that has a default is always
    there, unless that is to be left out."""
    fields = schema.get("properties", {})
    there = [name for name, field in fields.items() if name in schema["required"] or "default" in field]
    told = {name: {key: part for key, part in field.items() if key != "default"} for name, field in fields.items()}
    return {**schema, "properties": told, "required": there} if fields else schema


def schema_of(command: str) -> Schema:
    """The schema of one line of what `command` prints: progress, a result, or an error."""
    found, others = components(RESULTS[command])
    kinds = [progress_schema(), *({"allOf": [_typed("result"), each]} for each in found), error_schema()]
    return {"$schema": DIALECT, "title": f"roost {command} --json", "oneOf": kinds, "$defs": others}


def _typed(kind: str) -> Schema:
    return {"type": "object", "properties": {"type": {"const": kind}}, "required": ["type"]}


def progress_schema() -> Schema:
    """Of a progress line: `event` says which; those of the event ``progress`` have what a meter reads, all others a
    `text` or a name."""
    _, others = components((Reading,))
    reading = others["Reading"]
    moved = {"if": {"properties": {"event": {"const": "progress"}}}, "then": {**reading, "title": "progress"}}
    line = _typed("progress")
    line["properties"]["event"] = {"type": "string"}
    return {**line, "required": ["type", "event"], **moved}


def error_schema() -> Schema:
    """Of an error: what, what to do next, and a `code` of which the exit code follows."""
    line = _typed("error")
    line["properties"] |= {
        "code": {"enum": sorted(CODES)},
        "message": {"type": "string", "minLength": 1},
        "hint": {"type": "string"},
        "bytes_missing": {"type": "integer"},
        "checkpoints": {"type": "array", "items": {"type": "string"}},
    }
    return {**line, "required": ["type", "code", "message", "hint"], "additionalProperties": False}


def main(wanted: list[str]) -> None:
    """Print the schemas of some commands, each named by its words, or of all, as one JSON object."""
    told = {command: schema_of(command) for command in wanted or commands()}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
