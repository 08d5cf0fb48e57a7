"""What `import` and `export` share: the blocking cluster that they work on, and the library that they need."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from roost.apps.cli.frame import Frame
from roost.core.errors import Failed

if TYPE_CHECKING:
    from roost.client.program import Cluster


@contextlib.contextmanager
def cluster_of(frame: Frame) -> "Iterator[Cluster]":
    """The cluster that this home belongs to, whose methods block."""
    from roost.client.program import open_cluster

    with open_cluster(frame.home, frame.settings) as cluster:
        yield cluster


@contextlib.contextmanager
def fsspec_required() -> Iterator[None]:
    """Failed, with what to install, where fsspec or the package of one of its services is absent."""
    try:
        yield
    except ImportError as error:
        raise Failed(
            f"this needs a package that is not installed: {error}", hint="pip install 'roost[integrations]'"
        ) from error
