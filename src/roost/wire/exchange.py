"""One request and everything said about it, as a table: from each state, which frame may come from whom, and what then.

The theory
==========
A connection carries many *exchanges*, one a request, each under its own id. An exchange has two halves. The client's
half is the REQUEST and, if that announced a body and the server said PROCEED, the body: DATA frames and one END. The
server's half is PROCEED (at most once), BUSY (any number, until its last frame), and in the end exactly one ANSWER or
ERROR; if the answer has a body, its DATA frames and one END follow. No request has a body both ways. Hence the states:

    ASKED       the answer is owed, and no body is left to send
    OFFERED     a body was announced; the server has neither asked for it nor answered
    UPLOADING   the server asked; the client owes the body and its END
    ANSWERED    the server's half is over while the client still owes the END of its body
    FETCHING    an answer with a body is owed
    SENDING     the answer is out; the server owes its body and END
    X_CANCELLED (ASKED, OFFERED, FETCHING or SENDING) the client's half ended with CANCEL; the server still owes its own
    DONE        both halves are over: neither side remembers the exchange

**Who owes what.** Once the REQUEST is out, the server owes the exchange its last frame, whatever happens; a CANCEL does
not release it, it merely lets it stop early. Once PROCEED was said, the client owes END or CANCEL, whatever happens; an
early answer does not release it, it merely lets it stop early. A body that stops early ends with END all the same, and
its length no longer matters, since nobody listens (the *quiet* states). So each half ends with a frame that the other
side can wait for, and each end forgets an id when both last frames have passed there.

**Races.** The ends see the same frames, but frames that cross are seen in different orders. The table is built so that
the order does not matter. For every state s, client's frame c and server's frame v that are both allowed in s: v is
allowed after c, c is allowed after v, and both orders lead to the same state (a test walks every such square). As each
direction keeps its order, two things hold for any interleaving:
  * a frame that was allowed when it was sent is allowed when it arrives;
  * when nothing is in flight, both ends are in the same state.
So a driver needs no case for a race: what it may say depends only on what it has said itself. The squares by name:
  * *Early answer or error.* In UPLOADING the server may answer without waiting for END -> ANSWERED. DATA and END that
    were under way are dropped, at most what was announced. The client stops when it sees the answer and sends END; if
    it had sent END already, it owes nothing and the exchange is DONE.
  * *CANCEL crosses the answer.* The client drops the answer (and its body, to its END). The server gets a CANCEL for an
    exchange that it has forgotten, and drops it: ids count up, so "forgotten" is "not above the last, and not open".
  * *CANCEL crosses PROCEED.* OFFERED_CANCELLED allows the PROCEED that was under way; nothing follows from it.
  * *CANCEL while an answer's body streams.* SENDING_CANCELLED: the server may stop at any slice, and says END.
  * *END crosses an early error.* Either order is DONE.

**Bounded memory.** Ids start at 1 and count up by one, so a used id can never come again, and a forgotten one costs
nothing. At most `REQUESTS_MAX` exchanges are open at each end. The server cannot be over the limit when the client is
not: whatever it still remembers when a REQUEST arrives, the client still remembered when it sent that REQUEST.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from roost.wire.frames import Kind

REQUESTS_MAX = 64
"""Open exchanges on one connection."""
REQUESTS_MAX_UNADMITTED = 1
"""The same while the client has no certificate: it can do nothing but join."""


class Role(enum.Enum):
    """Which end of a connection: the client dialled and asks, the server accepted and answers. It never changes."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def peer(self) -> "Role":
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class State(enum.Enum):
    """Where an exchange stands; see the theory above."""

    ASKED = "asked"
    OFFERED = "offered"
    UPLOADING = "uploading"
    ANSWERED = "answered"
    FETCHING = "fetching"
    SENDING = "sending"
    ASKED_CANCELLED = "asked, cancelled"
    OFFERED_CANCELLED = "offered, cancelled"
    FETCHING_CANCELLED = "fetching, cancelled"
    SENDING_CANCELLED = "sending, cancelled"
    DONE = "done"


