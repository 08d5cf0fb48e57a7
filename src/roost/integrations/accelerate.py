"""Accelerate: its state is saved by all processes, and backed up by the main one."""

import os
from typing import Any

from accelerate import Accelerator

from roost.client.backups import Backup, Backups, default_backups


def save_state(
    accelerator: Accelerator, output_dir: str | os.PathLike[str] | None = None, *, name: str | None = None,
    backups: Backups | None = None, **options: Any,
) -> Backup | None:  # fmt: skip
    """``accelerator.save_state(output_dir)``, and in the background its backup as `name` (else ``parent/folder``).

    Every process must call it: all wait until each has written its part. Returns the backup on the main process and
    None on the others; what saving raises is raised, what storing meets is not.
    """
    where = accelerator.save_state(os.fspath(output_dir) if output_dir is not None else None, **options)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return None
    return (backups or default_backups()).save(where, name)
