"""Random features and networks of growing width on Fashion-MNIST, with and without wrong labels and ridge.

Above: random Fourier features, minimum-norm and ridge. Below: networks with one hidden layer trained by Adam on the
squared loss, with the sharpness of each beside its risk.

References:
    M. Belkin et al., Reconciling modern machine learning practice and the bias-variance trade-off, arXiv 1812.11118.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .descent_runs import run_sweeps
from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NAME = "fashion_descent"


@dataclass(frozen=True)
class Recipe:
    """Features and networks on the same data.

    Args:
        data: Data set.
        noise: Fractions of wrong training labels.
        test_samples: Test samples of both.
        features: Numbers of random Fourier features.
        feature_samples: Training samples of the features' fits.
        ridge: Minimum norm, and ridges beside it.
        feature_repetitions: Training sets, with two draws of features each.
        widths: Units in the networks' hidden layer.
        width_samples: Training samples of the networks.
        width_repetitions: Training sets and initial weights.
        lr: Learning rate of Adam at the start of a cosine schedule.
        steps: Full-batch steps.
        measures: Sharpness beside the networks' risk.
    """

    data: str = "fashion_mnist"
    noise: tuple[float, ...] = (0.0, 0.2)
    test_samples: int = 1000
    features: tuple[int, ...] = (
        *(6, 12, 25, 50, 100, 150, 200, 250, 300, 350, 375, 390),
        *(400, 410, 430, 460, 500, 700, 1000, 2000, 4000),
    )
    feature_samples: int = 400
    ridge: tuple[float, ...] = (0.0, 0.1)
    feature_repetitions: int = 2
    widths: tuple[int, ...] = (1, 2, 4, 6, 8, 12, 24, 64)
    width_samples: int = 400
    width_repetitions: int = 1
    lr: float = 0.001
    steps: int = 1500
    measures: tuple[str, ...] = ("hessian_max", "hessian_trace")


PRESETS = {
    "smoke": Recipe(
        data="digits",
        test_samples=200,
        features=(5, 20, 40, 45, 50, 55, 60, 100, 300),
        feature_samples=50,
        widths=(1, 3, 6, 12),
        width_samples=50,
        width_repetitions=1,
        steps=60,
        measures=("hessian_max",),
    ),
    "cpu": Recipe(),
}


def parts(recipe: Recipe) -> dict[str, Any]:
    """The two sweeps."""
    from landscape.networks.problem import Problem
    from landscape.networks.training import TrainingRecipe
    from landscape.studies.descent import FeaturesRecipe, WidthRecipe
    from landscape.studies.descent.networks import FULL_BATCH

    return {
        "features": FeaturesRecipe(
            data=recipe.data,
            capacities=recipe.features,
            samples=recipe.feature_samples,
            test_samples=recipe.test_samples,
            repetitions=recipe.feature_repetitions,
            noise=recipe.noise,
            ridge=recipe.ridge,
        ),
        "width": WidthRecipe(
            problem=Problem("mlp", recipe.data, "square", model_settings={"activation": "tanh"}),
            training=TrainingRecipe(
                "adam", {"lr": recipe.lr}, epochs=None, steps=recipe.steps, batch_size=FULL_BATCH, schedule="cosine"
            ),
            samples=recipe.width_samples,
            test_samples=recipe.test_samples,
            repetitions=recipe.width_repetitions,
            noise=recipe.noise,
            widths=recipe.widths,
            measures=recipe.measures,
        ),
    }


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Fit features and train networks."""
    run_sweeps(NAME, recipe, parts(recipe), path, options)


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Features left, networks right."""
    from landscape.figures.descent_lecture import fashion_figure

    return fashion_figure(tree, NAME)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.descent_captions import fashion_caption

    return fashion_caption(tree, NAME)


EXPERIMENT = Experiment(NAME, PRESETS, run, figure, caption)
