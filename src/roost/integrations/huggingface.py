"""Hugging Face's Trainer: its checkpoints are backed up as they are saved, and brought back on another machine."""

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from roost.client.backups import Backups, default_backups
from roost.client.resuming import resume


class RoostCallback(TrainerCallback):
    """Stores each ``checkpoint-STEP`` as ``NAME/checkpoint-STEP``; by default NAME is the last part of `output_dir`.

    `on_save` takes milliseconds and never fails. At the end of the training what waits is waited for, up to `wait_s`.
    """

    def __init__(self, name: str | None = None, *, wait_s: float = 600.0, backups: Backups | None = None) -> None:
        self._name = name
        self._wait_s = wait_s
        self._backups = backups or default_backups()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Back up the checkpoint that was just saved, on the main process alone."""
        if not state.is_world_process_zero:
            return
        folder = f"checkpoint-{state.global_step}"
        run = self._name or Path(os.path.abspath(args.output_dir)).name
        ranks = int(args.world_size)
        others = tuple(f"rng_state_{rank}.pth" for rank in range(ranks)) if ranks > 1 else ()
        self._backups.save(Path(args.output_dir) / folder, f"{run}/{folder}", awaited=others)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait for what is not stored yet, and say how it ended."""
        if state.is_world_process_zero:
            self._backups.finish(self._wait_s)


def resume_from_roost(
    name: str, output_dir: str | os.PathLike[str], *, home: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None, stale_ok: bool = False,
) -> str | None:  # fmt: skip
    """Bring the newest healthy checkpoint of the run `name` below `output_dir`; its path, for
    ``trainer.train(resume_from_checkpoint=...)``, which begins anew with the None that is returned when nothing is
    stored.

    Raises Unreachable when so many nodes are away that a newer one may exist, unless `stale_ok`. With several processes
    on a machine call it in one of them first: ``with args.main_process_first(): ...``
    """
    found = resume(name, to=output_dir, home=home, config=config, stale_ok=stale_ok)
    return found.path if found is not None else None
