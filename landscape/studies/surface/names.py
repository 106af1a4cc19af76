"""Directions and metrics as the command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from landscape.errors import RequestError, unknown
from landscape.factories import is_factory, load_factory
from landscape.objective.losses import Loss
from landscape.studies.grids import AXES
from landscape.studies.surface.recipe import KINDS, OWN

TAKEN = ("loss", "error", "samples", "status", "split", "checkpoint", *AXES)
"""What a surface's node calls other things."""


def tell_directions(names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Tell a kind of directions from files of one's own.

    Args:
        names: One of `KINDS`, or one file for each axis; nothing means `filter`.

    Returns:
        The kind, and the files.

    Raises:
        RequestError: If a name is neither, or both are mixed.
    """
    kinds = [name for name in names if name in KINDS]
    if not names or (kinds and len(names) == 1):
        return (kinds[0] if kinds else "filter"), ()
    if kinds:
        raise RequestError(f"--directions {' and '.join(names)}: expected one kind, or nothing but files")
    for name in names:
        if not Path(name).exists() and not Path(name).suffix:
            raise unknown("directions", name, (*KINDS, "FILE"))
    if len(names) > len(AXES):
        raise RequestError(f"a surface has 1, 2 or 3 axes, got {len(names)} files of directions")
    return OWN, tuple(names)


def find_metrics(names: Sequence[str]) -> dict[str, Loss]:
    """Metrics by the name of their function, each given as `package.module:function`.

    Raises:
        RequestError: If one can't be imported, or is called like something else.
    """
    metrics: dict[str, Loss] = {}
    for name in names:
        if not is_factory(name):
            raise RequestError(f"metric '{name}' names no function: expected package.module:function")
        function = load_factory("metric", name)
        if not callable(function):
            raise RequestError(f"metric '{name}' is no function")
        called = name.rpartition(":")[2].rpartition(".")[2]
        if called in (*TAKEN, *metrics) or called.endswith("_stderr"):
            raise RequestError(f"metric '{name}': '{called}' is the name of something else: rename the function")
        metrics[called] = function
    return metrics
