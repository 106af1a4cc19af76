"""`descent`: sweep a capacity past the interpolation threshold, and store the risk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from landscape.studies.descent.recipe import NODE, Prepared, Recipe
from landscape.studies.study import Running, RunningOptions, Study

if TYPE_CHECKING:
    import xarray


def descent(
    recipe: Recipe, out: Path | str, *, data_dir: Path | None = None, **options: Unpack[RunningOptions]
) -> xarray.DataTree:
    """Sweep a capacity and store train and test risk along it.

    Args:
        recipe: What to compute: `PolynomialRecipe`, `FeaturesRecipe`, `WidthRecipe`, `EpochRecipe` or `SamplesRecipe`.
        out: The store to write. One of the same recipe is resumed.
        data_dir: First place to look for data files.
        **options: `device`, `engine` and so on: see `landscape.studies.study.RunningOptions`.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
        WorkError: If the work failed; what was done is stored.
    """
    running = Running(**options)
    return DescentStudy(recipe.prepare(data_dir, running.device), running).compute(out)


class DescentStudy(Study):
    """The steps of `descent`.

    Args:
        prepared: The request, checked.
        running: Where and how it runs.
    """

    kind = NODE

    def __init__(self, prepared: Prepared, running: Running) -> None:
        super().__init__(running)
        self.prepared = prepared

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return self.prepared.contents

    def run(self, path: Path) -> None:
        """Compute what the store lacks."""
        self.running.run(path, self.prepared.sweeps, describe=NODE)
