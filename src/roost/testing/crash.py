"""Every state that a power cut may leave of a `Medium`: counted, enumerated, or drawn. The model is described there.

A state is chosen in two steps: first which change of each unsynced name reached the disk, then, for each file that
still has a name, which size and which version of each unsynced block.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from roost.disk.port import FileKind
from roost.testing.medium import Change, Inode, Medium, Name


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of one inode: its bytes (a file's), mode and time."""

    data: bytes
    mode: int
    mtime_ns: int


Choice = Mapping[Name, int]
"""Per unsynced name, the index of the change that reached the disk; 0 is the one that was durable."""


def states_of(medium: Medium, *, states_max: int) -> Iterator[Medium]:
    """All states, each once. ValueError, before the first, when there are more than `states_max`: half an enumeration
    would look like a proof."""
    choices = _distinct_choices(medium, states_max)
    total = sum(math.prod(count_remains(inode, medium.block_bytes) for inode in _kept(medium, c)) for c in choices)
    if total > states_max:
        raise ValueError(
            f"a power cut may leave {total} states, more than the {states_max} allowed: "
            "write less before a sync, use larger blocks, or allow more"
        )
    return _states(medium, choices)


def state_drawn(medium: Medium, chance: random.Random) -> Medium:
    """One state. A quarter of the draws lose all that was not synced, a quarter lose nothing; the rest mix."""
    pick = _picker(chance)
    choice = {name: pick(len(name.changes)) for name in _unsynced_names(medium)}
    for name, index in list(choice.items()):
        _complete(choice, name, index)
    pick = _picker(chance)
    remains = {inode: _draw_remains(inode, medium.block_bytes, pick) for inode in _kept(medium, choice)}
    return _built(medium, choice, remains)


def durable_bytes(medium: Medium, path: str) -> bytes | None:
    """What the file `path` would hold if a power cut lost all that was not synced; None when it would not be there."""
    inode: Inode | None = medium.root
    for part in path.split("/"):
        name = inode.names.get(part) if inode is not None else None
        inode = name.changes[0].inode if name is not None else None
    if inode is None or inode.kind is not FileKind.FILE:
        return None
    size = _sizes(inode)[0]
    return b"".join(versions[0] for versions in _versions_of_blocks(inode, size, medium.block_bytes))


def remains_of(inode: Inode, block_bytes: int) -> list[Remains]:
    """All that may be left of the inode, distinct in bytes and attributes."""
    attributes = _attributes(inode)
    datas = [
        b"".join(blocks)
        for size in _sizes(inode)
        for blocks in itertools.product(*_versions_of_blocks(inode, size, block_bytes))
    ]
    return [Remains(data, mode, mtime_ns) for data in datas for mode, mtime_ns in attributes]


def count_remains(inode: Inode, block_bytes: int) -> int:
    """How many `remains_of` would return, without making them."""
    if not inode.older_blocks and not inode.older_sizes:
        return len(_attributes(inode))
    contents = sum(
        math.prod(len(versions) for versions in _versions_of_blocks(inode, size, block_bytes)) for size in _sizes(inode)
    )
    return contents * len(_attributes(inode))


def _states(medium: Medium, choices: list[Choice]) -> Iterator[Medium]:
    for choice in choices:
        kept = _kept(medium, choice)
        for remains in itertools.product(*(remains_of(inode, medium.block_bytes) for inode in kept)):
            yield _built(medium, choice, dict(zip(kept, remains, strict=True)))


def _distinct_choices(medium: Medium, choices_max: int) -> list[Choice]:
    """The choices of names that the model allows, one for each tree they lead to."""
    names = _unsynced_names(medium)
    if (total := math.prod(len(name.changes) for name in names)) > choices_max:
        raise ValueError(f"unsynced names alone may combine in {total} ways, more than the {choices_max} allowed")
    found: dict[frozenset[tuple[int, str, int]], Choice] = {}
    for indices in itertools.product(*(range(len(name.changes)) for name in names)):
        choice = dict(zip(names, indices, strict=True))
        if all(_holds(choice, name, index) for name, index in choice.items()):
            tree = frozenset((d.number, n, i.number) for d, n, i in _links(medium.root, choice))
            found.setdefault(tree, choice)
    return list(found.values())


def _holds(choice: Choice, name: Name, index: int) -> bool:
    return all(
        choice[required.name] >= required.name.changes.index(required)
        for change in name.changes[1 : index + 1]
        for required in _open_requirements(change)
    )


