"""How many steps it takes to grok: by training fraction and weight decay, and by optimizer with decay and without.

References:
    Power et al., "Grokking", arXiv 2201.02177, figures 1 and 2; Lee et al., "Grokfast", arXiv 2405.20233; Prieto et
    al., "Grokking at the edge of numerical stability", arXiv 2501.04697.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .collecting import Kept, collect
from .grokking_sweeps_runs import BETA2, DECAYED, UNDECAYED, Grid, Method, Methods
from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure
    from landscape.studies.study import RunningOptions

NODE = "grokking_sweeps"
KEPT = ("accuracy", "collapsed", "status")


@dataclass(frozen=True)
class Recipe:
    """Runs of the quadratic network.

    Args:
        grid: By training fraction and weight decay.
        decayed: By optimizer, with weight decay.
        undecayed: By optimizer, loss and precision, without.
    """

    grid: Grid = field(default_factory=Grid)
    decayed: Methods = DECAYED
    undecayed: Methods = UNDECAYED


PRESETS = {
    "smoke": Recipe(
        Grid(fractions=(0.6, 0.75), weight_decays=(1.0, 3.0), seeds=2, steps=300),
        Methods((Method("AdamW", "adamw", (0.01, 0.03), {"beta2": BETA2, "weight_decay": 3.0}),), 0.75, 3.0, 1, 2, 300),
        Methods((Method("Adam, softmax", "adam", (0.01, 0.03), {"beta2": BETA2}),), 0.75, 2.0, 1, 2, 100),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train all networks, and collect."""
    collect(NODE, recipe, path, options, partial(studies, recipe))


def studies(recipe: Recipe, parts: Path, running: RunningOptions) -> dict[str, Kept]:
    """What is kept of the grid, and of both comparisons: the tuning of each method, and its runs at the best rate."""
    from landscape.studies.grok import grok

    kept: dict[str, Kept] = {
        "grid": (grok(recipe.grid.recipe(), parts / "grid.zarr", **running)["grok"].to_dataset(), KEPT)
    }
    for name, methods in (("decayed", recipe.decayed), ("undecayed", recipe.undecayed)):
        tuning, measured = compare(methods, parts / name, running)
        kept |= {f"{name}_tuning": (tuning, KEPT), name: (measured, KEPT)}
    return kept


def compare(methods: Methods, parts: Path, running: RunningOptions) -> tuple[xarray.Dataset, xarray.Dataset]:
    """Tune each method and run it at its best learning rate.

    Returns:
        The tuning over `method`, `rate` and `seed` with coordinate `lr(method, rate)`, and the runs over `method` and
        `seed` with coordinate `lr(method)`.
    """
    import xarray

    from landscape.figures.grokking import best_place
    from landscape.studies.grok import grok

    tuning, measured, chosen = [], [], []
    for number, method in enumerate(methods.methods):
        tried = grok(methods.tuning(method), parts / f"tuning-{number}.zarr", **running)["grok"].to_dataset()
        best = method.lrs[best_place(tried, "lr")]
        runs = grok(methods.measured(method, best), parts / f"measured-{number}.zarr", **running)["grok"].to_dataset()
        tuning.append(tried[list(KEPT)].drop_vars("lr").rename(lr="rate"))
        measured.append(runs[list(KEPT)].isel(lr=0, drop=True))
        chosen.append(best)
    names = [method.name for method in methods.methods]
    both = [xarray.concat(some, "method", combine_attrs="override", join="exact") for some in (tuning, measured)]
    for one in both:
        one.attrs |= {"fraction": methods.fraction, "init_scale": methods.init_scale}
    first, second = (one.assign_coords(method=names) for one in both)
    rates = [list(method.lrs) for method in methods.methods]
    return first.assign_coords(lr=(("method", "rate"), rates)), second.assign_coords(lr=("method", chosen))


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Steps to grok against the fraction for each weight decay, and for each optimizer at its best learning rate."""
    from landscape.figures.grokking_sweeps import sweeps_figure

    return sweeps_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.grokking_claims import sweeps_caption

    return sweeps_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
