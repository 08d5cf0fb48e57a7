"""Writers of checkpoints, each through the library that people use, with a model of some hundred kilobytes.

Run as a program of its own: `python -P writers.py WRITER FOLDER`. Whenever something is finished it says the names of
that, below the folder, as one line of JSON on its output, and goes on at the next line of its input, which is where it
was gathered to. `{"half": ...}` says that something is half written.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

STEPS = 4
RANKS = 2
VARIABLES = {
    "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
"""Nothing here asks the network, or takes more than a core."""


class Teller:
    """The line to the test. What the libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def saved(self, *names: str) -> Path:
        """These are finished. Returns where they were gathered to, each below its name."""
        return self._ask({"saved": names})

    def half(self, name: str) -> None:
        """This is half written, and stays so until the test has looked."""
        self._ask({"half": name})

    def _ask(self, word: dict[str, Any]) -> Path:
        self._out.write(json.dumps(word) + "\n")
        return Path(sys.stdin.readline().strip())


def check_tensors(left: Any, right: Any) -> None:
    """Stop the program unless two dicts hold the same tensors."""
    import torch

    if set(left) != set(right) or not all(torch.equal(left[key], right[key]) for key in left):
        raise ValueError(f"{sorted(left)} did not come back as it was")


def linear() -> Any:
    import torch

    return torch.nn.Linear(256, 256)


def language_model() -> Any:
    """A Llama of four thin layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    thin = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(thin)


# -- single files ------------------------------------------------------------------------------------------------------


def safetensors(out: Path, tell: Teller) -> None:
    """Two files, and one that is overwritten."""
    from safetensors.numpy import load_file, save_file

    for step in (1, 2):
        weights = numpy.random.default_rng(step).standard_normal((step, 40_000)).astype("float32")
        save_file({"w": weights}, out / f"step-{step}.safetensors")
        save_file({"w": weights}, out / "last.safetensors")
        back = tell.saved(f"step-{step}.safetensors", "last.safetensors")
        if not numpy.array_equal(load_file(back / "last.safetensors")["w"], weights):
            raise ValueError("the weights did not come back as they were")


def torch_save(out: Path, tell: Teller) -> None:
    """A new file each step, and one that is overwritten in place."""
    import torch

    for step in (1, 2):
        state = linear().state_dict()
        for name in (f"step-{step}.pt", "ckpt.pt"):
            torch.save({"model": state, "step": step}, out / name)
        back = tell.saved(f"step-{step}.pt", "ckpt.pt")
        check_tensors(torch.load(back / "ckpt.pt")["model"], state)


# -- Hugging Face ------------------------------------------------------------------------------------------------------


def save_pretrained(out: Path, tell: Teller) -> None:
    """A model in parts with its tokenizer, saved, and saved again with other weights under the same name."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    for _ in range(2):
        model = language_model()
        model.save_pretrained(out / "model", max_shard_size="150KB")
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(out / "model")
        back = tell.saved("model")
        check_tensors(LlamaForCausalLM.from_pretrained(back / "model").state_dict(), model.state_dict())


