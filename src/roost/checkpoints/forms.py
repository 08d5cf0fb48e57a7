"""The formats that are folders: each writer's sign, one function a format, with the reason in words. Pure.

Source of the signs: what each writer does on disk, told with its function. That every file is whole by its own format
and no longer written to, `finished` sees to.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roost.checkpoints.structure import UNKNOWN, Structure

QUIET_S = 10.0
"""How long a file without one of the two better signs (whole by its format; nobody has it open) must not change."""
QUIET_BLIND_S = 60.0
"""The same for a file with neither."""

TEMPORARY = (".tmp", ".part", ".partial", ".crdownload", "~")
TEMPORARY_INFIX = (".orbax-checkpoint-tmp", ".tmp-", "tmp-checkpoint-")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".msgpack", ".h5", ".ckpt")
METADATA = ".metadata"
INDEX = ".index.json"
RANDOM_STATES = "random_states_0.pkl"
FIRST = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors")
"""What writers of folders write before anything that would be a sign of the folder."""
ORBAX = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "commit_success.txt")
_STEP = re.compile(r"checkpoint-(\d+)\Z")
TAG = re.compile(r"global_step(\d+)\Z")
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[A-Za-z0-9.]+)\Z")
_SHARD = re.compile(r"(.*/)?__(\d+)_\d+\.distcp\Z")
_RANK = re.compile(r"(.*?)_?rank_(\d+)_(.*)\Z")


@dataclass(frozen=True, slots=True)
class Seen:
    """One file as the last look saw it. `same_s` is for how long looks have found it so; `held` whether a program has
    it open for writing, None where that cannot be told; `text` the bytes of a small file that is a sign."""

    size: int
    mtime_ns: int
    same_s: float
    held: bool | None = None
    structure: Structure = UNKNOWN
    text: bytes = b""


Files = Mapping[str, Seen]
"""The files of one unit by their paths inside it; that of a single file is the empty path."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the unit is finished, and why or what it waits for."""

    finished: bool
    reason: str


Judge = Callable[[str, Files], Verdict | None]
"""Judges a folder of one format by its name and its files; None when it has no objection."""


@dataclass(frozen=True, slots=True)
class Form:
    """A format that is a folder: what its writers call it, how it is known, and when it is not finished. What a
    `complete` form holds below it belongs to it; any other steps back when a folder inside is a checkpoint itself."""

    name: str
    sign: Callable[[str, set[str], set[str]], bool]
    """From the folder's name, and the names of the files and the folders in it."""
    objection: Judge
    complete: bool = True


def is_temporary(name: str) -> bool:
    """Names that writers give to what they have not finished."""
    return name.startswith(".tmp") or name.endswith(TEMPORARY) or any(infix in name for infix in TEMPORARY_INFIX)


def quiet(files: Files, needed: float, why: str) -> Verdict | None:
    """Not before nothing in the folder has changed for so long, because of `why`."""
    same = min(seen.same_s for seen in files.values())
    return Verdict(False, f"{why}; unchanged for {same:.0f} of {needed:.0f} s") if same < needed else None


def _missing(what: str) -> Verdict:
    return Verdict(False, f"{what} is not there yet")


def _older(last: str, part: str) -> Verdict:
    """What is written last is older than a part: the parts are being written again, or were and it came to no end."""
    return Verdict(False, f"{last} is older than {part}: it is of an earlier save (if not: touch {last})")


def _parsed(seen: Seen) -> object:
    try:
        return json.loads(seen.text)
    except ValueError:
        return None


def _trainer(name: str, files: Files) -> Verdict | None:
    """Hugging Face's Trainer: weights, optimizer, scheduler, `rng_state*.pth` of every process, and last
    `trainer_state.json`, whose global step is that of the folder's name."""
    if "trainer_state.json" not in files:
        return _missing("trainer_state.json")
    state = _parsed(files["trainer_state.json"])
    if not isinstance(state, dict):
        return Verdict(False, "trainer_state.json is not whole yet")
    step = _STEP.match(name)
    if step and state.get("global_step") != int(step[1]):
        return Verdict(False, f"trainer_state.json tells of step {state.get('global_step')}, the folder of {step[1]}")
    if not any(path.endswith(WEIGHTS) and "rng_state" not in path for path in files):
        return _missing("a file of weights")
    ranks = {int(path[10:-4]) for path in files if re.fullmatch(r"rng_state_\d+\.pth", path)}
    if ranks and ranks != set(range(max(ranks) + 1)):
        return _missing(f"rng_state_{min(set(range(max(ranks))) - ranks)}.pth")
    written = files["trainer_state.json"].mtime_ns
    newer = [path for path, seen in files.items() if seen.mtime_ns > written and _is_state(path)]
    return _older("trainer_state.json", min(newer)) if newer else _parts(name, files)


def _is_state(path: str) -> bool:
    """Whether it is weights or an optimizer, which every writer saves before its random state and its own."""
    return path.endswith((*WEIGHTS, ".distcp")) and "rng_state" not in path and "training_args" not in path


