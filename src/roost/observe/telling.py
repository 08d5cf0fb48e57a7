"""The log of programs that use Roost as a library: what a training script is told of its backups.

It is the standard library's own logger ``roost``, so that a script hears of it as it hears of all others; without any
configuration Python prints warnings and errors to standard error.
"""

import logging


def program_log() -> logging.Logger:
    """The logger that programs see."""
    return logging.getLogger("roost")
