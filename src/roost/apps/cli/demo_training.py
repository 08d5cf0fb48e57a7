"""The training that the demo runs in a process of its own: a small model, backed up by the two lines that anybody adds.

``python -m roost.apps.cli.demo_training FOLDER RUN STEPS``: trains in FOLDER, prints a JSON line for each step, and
goes on from the newest checkpoint of RUN in the cluster if there is one. Without RUN (empty) it is not backed up. It
needs nothing but the standard library, so that the demo is small; what it saves is what a training of any size has to
save: weights, the optimiser's state, and where its random numbers are.
"""

import json
import random
import shutil
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

import roost

SAVE_EVERY = 50
FEATURES, BATCH = 16, 256
RATE, MOMENTUM, NOISE = 0.02, 0.9, 0.5
KEPT = 2
"""Checkpoints that stay on the disk, as trainings rotate them."""


@dataclass(slots=True)
class Training:
    """A linear model under stochastic gradient descent with momentum, on data that is drawn as it goes."""

    step: int = 0
    weights: list[float] = field(default_factory=lambda: [0.0] * FEATURES)
    moments: list[float] = field(default_factory=lambda: [0.0] * FEATURES)
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  # data, not secrets

    def advance(self) -> float:
        """One step; its mean squared error."""
        gradient, total = [0.0] * FEATURES, 0.0
        for _ in range(BATCH):
            row = [self.chance.random() - 0.5 for _ in range(FEATURES)]
            wanted = sum(x * (i + 1) for i, x in enumerate(row)) + self.chance.gauss(0.0, NOISE)
            error = sum(w * x for w, x in zip(self.weights, row, strict=True)) - wanted
            total += error * error
            for i, x in enumerate(row):
                gradient[i] += 2 * error * x / BATCH
        self.moments = [MOMENTUM * m + g for m, g in zip(self.moments, gradient, strict=True)]
        self.weights = [w - RATE * m for w, m in zip(self.weights, self.moments, strict=True)]
        self.step += 1
        return total / BATCH

    def save(self, folder: Path) -> None:
        """Write all that going on from here takes."""
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(struct.pack(f"<{2 * FEATURES}d", *self.weights, *self.moments))
        state = {"step": self.step, "random": self.chance.getstate()}
        (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Training":
        """What `save` wrote."""
        numbers = struct.unpack(f"<{2 * FEATURES}d", (folder / "weights.bin").read_bytes())
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        training = cls(state["step"], list(numbers[:FEATURES]), list(numbers[FEATURES:]))
        version, internal, gauss = state["random"]
        training.chance.setstate((version, tuple(internal), gauss))
        return training


def tell(**fields: object) -> None:
    """Print one JSON line."""
    print(json.dumps(fields), flush=True)


def train(folder: Path, run: str, steps: int) -> None:
    """Train up to step number `steps`, backed up as `run` unless that is empty."""
    found = roost.resume(run, to=folder) if run else None
    training = Training.load(Path(found.path)) if found is not None else Training()
    tell(begun=training.step)
    backups = []
    while training.step < steps:
        tell(step=training.step + 1, loss=training.advance())
        if run and training.step % SAVE_EVERY == 0:
            training.save(folder / f"step-{training.step}")
            backups.append(roost.save_hook(folder / f"step-{training.step}", f"{run}/step-{training.step}"))
            old = folder / f"step-{training.step - KEPT * SAVE_EVERY}"
            shutil.rmtree(old, ignore_errors=True)
        for done in [one for one in backups if one.done and one.error is None]:
            backups.remove(done)
            tell(stored=done.name)


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
