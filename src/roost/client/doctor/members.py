"""Judging membership: this home's certificate and keys, the releases that members run, and the machines they are on."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from roost.client.doctor.findings import Finding, Level

SECRET = 0o077
"""The permission bits that nobody but the owner may have on what is secret."""


@dataclass(frozen=True, slots=True)
class IdentitySeen:
    """What is in the home. `paired`: a cluster admitted it. `problem` and `hint` say what is wrong with the identity
    or with the authority, if it is kept here; empty when nothing. `modes` are the permission bits by path."""

    home: str
    paired: bool
    cluster: str = ""
    problem: str = ""
    hint: str = ""
    modes: Mapping[str, int] | None = None


def judge_identity(seen: IdentitySeen) -> Iterator[Finding]:
    """Whether the certificate is the authority's and the key's, and the keys are for this user alone."""
    exposed = {path: mode for path, mode in (seen.modes or {}).items() if mode & SECRET}
    for path, mode in exposed.items():
        text = f"{path} can be read by other users of this machine (mode {mode:04o})"
        yield Finding("certificates", Level.PROBLEM, text, f"chmod go= {shlex.quote(path)}")
    if seen.problem and not exposed:
        yield Finding("certificates", Level.PROBLEM, seen.problem, seen.hint or "roost join, with a code or a token")
    elif not seen.paired:
        text = f"{seen.home} belongs to no cluster yet"
        yield Finding("certificates", Level.NOTE, text, "roost start makes one, roost join joins one")
    elif not exposed:
        text = f"this home's certificate is issued by the authority of {seen.cluster}, and its keys are yours alone"
        yield Finding("certificates", Level.OK, text)


def judge_standing(*, struck_off: bool) -> Iterator[Finding]:
    """Whether this home is still welcome."""
    if struck_off:
        text = "this machine was struck off the cluster: its certificate is revoked"
        yield Finding("certificates", Level.PROBLEM, text, "roost join --home DIR, with a new, empty home")


def judge_releases(own: str, software: Mapping[str, str]) -> Iterator[Finding]:
    """Whether all members that answered (`software` by name) run the release that this command is of."""
    others: dict[str, list[str]] = {}
    for name, told in sorted(software.items()):
        if told != own:
            others.setdefault(told, []).append(name)
    for told, names in sorted(others.items()):
        text = f"{', '.join(names)} run{'s' if len(names) == 1 else ''} {told}, this machine {own}"
        mend = "install the newer of the two on both, then: roost service install (or stop and start it)"
        yield Finding("releases", Level.WARNING, text, mend)
    if software and not others:
        yield Finding("releases", Level.OK, f"all {len(software):,} nodes that answer run {own}")


def judge_spread(machines: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the nodes (`machines` by node name) are on more than one machine."""
    apart = len(set(machines.values()))
    if not machines:
        yield Finding("machines", Level.NOTE, "the cluster has no nodes yet", "roost join, on a machine with a disk")
    elif apart == 1:
        what = f"all {len(machines):,} nodes are" if len(machines) > 1 else "the only node is"
        text = f"{what} on one machine: what is stored does not survive that machine"
        yield Finding("machines", Level.WARNING, text, "roost token create here, roost join TOKEN on another machine")
    else:
        yield Finding("machines", Level.OK, f"{len(machines):,} nodes on {apart:,} machines")
