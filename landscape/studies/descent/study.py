"""`descent`: sweep a capacity past the interpolation threshold, and store the risk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from landscape.studies.descent.recipe import NODE, Recipe
from landscape.sweeps import engine as engines
from landscape.sweeps import store
from landscape.sweeps.sweep import run

if TYPE_CHECKING:
    import xarray


def descent(
    recipe: Recipe,
    out: Path | str,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    engine: str = "serial",
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xarray.DataTree:
    """Sweep a capacity and store train and test risk along it.

    Args:
        recipe: What to compute: `PolynomialRecipe`, `FeaturesRecipe`, `WidthRecipe`, `EpochRecipe` or `SamplesRecipe`.
        out: The store to write. One of the same recipe is resumed.
        data_dir: First place to look for data files.
        device: Where to train networks.
        engine: `serial` or `processes`.
        workers: Number of processes.
        overwrite: Replace a store of another recipe.
        progress: Whether to show progress on stderr.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
        WorkError: If the work failed; what was done is stored.
    """
    engines.check(engine, workers)
    prepared = recipe.prepare(data_dir, device)
    resumed = store.create(out, prepared.contents, kind=NODE, attrs={"device": device}, overwrite=overwrite)
    if not (resumed and store.attributes(out)["complete"]):
        run(out, prepared.sweeps, engine=engine, workers=workers, progress=progress, describe="descent")
        store.finish(out)
    return store.open(out)
