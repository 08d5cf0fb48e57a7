"""When is a checkpoint finished? Each writer's sign, and every trap that was seen with it."""

import itertools
import json

import pytest

from roost.checkpoints.finished import Unit, is_ignored, judge, units
from roost.checkpoints.forms import QUIET_BLIND_S, QUIET_S, Seen
from roost.checkpoints.structure import UNKNOWN, State, Structure

WHOLE = Structure(State.WHOLE, "it is whole")
TORN = Structure(State.TORN, "its tail is missing")
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
PARTS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def file(
    *, text: str = "", at: int = 5, same_s: float = 100.0, held: bool | None = False, structure: Structure = WHOLE
) -> Seen:
    return Seen(1, at, same_s, held, structure, text.encode())


def folder(path: str, *names: str, **special: Seen) -> tuple[Unit, dict[str, Seen]]:
    """A folder that is one unit, and its files; `special` replaces some by their names with ``__`` for a dot."""
    files = {name: file() for name in names}
    files |= {name.replace("__", "."): seen for name, seen in special.items()}
    [unit] = units(f"{path}/{name}" for name in files)
    assert unit.path == path
    return unit, files


def waits(unit: Unit, files: dict[str, Seen], beside: bytes | None = None) -> str:
    """What the unit waits for; empty when it is finished."""
    verdict = judge(unit, files, beside)
    return "" if verdict.finished else verdict.reason


# -- one file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "structure", "needed"),
    [
        (False, WHOLE, 0.0),
        (False, UNKNOWN, QUIET_S),
        (None, WHOLE, QUIET_S),
        (None, UNKNOWN, QUIET_BLIND_S),
    ],
)
def test_a_file_needs_the_less_quiet_the_more_is_known(held: bool | None, structure: Structure, needed: float) -> None:
    unit = Unit("a.bin")
    assert not waits(unit, {"": file(held=held, structure=structure, same_s=needed)})
    if needed:
        short = waits(unit, {"": file(held=held, structure=structure, same_s=needed - 1)})
        assert short == f"unchanged for {needed - 1:.0f} of {needed:.0f} s"


@pytest.mark.parametrize(
    ("name", "needed"),
    [("a/model.safetensors", QUIET_S), ("a/pytorch_model.bin", QUIET_S), ("a/config.json", QUIET_BLIND_S),
     ("a/generation_config.json", QUIET_BLIND_S), ("a/step-1.safetensors", 0.0), ("a/last.ckpt", 0.0)],
)  # fmt: skip
def test_what_writers_of_folders_write_first_waits_for_what_may_follow(name: str, needed: float) -> None:
    assert not waits(Unit(name), {"": file(same_s=needed)})
    if needed:
        assert "others may follow" in waits(Unit(name), {"": file(same_s=needed - 1)})


@pytest.mark.parametrize("held", [True, False, None])
def test_a_torn_file_and_one_that_is_open_wait_for_ever(held: bool | None) -> None:
    assert waits(Unit("a"), {"": file(structure=TORN, held=held, same_s=1e9)}) == "its tail is missing"
    assert "open for writing" in waits(Unit("a"), {"": file(held=True, same_s=1e9)})


@pytest.mark.parametrize(
    "name",
    [".hidden", "x.tmp", "x.part", "x.partial", "x.crdownload", "x~", ".x.roost-12345678", ".tmpAbC123", "train.log",
     "events.out.tfevents.1700000000.host.1.0", "x.lock", "0.orbax-checkpoint-tmp-17"],
)  # fmt: skip
def test_names_of_unfinished_files_and_logs_are_ignored(name: str) -> None:
    assert is_ignored(name)
    assert units([name, f"run/{name}", f"{name}/inside.bin"]) == []


@pytest.mark.parametrize("name", ["model.safetensors", "tmp", "x.tmp.pt", "a.b"])
def test_other_names_are_not(name: str) -> None:
    assert not is_ignored(name)


