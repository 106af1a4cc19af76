"""The network whose curvature is timed, and pyhessian's view of it."""

from __future__ import annotations

from typing import Any

import torch

from landscape.networks.models import build_model
from landscape.networks.splits import DataSet, Split
from landscape.networks.training import TrainingRecipe, train
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective


def make_problem(num_samples: int, batch_size: int) -> tuple[Objective, list[Any]]:
    """A ConvNet with BatchNorm, trained on images that can be learnt: an objective and a list of batches.

    Args:
        num_samples: How many images of 28 by 28 pixels.
        batch_size: Images in a batch.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_samples) % 10
    centres = torch.randn(10, 1, 28, 28, generator=generator)
    images = 0.5 * centres[labels] + torch.randn(num_samples, 1, 28, 28, generator=generator)
    split = Split(images, labels)
    data = DataSet("made", train=split, test=split, num_classes=10, source="generated")
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model("convnet", (1, 28, 28), 10)
    model = train(model, data, TrainingRecipe("sgd", {"lr": 0.05}, epochs=5), evaluate_every=0).model.eval()
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    return Objective(model, (images, labels), batch_size=batch_size), batches
