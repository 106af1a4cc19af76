"""What experiments made of sweeps share: a store that is gone on with, and the type of what a sweep evaluates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .mechanism import Options, once

if TYPE_CHECKING:
    from landscape.sweeps.schema import Sweep

Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]
"""Values by variable at a block of coordinates; what the factory of a sweep returns."""
QUANTILES = (0.1, 0.5, 0.9)
"""Of the runs that are drawn as a band."""


def compute(
    name: str, recipe: Any, path: Path, options: Options, sweeps: Callable[[], Sequence[Sweep]], describe: str
) -> None:
    """Run the sweeps of an experiment into its store; a finished one is left alone.

    Args:
        name: The experiment's.
        recipe: Its recipe.
        path: The store.
        options: Where to compute and what to show.
        sweeps: Makes them, if there is anything to compute.
        describe: What the progress counts.
    """
    from landscape.sweeps.sweep import run

    def work() -> None:
        engine, workers, progress = options.engine, options.workers, options.progress
        run(path, list(sweeps()), engine=engine, workers=workers, progress=progress, describe=describe)

    once(name, recipe, path, work)