def trainer(out: Path, tell: Teller, *, copies: Path | None = None) -> None:
    """`STEPS` checkpoints, of which the Trainer keeps two. It waits after each, or, with `copies`, runs freely and
    keeps a copy of each there."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class AfterEachSave(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            name = f"checkpoint-{state.global_step}"
            if copies is None:
                tell.saved(name)
            else:
                shutil.copytree(out / name, copies / name)

    arguments = TrainingArguments(
        output_dir=str(out), max_steps=STEPS, save_steps=1, save_total_limit=2, per_device_train_batch_size=1,
        report_to="none", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    row = {"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}
    Trainer(language_model(), arguments, train_dataset=[row] * STEPS, callbacks=[AfterEachSave()]).train()
    if copies is not None:
        tell.saved(*(path.name for path in out.glob("checkpoint-*")))
    again = Trainer(language_model(), TrainingArguments(output_dir=str(out), use_cpu=True, report_to="none"))
    again.save_model(str(out / "final"))
    tell.saved("final")


def trainer_that_runs_freely(out: Path, tell: Teller) -> None:
    """The same without a pause: those that the rotation takes away may or may not be stored before."""
    trainer(out, tell, copies=out.parent.with_name(f"{out.name}-copies"))


def trainer_again(out: Path, tell: Teller) -> None:
    """A training that starts anew writes its step 1 over that of the last one; half of it is there for a while."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Slow(torch.optim.SGD):  # type: ignore[misc, unused-ignore]
        def state_dict(self) -> Any:
            weights, state = out / "checkpoint-1/model.safetensors", out / "checkpoint-1/trainer_state.json"
            if state.exists() and weights.stat().st_mtime_ns > state.stat().st_mtime_ns:
                tell.half("checkpoint-1")
            return super().state_dict()

    row = {"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}
    for _ in range(2):
        model = language_model()
        arguments = TrainingArguments(
            output_dir=str(out), max_steps=1, save_steps=1, per_device_train_batch_size=1, report_to="none",
            use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        optimizer = Slow(model.parameters(), lr=0.1)
        Trainer(model, arguments, train_dataset=[row], optimizers=(optimizer, None)).train()
        tell.saved("checkpoint-1")


def accelerate(out: Path, tell: Teller) -> None:
    """`save_state`: numbered folders, of which two are kept; then one name twice, half written for a while each time,
    with something of the script's own that is written after all else."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    class Slow(torch.optim.Adam):  # type: ignore[misc, unused-ignore]
        half = ""

        def state_dict(self) -> Any:
            if self.half:
                tell.half(self.half)
            return super().state_dict()

    numbered = ProjectConfiguration(str(out), automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=True, project_config=numbered)
    model = linear()
    inner = Slow(model.parameters())
    model, optimizer = accelerator.prepare(model, inner)
    accelerator.register_for_checkpointing(torch.optim.lr_scheduler.StepLR(inner, 1))

    def step() -> None:
        accelerator.backward(model(torch.randn(4, 256)).sum())
        optimizer.step()

    for number in range(3):
        step()
        inner.half = "checkpoints/checkpoint_0" if number == 0 else ""
        accelerator.save_state()
        tell.saved(f"checkpoints/checkpoint_{number}")
    numbered.automatic_checkpoint_naming = False
    for _ in range(2):
        step()
        inner.half = "epoch"
        accelerator.save_state(str(out / "epoch"))
        kept = {key: value.clone() for key, value in model.state_dict().items()}
        back = tell.saved("epoch")
        inner.half = ""
        accelerator.load_state(str(back / "epoch"))
        check_tensors(model.state_dict(), kept)


# -- Lightning, and torch.distributed.checkpoint -----------------------------------------------------------------------


def lightning(out: Path, tell: Teller) -> None:
    """`ModelCheckpoint`: the best two and `last.ckpt`, which is overwritten."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import Callback, ModelCheckpoint
    from lightning.pytorch.demos.boring_classes import BoringModel

    class AfterEachStep(Callback):  # type: ignore[misc, unused-ignore]
        def on_train_batch_start(self, trainer: Any, *others: Any) -> None:
            if trainer.global_step:
                told(trainer.global_step)

    def told(step: int) -> None:
        back = tell.saved(f"epoch=0-step={step}.ckpt", "last.ckpt")
        loaded = torch.load(back / "last.ckpt", weights_only=False)
        check_tensors(loaded["state_dict"], model.state_dict())

    model = BoringModel()
    saving = ModelCheckpoint(
        dirpath=out, monitor="step", mode="max", save_top_k=2, every_n_train_steps=1, save_last=True
    )
    lightning.Trainer(
        max_steps=3, logger=False, callbacks=[saving, AfterEachStep()], enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", limit_val_batches=0,
    ).fit(model)  # fmt: skip
    told(3)


def distributed(out: Path, tell: Teller) -> None:
    """`torch.distributed.checkpoint`: at once, asynchronously, without collectives, and a name saved again, from
    `RANKS` processes."""
    import torch.multiprocessing

    os.environ |= {"MASTER_ADDR": "127.0.0.1"}
    others = torch.multiprocessing.spawn(_rank, (str(out), None), nprocs=RANKS - 1, join=False)
    _rank(-1, str(out), tell)
    others.join()


def _rank(number: int, folder: str, tell: Teller | None) -> None:
    """What each process does; the first is this one."""
    import torch
    import torch.distributed
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    out = Path(folder)
    meeting = f"file://{out.parent.with_name('meeting')}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=number + 1, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))

    def saved(name: str) -> None:
        torch.distributed.barrier()
        if tell is not None:
            back = tell.saved(name)
            dcp.load(empty := {"w": torch.zeros(256, 256)}, checkpoint_id=back / name, no_dist=True)
            check_tensors(empty, {"w": whole})
        torch.distributed.barrier()

    for name, again in (("step-1", 0), ("step-1", 1), ("step-2", 0), ("step-2", 1)):
        torch.manual_seed(again)
        whole = torch.randn(256, 256)
        state = {"w": distribute_tensor(whole, mesh, [Shard(0)])}
        if name == "step-1":
            dcp.save(state, checkpoint_id=out / name)
        else:
            waiting: Any = dcp.async_save(state, checkpoint_id=out / name)
            waiting.result()
        saved(name)
    dcp.save(state, checkpoint_id=out / "alone", use_collectives=False)
    if tell is not None:
        tell.saved("alone")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


WRITERS: dict[str, Callable[[Path, Teller], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        safetensors, torch_save, save_pretrained, trainer, trainer_that_runs_freely, trainer_again, accelerate,
        lightning, distributed,
    )
}  # fmt: skip


if __name__ == "__main__":
    os.environ |= VARIABLES
    WRITERS[sys.argv[1]](Path(sys.argv[2]), Teller())
