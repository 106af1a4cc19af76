"""What the experiments on double descent share: several sweeps of `landscape descent` in one store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .mechanism import Options
from .sweeping import compute

if TYPE_CHECKING:
    from landscape.studies.descent.recipe import Recipe


def run_sweeps(name: str, recipe: Any, parts: Mapping[str, Recipe], path: Path, options: Options) -> None:
    """Compute sweeps into one store, each at a node of its own.

    Args:
        name: The experiment's.
        recipe: Its recipe.
        parts: The sweep of each node, `<name>/<part>`.
        path: The store.
        options: Where to compute and what to show.
    """

    def sweeps() -> list[Any]:
        prepared = {part: each.prepare(options.data_dir, options.device) for part, each in parts.items()}
        return [
            replace(sweep, node=sweep.node.replace("descent", f"{name}/{part}", 1))
            for part, each in prepared.items()
            for sweep in each.sweeps
        ]

    compute(name, recipe, path, options, sweeps, describe="descent")
