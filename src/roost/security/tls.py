"""Mutual TLS 1.3 between members, and the one exception to it: a joiner, who has no certificate yet.

Both ends trust the cluster's authority and nothing else: no host names, no system trust store, no session tickets (a
resumed session would skip the look at the certificate).
"""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from roost.core.errors import NotAdmitted, ProtocolError, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.security.authority import fingerprint, node_id_of_certificate
from roost.security.identity import Identity

ALPN = "roost/1"

_NOT_ADMITTED_REASONS = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED",
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""OpenSSL's names for: a certificate was missing or refused, at this end or (an alert) at the other."""

_OTHER_PROGRAM_HINT = "another program may answer at this address, or another release of Roost"


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What the other end of a handshake showed and holds the key of: a certificate (DER), and whose it is."""

    node_id: NodeId
    fingerprint: bytes
    certificate: bytes


def client_context(identity: Identity) -> ssl.SSLContext:
    """For dialling members: shows our certificate, demands one of the same authority."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, identity.authority)
    _show(context, identity)
    return context


def server_context(identity: Identity, *, joiners: bool = False) -> ssl.SSLContext:
    """For being dialled. With `joiners` a peer may also show no certificate at all, and must then be offered nothing
    but admission; one that shows a certificate of another authority is refused either way."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    _trust(context, identity.authority)
    if joiners:
        context.verify_mode = ssl.CERT_OPTIONAL
    _show(context, identity)
    return context


def joiner_context() -> ssl.SSLContext:
    """For a machine that holds a token and no certificate. It verifies nothing by itself: before anything secret is
    sent, the caller must pass the server's certificate through `authority.check_server_of_token`."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE
    return context


def shown_certificate(handshake: ssl.SSLObject | ssl.SSLSocket) -> ShownCertificate | None:
    """Who is at the other end of a finished handshake, or None when it showed no certificate (a joiner).

    With `client_context` and `server_context` the handshake has proved that the authority issued the certificate; with
    `joiner_context` only that the other end holds its key. ProtocolError when the other end does not speak our protocol
    over TLS 1.3, NotAdmitted when the certificate is not of our kind.
    """
    # OpenSSL itself goes on when the two ends agree on no application protocol.
    if handshake.version() != "TLSv1.3" or handshake.selected_alpn_protocol() != ALPN:
        raise ProtocolError(
            f"the other end does not speak {ALPN} over TLS 1.3",
            hint=_OTHER_PROGRAM_HINT,
        )
    certificate = handshake.getpeercert(binary_form=True)
    if certificate is None:
        return None
    return ShownCertificate(node_id_of_certificate(certificate), fingerprint(certificate), certificate)


def refusal_of(error: ssl.SSLError) -> RoostError:
    """What a failed handshake (or the alert that ends a connection right after it) means to a person.

    NotAdmitted when a certificate was missing or refused at either end, else Unreachable.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotAdmitted(
            f"the other machine is not of this cluster: {error.verify_message}",
            hint="it may belong to another cluster; look at its address with roost nodes",
        )
    if error.reason in _NOT_ADMITTED_REASONS:
        return NotAdmitted(
            "a certificate is missing or of another cluster, here or at the other machine",
            hint="join its cluster: roost token create there, roost join TOKEN here",
        )
    return Unreachable(f"no TLS 1.3 with the other end: {error.reason or error}", hint=_OTHER_PROGRAM_HINT)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.set_alpn_protocols([ALPN])
    return context


def _trust(context: ssl.SSLContext, authority_der: bytes) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority_der)


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    pem = identity.key.pem() + ssl.DER_cert_to_PEM_cert(identity.certificate).encode()
    with _private_file(pem) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def _private_file(data: bytes) -> Iterator[str]:
    """A path to `data` for the time of the block, because `ssl` takes keys only from files: in memory on Linux, else a
    file of mode 0600 that is removed at the end."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("roost", os.MFD_CLOEXEC)
        path, remove = f"/proc/self/fd/{descriptor}", False
    else:
        descriptor, path = tempfile.mkstemp(prefix="roost-")
        remove = True
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield path
    finally:
        os.close(descriptor)
        if remove:
            os.unlink(path)
