"""`descent`: sweep a capacity past the interpolation threshold, and store the risk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from landscape.studies.descent.recipe import AUTOSAVE_SECONDS, NODE, Prepared, Recipe
from landscape.studies.study import Running, RunningOptions, Study

if TYPE_CHECKING:
    import xarray


def descent(
    recipe: Recipe,
    out: Path | str,
    *,
    data_dir: Path | None = None,
    autosave_seconds: float = AUTOSAVE_SECONDS,
    **options: Unpack[RunningOptions],
) -> xarray.DataTree:
    """Sweep a capacity and store train and test risk along it.

    Args:
        recipe: What to compute: `PolynomialRecipe`, `FeaturesRecipe`, `WidthRecipe`, `EpochRecipe` or `SamplesRecipe`.
        out: The store to write. One of the same recipe is resumed.
        data_dir: First place to look for data files.
        autosave_seconds: Time between saves of a training's state, from which a killed one goes on.
        **options: `device`, `engine` and so on: see `landscape.studies.study.RunningOptions`.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
        WorkError: If the work failed; what was done is stored.
    """
    running = Running(**options)
    return DescentStudy(recipe.prepare(data_dir, running.device), autosave_seconds, running).compute(out)


class DescentStudy(Study):
    """The steps of `descent`.

    Args:
        prepared: The request, checked.
        autosave_seconds: Time between saves of a training's state.
        running: Where and how it runs.
    """

    kind = NODE

    def __init__(self, prepared: Prepared, autosave_seconds: float, running: Running) -> None:
        super().__init__(running)
        self.prepared, self.autosave_seconds = prepared, autosave_seconds

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return self.prepared.contents

    def run(self, path: Path) -> None:
        """Compute what the store lacks."""
        self.running.run(path, self.prepared.saved_every(self.autosave_seconds), describe=NODE)
