"""Try a training on a few samples, so that a wrong request ends before anything is written."""

from __future__ import annotations

import torch
from torch import nn

from landscape.errors import RequestError
from landscape.networks.datasets import DataSet
from landscape.networks.sampling import augment
from landscape.networks.training import TrainingRecipe
from landscape.objective.losses import Loss
from landscape.objective.module import apply_module, copy_module, preserved_rng
from landscape.objective.objective import Objective
from landscape.optimizers.registry import make_optimizer


def check_training(
    model: nn.Module, data: DataSet, loss: str | Loss, recipe: TrainingRecipe, device: str, fewest: int | None = None
) -> None:
    """Try network, data, loss and optimizer, as far as a few samples show.

    Args:
        model: The network.
        data: Its data.
        loss: Name of the loss, or the function.
        recipe: How it will be trained.
        device: Where.
        fewest: The smallest number of samples that it will be trained on; None for all.

    Raises:
        RequestError: If the request is wrong.
    """
    objective = Objective(model, data.train, loss, device=device)
    for split in data.splits.values():
        objective.on(split).check()
    make_optimizer(recipe.optimizer, model, **recipe.hyperparameters)
    augment(recipe.augmentation, data.train[:2].inputs, torch.Generator())
    sizes = (
        recipe.batches(fewest or len(data.train)).batch_size,
        recipe.micro_batch_size,
        recipe.hyperparameters.get("m"),
    )
    if 1 in sizes:
        check_single(model, data)


def check_single(model: nn.Module, data: DataSet) -> None:
    """Try a batch of one sample: BatchNorm has no statistics of it.

    Raises:
        RequestError: If the model can't train on it.
    """
    with preserved_rng(torch.device("cpu"), 0), torch.no_grad():
        try:
            apply_module(copy_module(model).train(), data.train[:1].inputs)
        except RequestError as error:
            raise RequestError(f"batches of a single sample: {error}; choose at least 2") from error
