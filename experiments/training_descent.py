"""Epoch-wise and sample-wise double descent of convolutional networks trained on partly wrong labels.

On the CPU a small ConvNet on Fashion-MNIST; on a GPU (`--preset gpu`) ResNet18-k on CIFAR-10 with 15 % wrong labels,
Nakkiran et al.'s problem, at a part of their 4,000 epochs.

References:
    P. Nakkiran et al., Deep Double Descent, arXiv 1912.02292.
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

NAME = "training_descent"


@dataclass(frozen=True)
class Recipe:
    """One architecture, watched along its training, and trained on more and more samples.

    Args:
        model: Architecture.
        data: Data set.
        noise: Fractions of wrong training labels.
        test_samples: Test samples.
        loss: Loss.
        lr: Learning rate of Adam.
        batch_size: Samples in a batch.
        augmentation: Of the training images.
        epochs: When the risk is looked at.
        epoch_width: Width of the network that is watched.
        epoch_samples: Its training samples.
        sizes: Numbers of training samples.
        sizes_width: Width of the network that is trained on them.
        steps: Steps of each of these trainings.
        repetitions: Training sets and initial weights.
    """

    model: str = "convnet"
    data: str = "fashion_mnist"
    noise: tuple[float, ...] = (0.0, 0.2)
    test_samples: int = 2000
    loss: str = "square"
    lr: float = 0.002
    batch_size: int = 100
    augmentation: str = "none"
    epochs: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 65, 80)
    epoch_width: int = 16
    epoch_samples: int = 1000
    sizes: tuple[int, ...] = (60, 100, 150, 220, 330, 500, 800, 1300, 2500)
    sizes_width: int = 3
    steps: int = 1000
    repetitions: int = 1


PRESETS = {
    "smoke": Recipe(
        data="digits",
        test_samples=200,
        epochs=(1, 2, 4),
        epoch_width=4,
        epoch_samples=200,
        sizes=(40, 80, 160),
        steps=30,
        repetitions=1,
    ),
    "cpu": Recipe(),
    "gpu": Recipe(
        model="resnet18k",
        data="cifar10",
        noise=(0.15,),
        test_samples=10_000,
        loss="cross-entropy",
        lr=1e-4,
        batch_size=128,
        augmentation="crop-flip",
        epochs=(1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500),
        epoch_width=64,
        epoch_samples=50_000,
        sizes=(5000, 8000, 12_000, 18_000, 25_000, 35_000, 50_000),
        sizes_width=12,
        steps=100_000,
        repetitions=1,
    ),
}


def parts(recipe: Recipe) -> dict[str, Any]:
    """The two sweeps."""
    from landscape.networks.problem import Problem
    from landscape.networks.training import TrainingRecipe
    from landscape.studies.descent import EpochRecipe, SamplesRecipe

    def problem(width: int) -> Problem:
        return Problem(recipe.model, recipe.data, recipe.loss, model_settings={"width": width})

    def training(**length: int | None) -> TrainingRecipe:
        return TrainingRecipe(
            "adam", {"lr": recipe.lr}, batch_size=recipe.batch_size, augmentation=recipe.augmentation, **length
        )

    common: dict[str, Any] = {"test_samples": recipe.test_samples, "repetitions": recipe.repetitions}
    return {
        "epoch": EpochRecipe(
            problem=problem(recipe.epoch_width),
            training=training(epochs=1),
            samples=recipe.epoch_samples,
            epochs=recipe.epochs,
            noise=recipe.noise,
            **common,
        ),
        "samples": SamplesRecipe(
            problem=problem(recipe.sizes_width),
            training=training(epochs=None, steps=recipe.steps),
            sizes=recipe.sizes,
            noise=recipe.noise,
            **common,
        ),
    }


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train all networks."""
    run_sweeps(NAME, recipe, parts(recipe), path, options)


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Epochs left, samples right."""
    from landscape.figures.descent_lecture import training_figure

    return training_figure(tree, NAME)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.descent_captions import training_caption

    return training_caption(tree, NAME)


EXPERIMENT = Experiment(NAME, PRESETS, run, figure, caption)
