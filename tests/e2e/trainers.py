"""Programs that train something tiny with a real library and back up what they save; tests run them as processes.

``trainers.py KIND OUT [--steps N] [--resume] [--gated]`` says a JSON line for each step with its exact loss, for each
save with its seconds, and what it went on from. Gated, it reads a line before each step. Of several ranks only the
first one speaks.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SAVE_EVERY = 3
SEED = 7
LENGTH = 16
VOCABULARY = 64


SAID_TO = sys.stdout


def say(**told: object) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(told), flush=True, file=SAID_TO)


def tokens() -> torch.Tensor:
    """The data: 60 sequences."""
    return torch.randint(0, VOCABULARY, (60, LENGTH), generator=torch.Generator().manual_seed(SEED))


def gpt() -> Any:
    """A GPT-2 with two layers, and with dropout, so that the random generators matter."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(SEED)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2, bos_token_id=0,
                   eos_token_id=0)
    )  # fmt: skip


def timed(save: Callable[[], object], step: int) -> None:
    begun = time.perf_counter()
    save()
    say(saved=step, seconds=time.perf_counter() - begun)


def gate(options: argparse.Namespace) -> None:
    if options.gated:
        sys.stdin.readline()


def trainer(options: argparse.Namespace) -> None:
    """Hugging Face's Trainer, which keeps one checkpoint."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from roost.integrations.huggingface import RoostCallback, resume_from_roost

    class Timed(RoostCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            timed(lambda: super(Timed, self).on_save(args, state, control, **kwargs), state.global_step)

    class Gate(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            gate(options)

    class Telling(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(model, inputs, **kwargs)
            say(step=self.state.global_step + 1, loss=float(loss[0] if isinstance(loss, tuple) else loss).hex())
            return loss

    arguments = TrainingArguments(
        output_dir=options.out, max_steps=options.steps, save_steps=SAVE_EVERY, save_total_limit=1, logging_steps=1,
        per_device_train_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True, seed=SEED,
        learning_rate=1e-3, lr_scheduler_type="cosine", ddp_backend="gloo" if "RANK" in os.environ else None,
    )  # fmt: skip
    data = [{"input_ids": one, "labels": one} for one in tokens()]
    found = resume_from_roost(options.name, options.out) if options.resume else None
    say(resumed=found)
    one = Telling(model=gpt(), args=arguments, train_dataset=data, callbacks=[Timed(options.name), Gate()])
    one.train(resume_from_checkpoint=found)


def loop(options: argparse.Namespace) -> None:
    """A loop written by hand, with all of its state in one file a checkpoint."""
    import roost

    model, data, chance = gpt(), tokens(), torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    first = 1
    found = roost.resume(options.name, to=options.out) if options.resume else None
    say(resumed=found.path if found else None)
    torch.manual_seed(SEED)
    if found is not None:
        state = torch.load(Path(found.path, "state.pt"))
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["torch"])
        chance.set_state(state["chance"])
        first = state["step"] + 1
    for step in range(first, options.steps + 1):
        gate(options)
        batch = data[torch.randint(0, len(data), (4,), generator=chance)]
        loss = model(input_ids=batch, labels=batch).loss
        say(step=step, loss=float(loss).hex())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % SAVE_EVERY == 0:
            folder = Path(options.out, f"step-{step}")
            folder.mkdir(parents=True)
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save(
                {**states, "torch": torch.get_rng_state(), "chance": chance.get_state(), "step": step},
                folder / "state.pt",
            )
            timed(lambda folder=folder: roost.save_hook(folder, f"{options.name}/{folder.name}"), step)  # type: ignore[misc]


def lightning(options: argparse.Namespace) -> None:
    """Lightning, which keeps one checkpoint; resumed from a path that is not on this machine."""
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from roost.integrations.lightning import RoostCheckpointIO

    class Model(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(SEED)
            self.layer = torch.nn.Linear(LENGTH, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.layer(batch).square().mean()
            say(step=self.global_step + 1, loss=float(loss).hex())
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    class Timed(RoostCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            super().save_checkpoint(checkpoint, path, storage_options)
            say(saved=checkpoint["global_step"], path=str(path))

    keep = ModelCheckpoint(dirpath=options.out, filename="{step}", every_n_train_steps=SAVE_EVERY, save_top_k=1)
    one = Trainer(
        max_steps=options.steps, accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[keep],
        plugins=[Timed(options.name)], enable_model_summary=False,
    )  # fmt: skip
    path = Path(options.out, f"step={options.steps - SAVE_EVERY}.ckpt")
    say(resumed=str(path) if options.resume else None)
    data = torch.utils.data.DataLoader(tokens().float() / VOCABULARY, batch_size=4)
    one.fit(Model(), data, ckpt_path=path if options.resume else None)


def accelerate(options: argparse.Namespace) -> None:
    """Accelerate's own states."""
    from accelerate import Accelerator

    import roost
    from roost.integrations.accelerate import save_state

    accelerator = Accelerator(cpu=True)
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(LENGTH, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    model, optimizer = accelerator.prepare(model, optimizer)
    data, first = tokens().float() / VOCABULARY, 1
    found = roost.resume(options.name, to=options.out) if options.resume else None
    say(resumed=found.path if found else None)
    if found is not None:
        accelerator.load_state(found.path)
        first = (found.step or 0) + 1
    for step in range(first, options.steps + 1):
        loss = model(data[step : step + 4]).square().mean()
        say(step=step, loss=float(loss).hex())
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        if step % SAVE_EVERY == 0:
            backup = save_state(accelerator, Path(options.out, f"step-{step}"), name=f"{options.name}/step-{step}")
            say(saved=step, name=backup.name if backup else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["trainer", "loop", "lightning", "accelerate"])
    parser.add_argument("out")
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--gated", action="store_true")
    given = parser.parse_args()
    sys.stdout = sys.stderr  # what the libraries print
    torch.set_num_threads(1)
    globals()[given.kind](given)
