"""Judging the network: who is seen by multicast and broadcast, who answers when dialled, and who reaches this machine.

What was tested each finding says: no machine can see from here what a firewall elsewhere would let in.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from roost.client.discovering import Surroundings
from roost.client.doctor.findings import Finding, Level
from roost.cluster.discovery.sightings import Way
from roost.core.cluster import NodeState

YOUNG_S = 30.0
"""A node that runs for less may not have been dialled by all others yet."""
HERE = (NodeState.ALIVE, NodeState.DRAINING)
NO_ROUTE = os.strerror(errno.EHOSTUNREACH)
ALLOW_MAC = (
    "System Settings, Privacy & Security, Local Network: allow the terminal (or python) that runs roost, and start it "
    "again"
)
SPOKEN = {Way.MDNS: "multicast", Way.BROADCAST: "broadcast"}


@dataclass(frozen=True, slots=True)
class Dialled:
    """A member that this machine dialled. `problem` is why it did not answer, or empty; `elsewhere`: its machine is
    another one."""

    name: str
    address: str
    elsewhere: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the member `by`, on another machine, says of the node of this home: how it stands, and the address at which
    it answered when that member dialled it last; empty when it never did."""

    by: str
    state: str
    address: str


@dataclass(frozen=True, slots=True)
class Serving:
    """The process that serves this home: its address, for how long it runs (None when that is not known), and why it
    did not answer when it was dialled from here; empty when it did."""

    address: str
    running_s: float | None
    problem: str = ""


def judge_discovery(around: Surroundings, *, loopback: bool, platform: str) -> Iterator[Finding]:
    """What multicast and broadcast show of other machines. `around` tells too what came of dialling members there;
    `loopback`: this home listens there alone."""
    if loopback:
        text = "node.listen is a loopback address: nobody else is sought, and nobody else can reach this home"
        yield Finding("discovery", Level.NOTE, text, 'for several machines set node: {listen: "0.0.0.0:7400"}')
        return
    working = []
    for state in around.ways:
        name = SPOKEN[state.way]
        if not state.on:
            yield Finding(name, Level.NOTE, f"{name} is switched off", f"set discovery: {{{state.way}: true}}")
        elif state.problem:
            yield Finding(name, Level.WARNING, state.problem, _mend_way(state.problem, state.hint, platform))
        else:
            working.append(state.way)
    if working:
        yield from _seen(around, working)


def _mend_way(problem: str, hint: str, platform: str) -> str:
    if NO_ROUTE in problem and platform == "darwin":
        return ALLOW_MAC
    if "on no network" in problem:
        return "connect a cable or join a Wi-Fi; then see: ip address (on a Mac: ifconfig)"
    if os.strerror(errno.EADDRINUSE) in problem:
        return "see which program has UDP port 7400, and end it: sudo lsof -nP -iUDP:7400"
    return hint if hint and "roost doctor" not in hint else "see: roost discover --explain"


def _seen(around: Surroundings, working: Sequence[Way]) -> Iterator[Finding]:
    by = dict.fromkeys(working, 0)
    for node in around.nodes:
        # Who is on this machine is heard whatever the network does.
        seen = {way for address, ways in node.addresses.items() if address.host not in around.here for way in ways}
        by.update({way: by[way] + (way in seen) for way in working})
    if not any(by.values()):
        yield _nobody(around)
        return
    for way, count in by.items():
        name = SPOKEN[way]
        if count:
            yield Finding(name, Level.OK, f"shows {count:,} on other machines")
        else:
            other = SPOKEN[next(way for way, count in by.items() if count)]
            text = f"{name} shows nobody: this network keeps it back; {other} works instead"
            mend = "nothing need be done; on an access point of your own: IGMP snooping and multicast filters off"
            yield Finding(name, Level.NOTE, text, mend)


def _nobody(around: Surroundings) -> Finding:
    known = [str(tried.address) for tried in around.tried if not tried.problem]
    if known:
        mend = f"on every machine set discovery: {{peers: [{', '.join(known[:4])}]}}"
        return Finding("discovery", Level.WARNING, around.verdict(), mend)
    if around.tried:
        text = f"{around.verdict()}; no member elsewhere answers either"
        mend = "on the other machines: roost service status, and roost doctor"
        return Finding("discovery", Level.WARNING, text, mend)
    return Finding("discovery", Level.NOTE, around.verdict(), "roost start here, or on another machine of this network")


def judge_dialled(dialled: Sequence[Dialled], *, platform: str) -> Iterator[Finding]:
    """Whether the members answer when this machine dials them."""
    failed = [one for one in dialled if one.problem]
    if platform == "darwin" and any(NO_ROUTE in one.problem for one in failed):
        text = f"macOS keeps this program from the local network ({NO_ROUTE}: {failed[0].address})"
        yield Finding("local-network", Level.PROBLEM, text, ALLOW_MAC)
    for one in failed:
        where = f" at {one.address}" if one.address and one.address not in one.problem else ""
        mend = f"on {one.name}: roost service status, or roost join; if it runs there: {_open(one.address, '')}"
        yield Finding("unicast", Level.WARNING, f"{one.name}{where} does not answer: {one.problem}", mend)
    if dialled and not failed:
        elsewhere = sum(one.elsewhere for one in dialled)
        text = f"all {len(dialled):,} members answer when dialled from here ({elsewhere:,} on other machines)"
        yield Finding("unicast", Level.OK, text)


def judge_served(serving: Serving | None, heard: Sequence[Heard], *, platform: str, node: bool) -> Iterator[Finding]:
    """Whether this home's own port answers from here, and others say that they reached it. `node`: this home keeps
    copies; the others are told by those of other machines (`heard`)."""
    if serving is None:
        if node:
            text = "nothing serves this home now, so nobody was asked whether it can be reached"
            yield Finding("ports", Level.NOTE, text, "roost join, then roost doctor again")
        return
    if serving.problem:
        text = f"this home is served at {serving.address}, which does not answer from here: {serving.problem}"
        yield Finding("ports", Level.PROBLEM, text, f"stop it and start it again; {_open(serving.address, platform)}")
        return
    never = [one.by for one in heard if not one.address or one.state not in HERE]
    if never and serving.running_s is not None and serving.running_s < YOUNG_S:
        text = f"{', '.join(never)} did not dial this node yet: it has been running for {serving.running_s:.0f} s"
        yield Finding("ports", Level.NOTE, text, "roost doctor, in a minute")
    elif never:
        text = f"{', '.join(never)} cannot dial this node at {serving.address}, as their heartbeats tell; from here "
        text += "they are reached: a firewall on this machine, or an address that leads elsewhere"
        yield Finding("ports", Level.WARNING, text, _open(serving.address, platform))
    elif heard:
        told = "; ".join(f"{one.by} at {one.address}" for one in heard[:4])
        yield Finding("ports", Level.OK, f"both ways: others dialled this node, as their heartbeats tell ({told})")
    else:
        yield Finding("ports", Level.OK, f"{serving.address} answers from here; nobody elsewhere tells of dialling it")


def _open(address: str, platform: str) -> str:
    port = address.rpartition(":")[2] or "7400"
    if platform == "darwin":
        return "System Settings, Network, Firewall, Options: allow incoming connections for python"
    return f"open its port: sudo ufw allow {port}/tcp (or: sudo firewall-cmd --add-port={port}/tcp)"
