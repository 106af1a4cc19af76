"""Epoch-wise and sample-wise double descent of convolutional networks trained on partly wrong labels.

On the CPU small ConvNets on handwritten digits; on a GPU (`--preset gpu`) ResNet18-k on CIFAR-10 with 15 % wrong
labels, Nakkiran et al.'s problem, at a part of their 4,000 epochs.

References:
    P. Nakkiran et al., Deep Double Descent, arXiv 1912.02292.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.studies.descent import EpochRecipe, SamplesRecipe
from landscape.studies.descent.networks import FULL_BATCH

from .descent_runs import descent_experiment


@dataclass(frozen=True)
class Recipe:
    """An architecture watched along its training, and trained on more and more samples.

    Args:
        epoch: A wide network along a training whose images are shifted anew in every epoch.
        samples: A narrow network, trained until it can fit no more.
    """

    epoch: EpochRecipe
    samples: SamplesRecipe


def convnet(width: int, loss: str) -> Problem:
    """The small ConvNet on digits."""
    return Problem("convnet", "digits", loss, model_settings={"width": width})


def resnet(width: int) -> Problem:
    """Nakkiran et al.'s network on their data."""
    return Problem("resnet18k", "cifar10", "cross-entropy", model_settings={"width": width})


def watched(epochs: tuple[int, ...], batch_size: int) -> dict[str, Any]:
    """A long training with small constant steps, and when it is looked at."""
    training = TrainingRecipe("adam", {"lr": 0.001}, epochs=1, batch_size=batch_size, augmentation="crop")
    return {"training": training, "epochs": epochs}


def converged(steps: int) -> TrainingRecipe:
    """Full-batch steps, slower and slower."""
    return TrainingRecipe("adam", {"lr": 0.01}, epochs=None, steps=steps, batch_size=FULL_BATCH, schedule="cosine")


NOISE = (0.4,)
CIFAR: dict[str, Any] = {"noise": (0.15,), "test_samples": 10_000}
NAKKIRAN: dict[str, Any] = {"batch_size": 128, "augmentation": "crop-flip"}
PRESETS = {
    "smoke": Recipe(
        EpochRecipe(convnet(4, "cross-entropy"), samples=200, noise=NOISE, repetitions=2, **watched((1, 2, 4), 50)),
        SamplesRecipe(convnet(2, "square"), converged(30), noise=NOISE, sizes=(40, 80, 160)),
    ),
    "cpu": Recipe(
        EpochRecipe(
            convnet(32, "cross-entropy"),
            samples=400,
            noise=NOISE,
            repetitions=3,
            **watched(
                (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 160, 200, 250, 300, 400, 500, 700, 1000, 1400, 2000), 50
            ),
        ),
        SamplesRecipe(
            convnet(4, "square"),
            converged(1000),
            noise=NOISE,
            repetitions=3,
            sizes=(20, 40, 80, 120, 170, 230, 320, 500, 1000),
        ),
    ),
    "gpu": Recipe(
        EpochRecipe(
            resnet(64),
            TrainingRecipe("adam", {"lr": 1e-4}, epochs=1, **NAKKIRAN),
            samples=50_000,
            epochs=(1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500),
            **CIFAR,
        ),
        SamplesRecipe(
            resnet(12),
            TrainingRecipe("adam", {"lr": 1e-4}, epochs=None, steps=100_000, **NAKKIRAN),
            sizes=(5000, 8000, 12_000, 18_000, 25_000, 35_000, 50_000),
            **CIFAR,
        ),
    ),
}
EXPERIMENT = descent_experiment(
    "training_descent",
    PRESETS,
    figure="landscape.figures.descent_lecture:training_figure",
    caption="landscape.figures.descent_captions:training_caption",
)
