"""The transition table, exhaustively: every state, every kind, both senders, seen from both ends."""

from pathlib import Path

import pytest

from roost.wire.connection import Connection, LocalProtocolError, RemoteProtocolError, Role, State
from roost.wire.exchange import CANCELLED, QUIET, TABLE, owes
from roost.wire.frames import Kind
from roost.wire.messages import Get, Ping, Put
from wire_specimens import HELLO, TROUBLE, A, Pair, answer_for, feed, frame, message

# Which state each frame leads to. One row a state; "-" is refused. HELLO and REQUEST (with an id that is in use) are
# refused everywhere. Written by hand, so that the table in the code has to agree with a second opinion.
EXPECTED = """
                    |  client sends                                        |  server sends
state               | DATA       END   CANCEL             | PROCEED          DATA               END   ANSWER             BUSY                ERROR
ASKED               | -          -     ASKED_CANCELLED    | -                -                  -     DONE               ASKED               DONE
OFFERED             | -          -     OFFERED_CANCELLED  | UPLOADING        -                  -     DONE               OFFERED             DONE
UPLOADING           | UPLOADING  ASKED ASKED_CANCELLED    | -                -                  -     ANSWERED           UPLOADING           ANSWERED
ANSWERED            | ANSWERED   DONE  DONE               | -                -                  -     -                  -                   -
FETCHING            | -          -     FETCHING_CANCELLED | -                -                  -     SENDING            FETCHING            DONE
SENDING             | -          -     SENDING_CANCELLED  | -                SENDING            DONE  -                  SENDING             -
ASKED_CANCELLED     | -          -     -                  | -                -                  -     DONE               ASKED_CANCELLED     DONE
OFFERED_CANCELLED   | -          -     -                  | ASKED_CANCELLED  -                  -     DONE               OFFERED_CANCELLED   DONE
FETCHING_CANCELLED  | -          -     -                  | -                -                  -     SENDING_CANCELLED  FETCHING_CANCELLED  DONE
SENDING_CANCELLED   | -          -     -                  | -                SENDING_CANCELLED  DONE  -                  SENDING_CANCELLED   -
DONE                | -          -     DONE               | -                -                  -     -                  -                   -
"""  # noqa: E501

CLIENT_KINDS = (Kind.DATA, Kind.END, Kind.CANCEL)
SERVER_KINDS = (Kind.PROCEED, Kind.DATA, Kind.END, Kind.ANSWER, Kind.BUSY, Kind.ERROR)


def expected() -> dict[tuple[State, Role, Kind], State | None]:
    outcome: dict[tuple[State, Role, Kind], State | None] = {}
    for line in EXPECTED.strip().splitlines()[2:]:
        name, client, server = (cell.split() for cell in line.split("|"))
        for role, known, cells in ((Role.CLIENT, CLIENT_KINDS, client), (Role.SERVER, SERVER_KINDS, server)):
            moves = dict(zip(known, cells, strict=True))
            for kind in Kind:
                cell = moves.get(kind, "-")
                outcome[State[name[0]], role, kind] = None if cell == "-" else State[cell]
    return outcome


OUTCOMES = expected()
CASES = [pytest.param(*case, id=f"{case[0].name}-{case[1].value}-{case[2].name}") for case in OUTCOMES]


def reach(state: State) -> Pair:
    """Two ends whose request 1 is in `state`; two body bytes are left where there is a body."""
    pair = Pair()
    client, server = Role.CLIENT, Role.SERVER
    path = state.name.removesuffix("_CANCELLED")
    if path in ("ASKED", "DONE"):
        pair.ask(Ping())
    elif path in ("OFFERED", "UPLOADING", "ANSWERED"):
        pair.ask(Put(A, 2), body_length=2)
    else:
        pair.ask(Get(A))
    if path in ("UPLOADING", "ANSWERED"):
        pair.say(server, pair.server.proceed(1))
    if path in ("ANSWERED", "DONE"):
        pair.say(server, pair.server.error(1, TROUBLE))
    if path == "SENDING":
        pair.say(server, pair.server.answer(1, answer_for(Get(A)), 6))
        pair.say(server, pair.server.data_header(1, 4) + b"four")
    if state in CANCELLED:
        pair.say(client, pair.client.cancel(1))
    assert pair.client.state(1) is pair.server.state(1) is state
    return pair


def request_of(state: State) -> Ping | Put | Get:
    path = state.name.removesuffix("_CANCELLED")
    return Put(A, 2) if path in ("OFFERED", "UPLOADING", "ANSWERED") else Get(A) if "ING" in path else Ping()


