"""A network's loss on its data, in a form that can be sent to another process."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from landscape.errors import RequestError
from landscape.networks.datasets import DataSet
from landscape.objective.losses import METRICS, Loss
from landscape.objective.objective import Objective


@dataclass(frozen=True)
class Network:
    """A network's loss on its data.

    Args:
        model: The architecture, with some weights.
        data: All data.
        loss: Name of a loss or a per-sample function.
        samples: Evaluate on a fixed random subset of so many samples of each split; None for all.
        batchnorm: BatchNorm policy.
        weight_decay: Factor of the L2 term in the loss.
        device: Where to compute.
        batch_size: Samples in a microbatch of an evaluation.
        metrics: Further per-sample functions by name, beside those that belong to the loss.
        precision: Of forward passes; None for the model's own.
    """

    model: nn.Module
    data: DataSet
    loss: str | Loss
    samples: int | None = None
    batchnorm: str = "recompute"
    weight_decay: float = 0.0
    device: str = "cpu"
    batch_size: int = 128
    metrics: Mapping[str, Loss] = field(default_factory=dict)
    precision: str | None = None

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        if self.samples is not None and self.samples < 1:
            raise RequestError(f"the number of samples must be at least 1, got {self.samples}")

    def objectives(self, splits: Sequence[str]) -> dict[str, Objective]:
        """The loss on each split; all share one private model, whose BatchNorm statistics come from training inputs."""
        part = self.data if self.samples is None else self.data.subset(self.samples)
        train = self._objective(part.train, len(self.data.train))
        others = {name: split for name, split in part.splits.items() if name != "train"}
        objectives = {"train": train}
        objectives |= {name: train.on(split, len(self.data.splits[name])) for name, split in others.items()}
        return {name: objectives[name] for name in splits}

    def training_objective(self) -> Objective:
        """The loss on all training data, for gradients on minibatches."""
        return self._objective(self.data.train, len(self.data.train))

    def check_transport(self) -> None:
        """Make sure that model and loss can be sent to another process.

        Raises:
            RequestError: If they can't.
        """
        try:
            pickle.dumps((self.model, self.loss, self.metrics))
        except Exception as error:
            raise RequestError(
                f"model or loss can't be sent to worker processes ({error}): define them at the top of an importable "
                "module, or use the engine 'serial'"
            ) from error

    def _objective(self, split: Any, population: int) -> Objective:
        return Objective(
            self.model,
            split,
            self.loss,
            metrics={**(METRICS.get(self.loss, {}) if isinstance(self.loss, str) else {}), **self.metrics},
            batchnorm=self.batchnorm,
            weight_decay=self.weight_decay,
            device=self.device,
            batch_size=self.batch_size,
            population=population,
            precision=self.precision,
        )

    def recipe(self) -> dict[str, Any]:
        """What decides its values, beside the weights: contents and numbers, never places."""
        return {
            "data": self.data.digest,
            "loss": self.loss if isinstance(self.loss, str) else _qualified(self.loss),
            "samples": self.samples,
            "batchnorm": self.batchnorm,
            "weight_decay": self.weight_decay,
            **(
                {"metrics": {name: _qualified(metric) for name, metric in self.metrics.items()}} if self.metrics else {}
            ),
        }


def _qualified(function: Loss) -> str:
    """A function's module and name."""
    return f"{function.__module__}:{function.__qualname__}"
