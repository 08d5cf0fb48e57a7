"""Lightning: a CheckpointIO that writes as the usual one does, backs up what it wrote, and finds it again elsewhere."""

import os
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

import roost.client.program as front
from roost.client.backups import Backups, default_backups


class RoostCheckpointIO(TorchCheckpointIO):
    """``Trainer(plugins=[RoostCheckpointIO("gpt2")])``: each checkpoint FILE is stored as ``gpt2/FILE``.

    Saving waits for the local file alone, as ever. Loading one that is not there fetches it from the cluster to where
    it was looked for. Removing is local: what is stored stays. `home` and `config` are for fetching; `backups` has its
    own.
    """

    def __init__(
        self, name: str, *, home: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None, backups: Backups | None = None, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(**options)
        self._name = name
        self._home = home
        self._config = config
        self._backups = backups or default_backups()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it, then hold it for its backup."""
        super().save_checkpoint(checkpoint, path, storage_options)
        if _is_local(path):
            self._backups.save(os.fspath(path), self.name_of(path))
        else:
            warnings.warn(f"no backup of {path}: it lies on no disk of this machine", stacklevel=2)

    def load_checkpoint(self, path: Any, *positional: Any, **options: Any) -> Any:
        """Read it, fetched first if it is not on this machine. Raises as `roost.Cluster.gather` when it cannot be."""
        where = Path(os.path.abspath(path))
        if _is_local(path) and not where.exists():
            name = self.name_of(path)
            with front.connect(home=self._home, config=self._config) as cluster:
                cluster.gather(name, to=where.parent)
        return super().load_checkpoint(path, *positional, **options)

    def name_of(self, path: Any) -> str:
        """What the checkpoint at `path` is stored as."""
        return f"{self._name}/{Path(path).name}"


def _is_local(path: Any) -> bool:
    return "://" not in str(path)