# -- what is one checkpoint --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["a.pt", "b/c.ckpt"], ["a.pt", "b/c.ckpt"]),
        (["out/checkpoint-5/model.safetensors", "out/checkpoint-5/trainer_state.json"], ["out/checkpoint-5"]),
        (["out/checkpoint-5/model.safetensors"], ["out/checkpoint-5"]),  # before its sign is written
        (["s/random_states_0.pkl", "s/pytorch_model_fsdp_0/.metadata"], ["s"]),
        (["checkpoint-9/random_states_0.pkl"], ["checkpoint-9"]),
        (["s/model.safetensors", "s/optimizer.bin"], ["s"]),  # before its sign is written
        (["s/pytorch_model_fsdp_0/__0_0.distcp"], ["s"]),
        (["s/optimizer.bin"], ["s/optimizer.bin"]),
        (["m/config.json", "m/.tmpAbC123"], ["m"]),
        (["d/.metadata", "d/__0_0.distcp"], ["d"]),
        (["d/__0_0.distcp"], ["d"]),
        (["ds/latest", "ds/global_step5/mp_rank_00_model_states.pt"], ["ds/global_step5", "ds/latest"]),
        (["checkpoint-5/latest", "checkpoint-5/global_step5/mp_rank_00_model_states.pt"], ["checkpoint-5"]),
        (["o/3/_CHECKPOINT_METADATA", "o/3/default/manifest.ocdbt"], ["o/3"]),
        (["m/config.json", "m/model.safetensors", "m/tokenizer.json"], ["m"]),
        (["m/config.json", "m/notes.txt"], ["m/config.json", "m/notes.txt"]),
        (["m/config.json", "m/model.safetensors", "m/checkpoint-1/trainer_state.json"],
         ["m/checkpoint-1", "m/config.json", "m/model.safetensors"]),
        (["g/x-00001-of-00002.gguf", "g/x-00002-of-00002.gguf"], ["g"]),
        (["config.json", "model.safetensors"], [""]),
    ],
)  # fmt: skip
def test_a_folder_with_a_sign_is_one_checkpoint_and_any_other_file_is_one(paths: list[str], wanted: list[str]) -> None:
    assert [unit.path for unit in units(paths)] == wanted
    assert [unit.path for unit in units(reversed(paths))] == wanted


# -- folders: each writer's sign, and its traps ------------------------------------------------------------------------

TRAINER = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
STEP_7 = '{"global_step": 7}'


def test_a_trainers_folder_is_finished_with_its_state_of_the_same_step() -> None:
    unit, files = folder("run/checkpoint-7", *TRAINER, trainer_state__json=file(text=STEP_7))
    assert not waits(unit, files)
    assert "trainer_state.json" in waits(unit, {n: f for n, f in files.items() if n != "trainer_state.json"})
    assert "step 6" in waits(unit, {**files, "trainer_state.json": file(text='{"global_step": 6}')})
    assert waits(unit, {**files, "trainer_state.json": file(text='{"global')})
    assert "optimizer.pt" in waits(unit, {**files, "optimizer.pt": file(structure=TORN)})
    assert "optimizer.pt" in waits(unit, {**files, "optimizer.pt": file(held=True)})
    assert "weights" in waits(*folder("run/checkpoint-7", "rng_state.pth", trainer_state__json=file(text=STEP_7)))


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.pt", "global_step7/mp_rank_00_model_states.pt"])
def test_a_trainers_folder_that_is_written_again_is_not_finished_by_its_old_state(part: str) -> None:
    unit, files = folder("checkpoint-7", *TRAINER, trainer_state__json=file(text=STEP_7, at=9))
    again = waits(unit, {**files, part: file(at=10, same_s=1e6)})
    assert again.startswith(f"trainer_state.json is older than {part}: it is of an earlier save")


@pytest.mark.parametrize("part", ["rng_state.pth", "rng_state_1.pth", "training_args.bin", "README.md"])
def test_what_may_follow_a_trainers_state_may_be_newer(part: str) -> None:
    unit, files = folder("checkpoint-7", *TRAINER, "rng_state_0.pth", trainer_state__json=file(text=STEP_7, at=9))
    assert not waits(unit, {**files, part: file(at=10)})


def test_a_trainers_folder_of_several_processes_needs_the_random_state_of_each() -> None:
    names = ("model.safetensors", *(f"rng_state_{rank}.pth" for rank in range(3)))
    unit, files = folder("checkpoint-7", *names, trainer_state__json=file(text=STEP_7))
    assert not waits(unit, files)
    del files["rng_state_1.pth"]
    assert waits(unit, files) == "rng_state_1.pth is not there yet"


def test_parts_need_all_their_siblings_and_an_index_that_is_not_older() -> None:
    unit, files = folder("m", "config.json", *PARTS, model__safetensors__index__json=file(text=INDEX))
    assert not waits(unit, files)
    for gone in PARTS:
        assert gone in waits(unit, {n: f for n, f in files.items() if n != gone})
    old = {**files, PARTS[1]: file(at=6, same_s=1e6)}
    assert "is of an earlier save" in waits(unit, old)
    assert "index" in waits(unit, {n: f for n, f in files.items() if not n.endswith("index.json")})
    assert waits(unit, {**files, "model.safetensors.index.json": file(text="{}")})


def test_a_single_model_waits_until_its_tokenizer_can_have_followed() -> None:
    unit, files = folder("m", "config.json", "model.safetensors")
    assert not waits(unit, files)
    assert "tokenizer" in waits(unit, {**files, "model.safetensors": file(same_s=3)})