def raw(state: State, kind: Kind) -> bytes:
    """A frame of `kind` for request 1 whose payload is right."""
    match kind:
        case Kind.HELLO:
            return message(kind, 0, HELLO)
        case Kind.REQUEST:
            return message(kind, 1, Ping())
        case Kind.ANSWER:
            return message(kind, 1, answer_for(request_of(state)))
        case Kind.ERROR | Kind.END:
            return message(kind, 1, TROUBLE)
        case Kind.BUSY:
            return frame(kind, 1, bytes(8))
        case Kind.DATA:
            return frame(kind, 1, b"to")
    return frame(kind, 1)


def say(connection: Connection, state: State, kind: Kind) -> bytes:
    """The same frame from the connection's own method."""
    match kind:
        case Kind.HELLO:
            return connection.hello(HELLO)
        case Kind.PROCEED:
            return connection.proceed(1)
        case Kind.DATA:
            return connection.data_header(1, 2) + b"to"
        case Kind.END:
            return connection.end(1, TROUBLE)
        case Kind.ANSWER:
            request = request_of(state)
            return connection.answer(1, answer_for(request), 6 if isinstance(request, Get) else None)
        case Kind.BUSY:
            return connection.busy(1, 0)
        case Kind.CANCEL:
            return connection.cancel(1)
    return connection.error(1, TROUBLE)


@pytest.mark.parametrize(("state", "sender", "kind"), CASES)
def test_a_frame_that_arrives(state: State, sender: Role, kind: Kind) -> None:
    receiver = reach(state).end(sender.peer)
    after = OUTCOMES[state, sender, kind]
    if after is None:
        with pytest.raises(RemoteProtocolError):
            feed(receiver, raw(state, kind))
        with pytest.raises(RemoteProtocolError):
            receiver.next_size()
        return
    events = feed(receiver, raw(state, kind))
    assert len(events) == (0 if state in QUIET else 1)
    assert receiver.state(1) is after
    assert receiver.open_requests == (0 if after is State.DONE else 1)


@pytest.mark.parametrize(("state", "sender", "kind"), CASES)
def test_a_frame_that_is_sent(state: State, sender: Role, kind: Kind) -> None:
    if kind is Kind.REQUEST:
        return
    pair = reach(state)
    connection = pair.end(sender)
    after = OUTCOMES[state, sender, kind]
    over = sender is Role.SERVER and not owes(sender, state)
    given_up = sender is Role.CLIENT and (state is State.DONE or state in CANCELLED)
    if (kind is Kind.ERROR and over) or (kind is Kind.CANCEL and given_up):
        assert say(connection, state, kind) == b""
        assert connection.state(1) is state
    elif kind is Kind.ERROR and OUTCOMES[state, sender, Kind.END] and sender is Role.SERVER:
        assert say(connection, state, kind) == raw(state, Kind.END)
        assert connection.state(1) is State.DONE
    elif after is None:
        with pytest.raises(LocalProtocolError):
            say(connection, state, kind)
        assert connection.state(1) is state
    else:
        data = say(connection, state, kind)
        assert data == raw(state, kind)
        assert connection.state(1) is after
        pair.say(sender, data)
        assert pair.end(sender.peer).state(1) is after


def test_frames_that_cross_lead_both_ends_to_the_same_state() -> None:
    squares = 0
    for state in State:
        for ours, after_ours in TABLE[Role.CLIENT][state].items():
            for theirs, after_theirs in TABLE[Role.SERVER][state].items():
                squares += 1
                one = TABLE[Role.SERVER][after_ours].get(theirs)
                other = TABLE[Role.CLIENT][after_theirs].get(ours)
                assert one is not None, (state, ours, theirs)
                assert one is other, (state, ours, theirs)
    assert squares > 20


def test_whoever_owes_the_end_can_send_it_and_nobody_else_can() -> None:
    last = {Role.CLIENT: {Kind.END}, Role.SERVER: {Kind.ANSWER, Kind.ERROR, Kind.END}}
    for state in State:
        for role in Role:
            assert owes(role, state) is bool(last[role] & set(TABLE[role][state])), (role, state)
        assert (state is State.DONE) is not any(owes(role, state) for role in Role), state


def test_the_document_shows_this_very_table() -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    shown: dict[tuple[State, Role], dict[Kind, State]] = {}
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        name = cells[0].strip("`")
        if name not in State.__members__ or len(cells) != 3:
            continue
        for role, cell in ((Role.CLIENT, cells[1]), (Role.SERVER, cells[2])):
            moves = [move.split("→") for move in cell.split("·")] if cell != "nothing" else []
            shown[State[name], role] = {Kind[kind.strip()]: State[after.strip()] for kind, after in moves}
    assert shown == {(state, role): dict(TABLE[role][state]) for state in State for role in Role}
