"""Grokking, and whether it is a slow drift to a wider minimum: Power et al.'s figure 1 with sharpness along the run.

From top to bottom, for a one-layer transformer and a quadratic network at several weight decays: accuracy against
steps; the largest eigenvalue of the Hessian along the same runs, as it is and over the training loss; how four kinds of
sharpness have changed since memorisation, and how far the weights get in a time; and the loss around a memorising and a
generalising point, on equal axes and levels, and between them.

References:
    Power, Burda, Edwards, Babuschkin & Misra, "Grokking: generalization beyond overfitting on small algorithmic
    datasets", arXiv 2201.02177, figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .collecting import Kept, collect
from .grokking_runs import PROGRESS, Attention, Fast
from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure
    from landscape.studies.study import RunningOptions

NODE = "grokking"
ALONG = ("accuracy", "loss", "weight_norm", "collapsed", "update_cosine", "sketch", "hessian_max", "sam_sharpness")
"""What is kept of the runs."""


@dataclass(frozen=True)
class Recipe:
    """Runs of both networks, and what is around and between the transformer's memorising and generalising point.

    Args:
        fast: The quadratic network.
        attention: The transformer.
        looked_at: The weight decay of the transformer whose first run is looked around.
        ends: Moments of that run that are looked around and between.
        size: Points along each side of a surface.
        samples: Training samples behind each of its points.
        extent: Of the surface, in units of a filter-normalised direction.
        points: Points along the curves.
        epochs: Passes over the training data for the fit of the curve.
    """

    fast: Fast = field(default_factory=Fast)
    attention: Attention = field(default_factory=Attention)
    looked_at: float = 1.0
    ends: tuple[str, ...] = ("memorised", "grokked")
    size: int = 25
    samples: int = 1000
    extent: float = 1.0
    points: int = 21
    epochs: int = 20


PRESETS = {
    "smoke": Recipe(
        Fast(
            fraction=0.75,
            seeds=2,
            weight_decays=(3.0,),
            steps=(300,),
            records=60,
            measure_every=5,
            sketch=8,
            slow_decay=1.0,
            slow_steps=500,
        ),
        Attention(
            modulus=11,
            width=16,
            fraction=0.7,
            batch_size=64,
            lr=0.01,
            seeds=2,
            weight_decays=(1.0,),
            steps=(400,),
            records=40,
            measure_every=6,
        ),
        size=5,
        samples=20,
        points=5,
        epochs=2,
        ends=("memorised", "end"),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train the networks, look around and between their checkpoints, and collect."""
    collect(NODE, recipe, path, options, partial(studies, recipe))


def studies(recipe: Recipe, parts: Path, running: RunningOptions) -> dict[str, Kept]:
    """What is kept of the runs, and of the surfaces and curves between two of their checkpoints."""
    from landscape.studies.connect import ConnectRecipe, CurveRecipe, connect
    from landscape.studies.grok import grok
    from landscape.studies.grok.study import checkpoint_folder
    from landscape.studies.surface import SurfaceRecipe, surface

    kept: dict[str, Kept] = {}
    for network, runs in (("quadratic", recipe.fast), ("transformer", recipe.attention)):
        for number, (decay, study) in enumerate(runs.recipes().items()):
            found = grok(study, parts / f"{network}-{decay:g}.zarr", **running)["grok"].to_dataset()
            found.attrs["weight_decay"] = decay
            kept[f"{network}_{number}"] = (found, (*ALONG, *PROGRESS, "status"))
    slow = grok(recipe.fast.slow(), parts / "quadratic-slow.zarr", **running)["grok"].to_dataset()
    slow.attrs["weight_decay"] = recipe.fast.slow_decay
    kept["slow"] = (slow, ("accuracy", "loss", "collapsed", "status"))
    folder = checkpoint_folder(parts / f"transformer-{recipe.looked_at:g}.zarr")
    ends = [folder / f"seed=0-{moment}.safetensors" for moment in recipe.ends]
    slices = SurfaceRecipe(
        size=(recipe.size,),
        extent=((-recipe.extent, recipe.extent),),
        exact=True,
        splits=("train",),
        samples=recipe.samples,
    )
    around = surface(ends, parts / "surface.zarr", slices, **running)["surface"].to_dataset()
    around.attrs["weight_decay"] = recipe.looked_at
    kept["surface"] = (around, ("loss", "status"))
    curves = ConnectRecipe(fit=CurveRecipe(epochs=recipe.epochs), points=recipe.points)
    between = connect(ends, parts / "connect.zarr", curves, **running)["connect"].to_dataset()
    kept["between"] = (between, ("loss", "barrier", "arc_length", "status"))
    return kept


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Accuracy, sharpness, their ratios, the way of the weights, and both minima."""
    from landscape.figures.grokking_widths import widths_figure

    return widths_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.grokking_caption import widths_caption

    return widths_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
