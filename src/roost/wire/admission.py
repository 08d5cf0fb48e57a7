"""What a peer without a certificate may ask, to get one, and what it is answered; as in `roost.wire.messages`."""

from typing import Annotated

import msgspec

from roost.wire.fields import Answer, Digest, Request, Text


class Join(Request, tag="join", frozen=True):
    """Admit me: the token's secret and a PKCS #10 request (DER) that proves my key."""

    secret: Annotated[bytes, msgspec.Meta(max_length=64)]
    request: Annotated[bytes, msgspec.Meta(max_length=2048)]


class Admitted(Answer, tag="admitted", frozen=True):
    """My certificate under the cluster's authority; the member records follow by record exchange."""

    certificate: Annotated[bytes, msgspec.Meta(max_length=4096)]
    cluster_name: Text


class Pair(Request, tag="pair", frozen=True):
    """I know the join code that you show: the first message of SPAKE2."""

    message: Annotated[bytes, msgspec.Meta(max_length=64)]


class Paired(Answer, tag="paired", frozen=True):
    """The second message of SPAKE2, and the id under which the proof is expected."""

    message: Annotated[bytes, msgspec.Meta(max_length=64)]
    attempt: Annotated[bytes, msgspec.Meta(max_length=32)]


class Prove(Request, tag="prove", frozen=True):
    """Admit me: the proof that we came to one key, and a PKCS #10 request (DER) that proves my own."""

    attempt: Annotated[bytes, msgspec.Meta(max_length=32)]
    proof: Digest
    request: Annotated[bytes, msgspec.Meta(max_length=2048)]


class Proved(Answer, tag="proved", frozen=True):
    """My certificate under the cluster's authority, and the proof that it comes from who knows the join code."""

    certificate: Annotated[bytes, msgspec.Meta(max_length=4096)]
    cluster_name: Text
    proof: Digest


class Recover(Request, tag="recover", frozen=True):
    """Give me the sealed authority: `proof` shows that I hold the recovery code."""

    proof: Digest


class Sealed(Answer, tag="sealed", frozen=True):
    """The sealed authority's record."""

    record: Annotated[bytes, msgspec.Meta(max_length=8192)]


STRANGERS_MAY_ASK: tuple[type[Request], ...] = (Join, Recover, Pair, Prove)
"""The whole of it."""
