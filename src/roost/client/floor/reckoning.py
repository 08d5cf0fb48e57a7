"""The reckoning of the floor: from what each step that must be done costs, the least that the whole can take. Pure.

A store must read a file, hash it twice (as a file and as chunks), encode it, and hash what is at rest for its id. Each
copy then goes through TLS, is hashed by who receives it, and is written and fsynced; who passes a copy on reads it and
hashes as it sends. A gather is read and hashed by the node, goes through TLS, is hashed, decoded, hashed as plain bytes
and written. No step is left out and none is counted that a cleverer program could do without.
"""

from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True, slots=True)
class Cost:
    """What a GB of a step costs: the processor's seconds, of all threads together, and those of the clock."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Costs:
    """The steps' costs on one machine. `encode` and `decode` are a GB of plain bytes, `tls` is both ends together."""

    read: Cost
    sha: Cost
    encode: Cost
    decode: Cost
    tls: Cost
    write_objects: Cost
    write_file: Cost


@dataclass(frozen=True, slots=True)
class Floor:
    """The least seconds: the processor's, shared out evenly over `cores`, and the disk's own."""

    cpu_s: float
    disk_s: float
    cores: int

    @property
    def seconds(self) -> float:
        """Neither can be shorter, so it is the longer of the two."""
        return max(self.cpu_s / self.cores, self.disk_s)


def floor_of_store(costs: Costs, *, plain_bytes: int, rest_bytes: int, copies: int, cores: int) -> Floor:
    """Of storing `plain_bytes` that are `rest_bytes` at rest, in `copies` (1 or more), when the sender and all nodes
    share these `cores` and one disk."""
    plain, rest, c = plain_bytes / GB, rest_bytes / GB, costs
    sender = plain * (c.read.cpu_s + 2 * c.sha.cpu_s + c.encode.cpu_s) + rest * c.sha.cpu_s
    receiving = copies * rest * (c.tls.cpu_s + c.sha.cpu_s + c.write_objects.cpu_s)
    passing_on = (copies - 1) * rest * (c.read.cpu_s + c.sha.cpu_s)
    return Floor(sender + receiving + passing_on, copies * rest * c.write_objects.wall_s, cores)


def floor_of_gather(costs: Costs, *, plain_bytes: int, rest_bytes: int, cores: int) -> Floor:
    """Of gathering it, when the nodes' disks need not turn because all is still in the page cache."""
    plain, rest, c = plain_bytes / GB, rest_bytes / GB, costs
    node = rest * (c.read.cpu_s + c.sha.cpu_s + c.tls.cpu_s)
    receiver = rest * c.sha.cpu_s + plain * (c.decode.cpu_s + c.sha.cpu_s + c.write_file.cpu_s)
    return Floor(node + receiver, plain * c.write_file.wall_s, cores)


def sender_bytes_per_s(costs: Costs, *, ratio: float, cores: int) -> float:
    """The plain bytes a second that a sender's processor can encode, hash and send; `ratio` is the bytes at rest for
    each plain byte."""
    each = costs.read.cpu_s + 2 * costs.sha.cpu_s + costs.encode.cpu_s
    return cores * GB / (each + ratio * (costs.sha.cpu_s + costs.tls.cpu_s / 2))


def sealing_bytes_per_s(costs: Costs, *, cores: int) -> float:
    """The bytes a second that one end's processor can encrypt and send when it does nothing else."""
    return cores * GB / (costs.tls.cpu_s / 2)
