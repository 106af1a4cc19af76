"""Random features and networks of growing width on Fashion-MNIST, with and without wrong labels and ridge.

Left: random Fourier features, minimum-norm and ridge. Right: networks with one hidden layer trained by Adam on the
squared loss, with the sharpness of each beside its risk.

References:
    M. Belkin et al., Reconciling modern machine learning practice and the bias-variance trade-off, arXiv 1812.11118.
"""

from __future__ import annotations

from dataclasses import dataclass

from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.studies.descent import FeaturesRecipe, WidthRecipe
from landscape.studies.descent.networks import FULL_BATCH

from .descent_runs import descent_experiment


@dataclass(frozen=True)
class Recipe:
    """Features and networks on the same data.

    Args:
        features: The sweep over the number of features.
        width: The sweep over the width of the networks.
    """

    features: FeaturesRecipe
    width: WidthRecipe


def network(data: str) -> Problem:
    """One hidden layer of tanh, and the squared error of its outputs."""
    return Problem("mlp", data, "square", model_settings={"activation": "tanh"})


def training(steps: int) -> TrainingRecipe:
    """Full-batch steps of Adam, slower and slower."""
    return TrainingRecipe("adam", {"lr": 0.001}, epochs=None, steps=steps, batch_size=FULL_BATCH, schedule="cosine")


NOISE = (0.0, 0.2)
RIDGE = (0.0, 0.1)
PRESETS = {
    "smoke": Recipe(
        FeaturesRecipe(
            capacities=(5, 20, 40, 45, 50, 55, 60, 100, 300),
            samples=50,
            test_samples=200,
            repetitions=2,
            noise=NOISE,
            ridge=RIDGE,
        ),
        WidthRecipe(
            network("digits"),
            training(60),
            samples=50,
            test_samples=200,
            repetitions=2,
            noise=NOISE,
            widths=(1, 3, 6, 12),
            measures=("hessian_max",),
        ),
    ),
    "cpu": Recipe(
        FeaturesRecipe(
            data="fashion_mnist",
            capacities=(
                *(6, 12, 25, 50, 100, 150, 200, 250, 300, 350, 375, 390),
                *(400, 410, 430, 460, 500, 700, 1000, 2000, 4000),
            ),
            samples=400,
            test_samples=1000,
            noise=NOISE,
            ridge=RIDGE,
        ),
        WidthRecipe(
            network("fashion_mnist"),
            training(1500),
            samples=400,
            test_samples=1000,
            repetitions=5,
            noise=NOISE,
            widths=(1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 64),
            measures=("hessian_max",),
        ),
    ),
}
EXPERIMENT = descent_experiment(
    "fashion_descent",
    PRESETS,
    figure="landscape.figures.descent_lecture:fashion_figure",
    caption="landscape.figures.descent_captions:fashion_caption",
)