_Moves = Mapping[Kind, State]

_ROWS: dict[State, tuple[_Moves, _Moves]] = {
    # state: (what the client may send -> next), (what the server may send -> next)
    State.ASKED: (
        {Kind.CANCEL: State.ASKED_CANCELLED},
        {Kind.BUSY: State.ASKED, Kind.ANSWER: State.DONE, Kind.ERROR: State.DONE},
    ),
    State.OFFERED: (
        {Kind.CANCEL: State.OFFERED_CANCELLED},
        {Kind.BUSY: State.OFFERED, Kind.PROCEED: State.UPLOADING, Kind.ANSWER: State.DONE, Kind.ERROR: State.DONE},
    ),
    State.UPLOADING: (
        {Kind.DATA: State.UPLOADING, Kind.END: State.ASKED, Kind.CANCEL: State.ASKED_CANCELLED},
        {Kind.BUSY: State.UPLOADING, Kind.ANSWER: State.ANSWERED, Kind.ERROR: State.ANSWERED},
    ),
    State.ANSWERED: (
        {Kind.DATA: State.ANSWERED, Kind.END: State.DONE, Kind.CANCEL: State.DONE},
        {},
    ),
    State.FETCHING: (
        {Kind.CANCEL: State.FETCHING_CANCELLED},
        {Kind.BUSY: State.FETCHING, Kind.ANSWER: State.SENDING, Kind.ERROR: State.DONE},
    ),
    State.SENDING: (
        {Kind.CANCEL: State.SENDING_CANCELLED},
        {Kind.BUSY: State.SENDING, Kind.DATA: State.SENDING, Kind.END: State.DONE},
    ),
    State.ASKED_CANCELLED: (
        {},
        {Kind.BUSY: State.ASKED_CANCELLED, Kind.ANSWER: State.DONE, Kind.ERROR: State.DONE},
    ),
    State.OFFERED_CANCELLED: (
        {},
        {
            Kind.BUSY: State.OFFERED_CANCELLED,
            Kind.PROCEED: State.ASKED_CANCELLED,
            Kind.ANSWER: State.DONE,
            Kind.ERROR: State.DONE,
        },
    ),
    State.FETCHING_CANCELLED: (
        {},
        {Kind.BUSY: State.FETCHING_CANCELLED, Kind.ANSWER: State.SENDING_CANCELLED, Kind.ERROR: State.DONE},
    ),
    State.SENDING_CANCELLED: (
        {},
        {Kind.BUSY: State.SENDING_CANCELLED, Kind.DATA: State.SENDING_CANCELLED, Kind.END: State.DONE},
    ),
    State.DONE: (
        {Kind.CANCEL: State.DONE},
        {},
    ),
}

TABLE: Mapping[Role, Mapping[State, _Moves]] = MappingProxyType({
    Role.CLIENT: {state: moves[0] for state, moves in _ROWS.items()},
    Role.SERVER: {state: moves[1] for state, moves in _ROWS.items()},
})  # fmt: skip
"""By sender and state: the kinds of frame that this sender may send, and the state that each leads to, at both ends."""

QUIET = frozenset({
    State.ANSWERED, State.ASKED_CANCELLED, State.OFFERED_CANCELLED, State.FETCHING_CANCELLED, State.SENDING_CANCELLED,
    State.DONE,
})  # fmt: skip
"""Where the receiver has lost interest: what arrives is checked and dropped, and a body may end short."""

CANCELLED = frozenset({
    State.ASKED_CANCELLED, State.OFFERED_CANCELLED, State.FETCHING_CANCELLED, State.SENDING_CANCELLED,
})  # fmt: skip
"""Where the client has sent CANCEL and the server still owes its last frame."""


def owes(sender: Role, state: State) -> bool:
    """Whether `sender` must still send its last frame: the server until it has; the client while a body was asked for
    and neither ended nor cancelled."""
    if sender is Role.CLIENT:
        return state in (State.UPLOADING, State.ANSWERED)
    return state not in (State.ANSWERED, State.DONE)