def _complete(choice: dict[Name, int], name: Name, index: int) -> None:
    """Raise the choices of other names until all that `name` at `index` requires has happened."""
    waiting = list(name.changes[1 : index + 1])
    while waiting:
        for required in _open_requirements(waiting.pop()):
            wanted = required.name.changes.index(required)
            if choice[required.name] < wanted:
                waiting.extend(required.name.changes[choice[required.name] + 1 : wanted + 1])
                choice[required.name] = wanted


def _open_requirements(change: Change) -> list[Change]:
    return [required for required in change.requires if required in required.name.changes[1:]]


def _unsynced_names(medium: Medium) -> list[Name]:
    """The names with more than one possible value, in every directory that some state can reach or that such a name's
    requirements lead to."""
    found: dict[Name, None] = {}
    seen = {medium.root}
    waiting = [medium.root]
    while waiting:
        for name in waiting.pop().names.values():
            _add_with_requirements(found, name)
            for change in name.changes:
                inode = change.inode
                if inode is not None and inode.kind is FileKind.DIRECTORY and inode not in seen:
                    seen.add(inode)
                    waiting.append(inode)
    return list(found)


def _add_with_requirements(found: dict[Name, None], name: Name) -> None:
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if len(name.changes) > 1 and name not in found:
            found[name] = None
            waiting.extend(required.name for change in name.changes for required in _open_requirements(change))


def _links(root: Inode, choice: Choice) -> Iterator[tuple[Inode, str, Inode]]:
    """Each (directory, name, inode) of the tree that the choice leads to. A file may come under two names."""
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        for text, name in directory.names.items():
            inode = name.changes[choice.get(name, 0)].inode
            if inode is not None:
                yield directory, text, inode
                if inode.kind is FileKind.DIRECTORY:
                    waiting.append(inode)


def _kept(medium: Medium, choice: Choice) -> list[Inode]:
    """The root and the inodes that have a name, each once."""
    return list(dict.fromkeys([medium.root, *(inode for _, _, inode in _links(medium.root, choice))]))


def _attributes(inode: Inode) -> list[tuple[int, int]]:
    now = (inode.mode, inode.mtime_ns)
    return [now] if inode.older_attributes in (None, now) else [inode.older_attributes, now]


def _sizes(inode: Inode) -> list[int]:
    return list(dict.fromkeys([*inode.older_sizes, len(inode.data)]))


def _versions_of_blocks(inode: Inode, size: int, block_bytes: int) -> Iterator[list[bytes]]:
    """Per block of the file at `size` bytes, the distinct contents it may have."""
    for block, begin in enumerate(range(0, size, block_bytes)):
        width = min(block_bytes, size - begin)
        contents = [*inode.older_blocks.get(block, ()), bytes(inode.data[begin : begin + block_bytes])]
        yield list(dict.fromkeys(content[:width].ljust(width, b"\0") for content in contents))


def _draw_remains(inode: Inode, block_bytes: int, pick: Callable[[int], int]) -> Remains:
    sizes, attributes = _sizes(inode), _attributes(inode)
    size = sizes[pick(len(sizes))]
    blocks = [versions[pick(len(versions))] for versions in _versions_of_blocks(inode, size, block_bytes)]
    mode, mtime_ns = attributes[pick(len(attributes))]
    return Remains(b"".join(blocks), mode, mtime_ns)


def _picker(chance: random.Random) -> Callable[[int], int]:
    """How to pick one of n versions, oldest first: always the oldest, always the newest, or any."""
    style = chance.randrange(4)
    if style == 0:
        return lambda count: 0
    if style == 1:
        return lambda count: count - 1
    return chance.randrange


def _built(medium: Medium, choice: Choice, remains: Mapping[Inode, Remains]) -> Medium:
    """A new medium, everything on it durable."""
    built = medium.successor()
    copies: dict[Inode, Inode] = {medium.root: built.root}
    for inode, left in remains.items():
        copy = copies.get(inode) or built.new_inode(inode.kind, left.mode, target=inode.target)
        copy.number, copy.mode, copy.mtime_ns = inode.number, left.mode, left.mtime_ns
        copy.data, copy.harmed = bytearray(left.data), inode.harmed
        copies[inode] = copy
    for directory, text, inode in _links(medium.root, choice):
        mtime_ns = copies[directory].mtime_ns
        built.set_name(copies[directory], text, copies[inode])
        copies[directory].mtime_ns = mtime_ns
    for inode in copies.values():
        if inode.kind is FileKind.DIRECTORY:
            built.sync_names(inode)
    return built