def test_accelerates_folder_needs_some_quiet_beside_its_sign() -> None:
    unit, files = folder("s", "model.safetensors", "optimizer.bin", "random_states_0.pkl")
    assert not waits(unit, files)
    assert "no order" in waits(unit, {**files, "optimizer.bin": file(same_s=2)})
    assert not waits(unit, {**files, "custom_checkpoint_0.pkl": file(at=6, same_s=QUIET_S)})


def test_accelerates_folder_without_its_sign_or_with_an_old_one_needs_more_quiet() -> None:
    unit, files = folder("s", "model.safetensors", "optimizer.bin", "random_states_0.pkl")
    for same_s, finished in ((QUIET_BLIND_S - 1, False), (QUIET_BLIND_S, True)):
        some = {name: file(same_s=same_s) for name in files if name != "random_states_0.pkl"}
        without = waits(unit, some)
        old = waits(unit, {**files, "model.safetensors": file(at=6, same_s=same_s)})
        assert (not without, not old) == (finished, finished)
        if not finished:
            assert without == "random_states_0.pkl is not there yet; unchanged for 59 of 60 s"
            assert old == "random_states_0.pkl is older than model.safetensors; unchanged for 59 of 60 s"


def test_a_distributed_checkpoint_that_is_saved_again_is_not_finished_by_its_old_metadata() -> None:
    unit, files = folder("d", "__0_0.distcp", "__1_0.distcp", __metadata=file(at=9))
    assert ".metadata" in files
    assert not waits(unit, files)
    assert "earlier save" in waits(unit, {**files, "__1_0.distcp": file(at=10, same_s=1e6)})
    assert ".metadata is not there" in waits(unit, {n: f for n, f in files.items() if n != ".metadata"})
    assert "temporary" in waits(unit, {**files, ".metadata.tmp": file()})


def test_a_distributed_checkpoint_without_collectives_needs_the_metadata_of_each_rank() -> None:
    unit, files = folder("d", "__0_0.distcp", "__1_0.distcp", "__0.metadata", "__1.metadata")
    assert not waits(unit, files)
    assert "earlier save" in waits(unit, {**files, "__1_0.distcp": file(at=10, same_s=1e6)})
    assert ".metadata is not there" in waits(unit, {n: f for n, f in files.items() if n != "__1.metadata"})
    assert "other ranks" in waits(unit, {**files, "__1.metadata": file(same_s=1)})


def test_deepspeeds_latest_appears_before_the_other_ranks_are_done() -> None:
    names = [f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(3)]
    paths = [f"ds/global_step20/{name}" for name in (*names, "mp_rank_00_model_states.pt")]
    unit = next(unit for unit in units([*paths, "ds/latest"]) if unit.form)
    assert unit.beside == "ds/latest"
    files = {path.rpartition("/")[2]: file() for path in paths}
    assert not waits(unit, files, b"global_step20\n")
    assert not waits(unit, files, b"global_step30")
    assert "latest" in waits(unit, files, b"global_step10")
    assert "zero_pp_rank_1_mp" in waits(unit, {n: f for n, f in files.items() if "rank_1" not in n}, b"global_step20")
    assert "other ranks" in waits(unit, {**files, names[0]: file(same_s=1)}, b"global_step20")


def test_an_orbax_folder_is_finished_under_its_final_name() -> None:
    unit, files = folder("o/3", "_CHECKPOINT_METADATA", "default/manifest.ocdbt", "default/d/0a")
    assert not waits(unit, files)
    assert "final name" in waits(unit, {**files, "state.orbax-checkpoint-tmp-9/d/0b": file()})


def test_every_split_of_a_gguf_must_be_there() -> None:
    unit, files = folder("g", "x-00001-of-00003.gguf", "x-00002-of-00003.gguf", "x-00003-of-00003.gguf")
    assert not waits(unit, files)
    del files["x-00003-of-00003.gguf"]
    assert waits(unit, files) == "x-00003-of-00003.gguf is not there yet"


def test_whatever_order_the_files_of_a_trainer_appear_in_it_is_finished_with_the_last_alone() -> None:
    all_files = {name: file() for name in TRAINER} | {"trainer_state.json": file(text=STEP_7)}
    for order in itertools.permutations(all_files):
        if order[-1] != "trainer_state.json":
            continue  # the Trainer writes it last: that is its sign
        seen: dict[str, Seen] = {}
        for name in order:
            seen[name] = all_files[name]
            [unit] = units(f"checkpoint-7/{path}" for path in seen)
            assert bool(waits(unit, seen)) == (name != "trainer_state.json")
