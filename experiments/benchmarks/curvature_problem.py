"""The network whose curvature is timed, and pyhessian's view of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import torch
from torch import Tensor

from landscape.networks.models import build_model
from landscape.networks.splits import DataSet, Split
from landscape.networks.training import TrainingRecipe, train
from landscape.objective.losses import mean, per_sample
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.samples import batch_length
from landscape.studies.networks import gather


def problem_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose the problem; the arguments of `make_problem`."""
    for option in (
        click.option(
            "--batch-size", default=200, show_default=True, type=click.IntRange(2), help="Samples in a batch."
        ),
        click.option("--samples", default=2000, show_default=True, type=click.IntRange(20), help="Training samples."),
        click.option(
            "--checkpoint",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A file of `landscape train`; by default a ConvNet is trained on generated images.",
        ),
    ):
        command = option(command)
    return command


def make_problem(checkpoint: Path | None, samples: int, batch_size: int) -> tuple[Objective, str]:
    """An objective of a trained network, and what it is in words.

    Args:
        checkpoint: A file of `landscape train`; None for a ConvNet with BatchNorm on images that can be learnt.
        samples: The first so many of the training split; of the generated ones all, images of 28 by 28 pixels.
        batch_size: Samples in a batch.
    """
    if checkpoint is not None:
        ends = gather([checkpoint])
        split = ends.data.train
        data = split.inputs[:samples], split.targets[:samples]
        named = ends.problem
        words = f"{named['model']} on {len(data[0])} samples of {named['data']}"
        return Objective(ends.models[0], data, ends.loss, batch_size=batch_size), words
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % 10
    centres = torch.randn(10, 1, 28, 28, generator=generator)
    images = 0.5 * centres[labels] + torch.randn(samples, 1, 28, 28, generator=generator)
    split = Split(images, labels)
    made = DataSet("made", train=split, test=split, num_classes=10, source="generated")
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model("convnet", (1, 28, 28), 10)
    model = train(model, made, TrainingRecipe("sgd", {"lr": 0.05}, epochs=5), evaluate_every=0).model.eval()
    return Objective(model, (images, labels), batch_size=batch_size), f"ConvNet on {samples} generated images"


class TheirHessian:
    """pyhessian's view of an objective.

    Args:
        peer: The package.
        objective: What it is given: the module, the mean loss and the same batches.
    """

    def __init__(self, peer: ModuleType, objective: Objective) -> None:
        def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
            return mean(*per_sample(objective.loss_function, outputs, targets, batch_length(targets), "loss"))

        batches = list(objective.samples.batches(objective.batch_size))
        self.own = peer.hessian(objective.module.module, criterion, dataloader=batches, cuda=False)
        self.products = 0
        self._layout = objective.layout
        self._product = self.own.dataloader_hv_product
        self.own.dataloader_hv_product = self._counted

    def through(self, matvec: Callable[[Tensor], Tensor]) -> None:
        """Let another operator make its products."""

        def product(vectors: list[Tensor]) -> tuple[float, list[Tensor]]:
            vector = self._layout.flatten(vectors)
            result = matvec(vector)
            return float(vector @ result), list(self._layout.split(result))

        self._product = product

    def _counted(self, vectors: list[Tensor]) -> tuple[float, list[Tensor]]:
        self.products += 1
        found: tuple[float, list[Tensor]] = self._product(vectors)
        return found
