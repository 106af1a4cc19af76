"""Garipov et al.'s figure 1: the loss on three planes through independent optima and the curves that connect them.

References:
    Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", arXiv 1802.10026, figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.studies.connect import ConnectRecipe, CurveRecipe
from landscape.studies.connect import connect as compute

from .mechanism import Experiment, Options
from .training import train_seeds

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure


@dataclass(frozen=True)
class Recipe:
    """Train one network from several seeds and connect all pairs.

    Args:
        problem: Network and data.
        training: How each is trained; its seed is replaced.
        seeds: One network each.
        connect: The curves and planes.
    """

    problem: Problem
    training: TrainingRecipe
    seeds: tuple[int, ...] = (0, 1, 2)
    connect: ConnectRecipe = field(default_factory=ConnectRecipe)


CURVES = ("bezier", "polyline")
SGD = {"lr": 0.1, "momentum": 0.9}
PRESETS = {
    "smoke": Recipe(
        Problem("mlp", "digits", model_settings={"hidden": (32,)}),
        TrainingRecipe("sgd", SGD, epochs=10),
        connect=ConnectRecipe(CURVES, CurveRecipe(epochs=15), points=13, plane=9),
    ),
    "cpu": Recipe(
        Problem("convnet", "fashion_mnist", model_settings={"width": 12}),
        TrainingRecipe("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}, epochs=10, schedule="cosine"),
        connect=ConnectRecipe(
            CURVES, CurveRecipe(epochs=10, hyperparameters={"lr": 0.003}), points=61, plane=21, samples=5000
        ),
    ),
    # The paper's settings for PreResNet-164, with CIFAR-10 as the data set that more people have.
    "gpu": Recipe(
        Problem("preresnet164", "cifar10"),
        TrainingRecipe(
            "sgd",
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 3e-4},
            epochs=150,
            schedule="piecewise",
            augmentation="crop-flip",
            precision="bf16",
        ),
        connect=ConnectRecipe(
            CURVES,
            CurveRecipe(
                epochs=200,
                optimizer="sgd",
                hyperparameters={"lr": 0.03, "momentum": 0.9},
                schedule="piecewise",
                nodes="uniform",
            ),
            plane=21,
            weight_decay=3e-4,
        ),
    ),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train the networks beside the store and connect them."""
    files = train_seeds(recipe.problem, recipe.training, recipe.seeds, path, options)
    compute(
        files,
        path,
        recipe.connect,
        data_dir=options.data_dir,
        device=options.device,
        engine=options.engine,
        workers=options.workers,
        progress=options.progress,
    )


def figure(tree: xarray.DataTree) -> StyledFigure:
    """The three planes side by side, and loss and error along the first pair's curves."""
    from landscape import figures

    return figures.draw(tree)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    barrier = tree["connect"]["barrier"]
    heights = {
        str(curve): (float(barrier.sel(curve=curve).min()), float(barrier.sel(curve=curve).max()))
        for curve in barrier["curve"].values
    }
    listed = "; ".join(f"{curve} {low:.3g} to {high:.3g}" for curve, (low, high) in heights.items())
    return (
        "Networks trained from different seeds are isolated on the straight line between them and connected by curves "
        f"of low loss. Barriers in nats over {barrier.sizes['pair']} pairs and both splits: {listed}. Training loss in "
        "colour, BatchNorm statistics recomputed at every point."
    )


EXPERIMENT = Experiment("connect", PRESETS, run, figure, caption)