def _accelerate(name: str, files: Files) -> Verdict | None:
    """Accelerate's `save_state`: weights, optimizer, schedulers, `random_states_0.pkl`, and then what the script has
    registered. No order is promised: so some quiet too, and more when it is not as it is now."""
    if RANDOM_STATES not in files:
        return quiet(files, QUIET_BLIND_S, f"{RANDOM_STATES} is not there yet")
    written = files[RANDOM_STATES].mtime_ns
    newer = [path for path, seen in files.items() if seen.mtime_ns > written and _is_state(path)]
    if newer:
        return quiet(files, QUIET_BLIND_S, f"{RANDOM_STATES} is older than {min(newer)}")
    return quiet(files, QUIET_S, "no order is promised by its writer") or _parts(name, files)


def _model(name: str, files: Files) -> Verdict | None:
    """`save_pretrained`: the configuration first, then weights, in parts with an index last; a tokenizer may follow."""
    if not any(path.endswith(WEIGHTS) for path in files):
        return _missing("a file of weights")
    return _parts(name, files) or quiet(files, QUIET_S, "a tokenizer may follow")


def _parts(name: str, files: Files) -> Verdict | None:
    """Weights in parts: every part that a name counts or an index names is there, and no part is newer than the index:
    an old index beside new parts looks valid."""
    for path in files:
        part = _PART.match(path)
        if part:
            stem, _, count, suffix = part.groups()
            for number in range(1, int(count) + 1):
                wanted = f"{stem}-{number:05}-of-{count}{suffix}"
                if wanted not in files:
                    return _missing(wanted)
    for path, seen in files.items():
        if not path.endswith(INDEX):
            continue
        index = _parsed(seen)
        named = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(named, dict):
            return Verdict(False, f"{path} names no weights")
        folder = path.rpartition("/")[0]
        for weights in sorted(set(map(str, named.values()))):
            inside = f"{folder}/{weights}" if folder else weights
            if inside not in files:
                return _missing(f"{weights}, which {path} names,")
            if files[inside].mtime_ns > seen.mtime_ns:
                return _older(path, weights)
    indexed = any((part := _PART.match(path)) and part[4] in (".safetensors", ".bin") for path in files)
    return _missing("the index of its parts") if indexed and not any(path.endswith(INDEX) for path in files) else None


def _dcp(name: str, files: Files) -> Verdict | None:
    """torch.distributed.checkpoint: parts, and `.metadata` renamed into place last; saving again under the same name
    rewrites the parts below the old `.metadata`. Without collectives each rank leaves a `__RANK.metadata`."""
    several = False
    for path, seen in files.items():
        shard = _SHARD.match(path)
        if not shard:
            continue
        folder, rank = shard[1] or "", shard[2]
        own = f"{folder}__{rank}{METADATA}"
        several = several or own in files
        last = own if own in files else f"{folder}{METADATA}"
        if last not in files:
            return _missing(last)
        if files[last].mtime_ns < seen.mtime_ns:
            return _older(last, path)
    return quiet(files, QUIET_S, "other ranks may still write") if several else None


def _deepspeed(name: str, files: Files) -> Verdict | None:
    """DeepSpeed: one file a rank, all of which must be there; `latest` beside the folder tells its name early."""
    ranks: dict[tuple[str, str], set[int]] = {}
    for path in files:
        found = _RANK.match(path)
        if found:
            ranks.setdefault((found[1], found[3]), set()).add(int(found[2]))
    for (before, after), seen in ranks.items():
        if seen != set(range(max(seen) + 1)):
            gap = min(set(range(max(seen))) - seen)
            return _missing(f"{before}_rank_{gap}_{after}")
    return quiet(files, QUIET_S, "other ranks may still write")


def _orbax(name: str, files: Files) -> Verdict | None:
    """Orbax renames the finished folder into place; on object stores it leaves `commit_success.txt`."""
    for path in files:
        if any(infix in path for infix in TEMPORARY_INFIX):
            return Verdict(False, f"{path.split('/', maxsplit=1)[0]} has not its final name yet")
    return None


DEEPSPEED = Form(
    "DeepSpeed",
    lambda name, files, folders: bool(TAG.match(name)) and any(f.endswith("_states.pt") for f in files),
    _deepspeed,
)
FORMS: tuple[Form, ...] = (
    Form(
        "Accelerate",
        lambda name, files, folders: (
            RANDOM_STATES in files
            or "pytorch_model_fsdp_0" in folders
            or ("optimizer.bin" in files and any(first in files for first in FIRST))
        ),
        _accelerate,
    ),
    Form(
        "the Trainer",
        lambda name, files, folders: bool(_STEP.match(name) and (files or folders)) or "trainer_state.json" in files,
        _trainer,
    ),
    Form("Orbax", lambda name, files, folders: any(marker in files for marker in ORBAX), _orbax),
    DEEPSPEED,
    Form(
        "torch.distributed.checkpoint",
        lambda name, files, folders: METADATA in files or any(f.endswith(".distcp") for f in files),
        _dcp,
    ),
    Form(
        "save_pretrained",
        lambda name, files, folders: (
            any(f.endswith(INDEX) or _PART.match(f) for f in files)
            or ("config.json" in files and any(f.endswith(WEIGHTS) or f.startswith(".tmp") for f in files))
            or ("adapter_config.json" in files)
        ),
        _model,
        complete=False,
    ),
)
"""The formats that are folders, the outermost first: a Trainer's folder may hold DeepSpeed's, Accelerate's DCP's, and
both may be called ``checkpoint-N``."""
