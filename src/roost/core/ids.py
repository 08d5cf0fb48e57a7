"""Names of things: digests, node and machine ids, checkpoint names and versions, all validated where they enter."""

import hashlib
import re
import unicodedata
from typing import NewType

from roost.core.errors import UsageError

ObjectId = NewType("ObjectId", bytes)
"""The SHA-256 (32 bytes) of an object's bytes at rest; its hex form is the object's file name on every node."""
RecordId = NewType("RecordId", bytes)
"""The SHA-256 (32 bytes) of a record's bytes at rest."""
NodeId = NewType("NodeId", str)
"""32 lowercase hex digits: the first half of the SHA-256 of the node's raw Ed25519 public key."""
MachineId = NewType("MachineId", str)
"""32 lowercase hex digits naming one physical machine (one thing that can burn down)."""
CheckpointName = NewType("CheckpointName", str)
"""A validated, slash-separated name such as ``qwen-sft/step-1000``."""

DIGEST_BYTES = 32
NAME_BYTES_MAX = 1024
SEGMENT_BYTES_MAX = 255
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_HEX32 = re.compile(r"[0-9a-f]{32}\Z")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,17})-([0-9a-f]{6})\Z")


def object_id(data: bytes | memoryview) -> ObjectId:
    """The id of an object whose bytes at rest are `data`."""
    return ObjectId(hashlib.sha256(data).digest())


def parse_object_id(text: str) -> ObjectId:
    """The object id that 64 lowercase hex digits spell; UsageError for anything else."""
    if not _HEX64.match(text):
        raise UsageError(f"not an object id: {text[:80]!r}", hint="an id is 64 lowercase hexadecimal digits")
    return ObjectId(bytes.fromhex(text))


def parse_node_id(text: str) -> NodeId:
    """The node id that 32 lowercase hex digits spell; UsageError for anything else."""
    if not _HEX32.match(text):
        raise UsageError(f"not a node id: {text[:80]!r}", hint="an id is 32 lowercase hexadecimal digits")
    return NodeId(text)


def node_id_of_key(public_key: bytes) -> NodeId:
    """The id of the node whose raw Ed25519 public key (32 bytes) this is."""
    return NodeId(hashlib.sha256(public_key).hexdigest()[:32])


def parse_checkpoint_name(text: str) -> CheckpointName:
    """`text` in NFC if it can name a checkpoint; UsageError names the first rule it breaks.

    A name is made of non-empty segments joined by ``/``; no segment is ``.`` or ``..`` or holds a control character,
    a backslash or NUL; a segment has at most 255 bytes of UTF-8, the whole name at most 1024.
    """
    name = unicodedata.normalize("NFC", text)
    problem = _name_problem(name)
    if problem:
        raise UsageError(
            f"not a checkpoint name: {text[:80]!r} ({problem})", hint="give one like qwen-sft/step-1000 with --name"
        )
    return CheckpointName(name)


def _name_problem(name: str) -> str:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not name:
        return "it is empty"
    if len(encoded) > NAME_BYTES_MAX:
        return f"it is longer than {NAME_BYTES_MAX} bytes"
    for segment in name.split("/"):
        if segment in ("", ".", ".."):
            return f"the part {segment!r} is not allowed"
        if len(segment.encode()) > SEGMENT_BYTES_MAX:
            return f"a part is longer than {SEGMENT_BYTES_MAX} bytes"
        if "\\" in segment or any(unicodedata.category(c) in ("Cc", "Cs") for c in segment):
            return "it holds a control character or a backslash"
    return ""


def format_version(seq: int, manifest_id: RecordId) -> str:
    """The version's printed form, ``SEQ-xxxxxx``."""
    return f"{seq}-{manifest_id.hex()[:6]}"


def parse_version(text: str) -> tuple[int, str]:
    """``SEQ-xxxxxx`` as (SEQ, the six hex digits); UsageError for anything else."""
    match = _VERSION.match(text)
    if not match:
        raise UsageError(f"not a version: {text[:80]!r}", hint="a version looks like 3-a1b2c3; see: roost ls")
    return int(match[1]), match[2]


def split_reference(text: str) -> tuple[CheckpointName, str | None]:
    """``NAME`` or ``NAME@VERSION`` as (name, version or None). Only a well-formed version after the last ``@`` counts
    as one, so names may hold ``@``."""
    head, at, tail = text.rpartition("@")
    if at and _VERSION.match(tail):
        return parse_checkpoint_name(head), tail
    return parse_checkpoint_name(text), None
