"""How many steps it takes to grok: by training fraction and weight decay, and by optimizer.

References:
    Power et al., "Grokking", arXiv 2201.02177, figures 1 and 2; Lee et al., "Grokfast", arXiv 2405.20233; Prieto et
    al., "Grokking at the edge of numerical stability", arXiv 2501.04697.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .collecting import keep
from .grokking_runs import Grid, Method, Methods
from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NODE = "grokking_sweeps"
KEPT = ("accuracy", "collapsed", "status")


@dataclass(frozen=True)
class Recipe:
    """Runs of the quadratic network.

    Args:
        grid: By training fraction and weight decay.
        methods: By optimizer.
    """

    grid: Grid = field(default_factory=Grid)
    methods: Methods = field(default_factory=Methods)


PRESETS = {
    "smoke": Recipe(
        Grid(fractions=(0.6, 0.75), weight_decays=(1.0, 3.0), seeds=2, steps=300),
        Methods((Method("AdamW", "adamw", (0.01, 0.02), {"beta2": 0.98, "weight_decay": 3.0}),), seeds=2, steps=300),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train all networks in a folder beside the store, and collect."""
    import xarray

    from landscape.studies.grok import grok
    from landscape.sweeps import store

    resumed = store.create(path, {"experiment": NODE, "recipe": recipe}, kind="experiment")
    if resumed and store.attributes(path)["complete"]:
        return
    parts = path.with_name(f"{path.stem}-parts")
    how = {"engine": options.engine, "workers": options.workers, "progress": options.progress}
    grid = grok(recipe.grid.recipe(), parts / "grid.zarr", **how)["grok"].to_dataset()
    tried = [
        grok(one, parts / f"method-{number}.zarr", **how)["grok"].to_dataset()[list(KEPT)]
        for number, one in enumerate(recipe.methods.recipes())
    ]
    methods = xarray.concat(
        [one.drop_vars("lr").rename(lr="rate") for one in tried], "method", combine_attrs="override"
    )
    methods = methods.assign_coords(
        method=[one.name for one in recipe.methods.methods],
        lr=(("method", "rate"), [list(one.lrs) for one in recipe.methods.methods]),
    )
    keep(path, f"{NODE}/grid", grid, KEPT)
    keep(path, f"{NODE}/methods", methods, KEPT)
    store.finish(path)


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Steps to grok against the fraction for each weight decay, and for each optimizer at its best learning rate."""
    from landscape.figures.grokking_sweeps import sweeps_figure

    return sweeps_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.grokking_sweeps import sweeps_caption

    return sweeps_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
