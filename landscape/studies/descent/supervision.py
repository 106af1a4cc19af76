"""Training and test samples of a sweep over feature models: drawn from a data set, or from a Gaussian."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.networks.datasets import DataSet, Split
from landscape.networks.sampling import mix


@dataclass(frozen=True)
class Drawn:
    """A training set.

    Args:
        inputs: Shape `(n, D)`, float64.
        targets: Targets at each level of noise, shape `(n, noise, k)`.
        labels: Labels at each level of noise, shape `(n, noise)`; None for regression.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor | None


class Supply(ABC):
    """Where training sets and the test set come from."""

    @abstractmethod
    def draw(self, count: int, noise: tuple[float, ...], seed: int) -> Drawn:
        """A training set; fewer samples of the same seed are the first of more, and noise is nested too."""

    @abstractmethod
    def test(self, count: int) -> Drawn:
        """The test set, the same for every training set, without noise."""


@dataclass(frozen=True)
class Gaussian(Supply):
    r""":math:`x \sim N(0, I_D)`, :math:`y = x \cdot \beta + \sigma \epsilon`, :math:`\beta = (1, \dots, 1) / \sqrt D`.

    Args:
        dimension: D.
    """

    dimension: int

    def weights(self) -> Tensor:
        """The true weights, shape `(D,)`, of length 1."""
        return torch.full((self.dimension,), 1 / math.sqrt(self.dimension), dtype=torch.float64)

    def draw(self, count: int, noise: tuple[float, ...], seed: int) -> Drawn:
        """Gaussian inputs, and targets with each standard deviation of noise."""
        generator = torch.Generator().manual_seed(mix(seed, 1))
        drawn = torch.randn(count, self.dimension + 1, generator=generator, dtype=torch.float64)
        inputs, scatter = drawn[:, :-1], drawn[:, -1:]
        targets = (inputs @ self.weights())[:, None] + scatter * torch.tensor(noise, dtype=torch.float64)
        return Drawn(inputs, targets[..., None], None)

    def test(self, count: int) -> Drawn:
        """Targets without noise."""
        return self.draw(count, (0.0,), -1 % 2**32)


class Labelled(Supply):
    """Samples of a data set; the targets are one-hot, or +1 for the class and -1 for all others.

    Args:
        data: The data set.
        signs: Whether targets are signs.
    """

    def __init__(self, data: DataSet, signs: bool) -> None:
        self.data, self.signs = data, signs

    def draw(self, count: int, noise: tuple[float, ...], seed: int) -> Drawn:
        """Training samples, a part of whose labels is wrong at each level of noise."""
        chosen = subset(self.data, count, seed)
        parts = [chosen.with_label_noise(level, mix(seed, 2)).train for level in noise]
        return self._drawn(parts)

    def test(self, count: int) -> Drawn:
        """The first samples of a fixed permutation of the test split."""
        assert self.data.test is not None
        order = torch.randperm(len(self.data.test), generator=torch.Generator().manual_seed(0))
        return self._drawn([self.data.test[order[:count]]])

    def _drawn(self, parts: list[Split]) -> Drawn:
        labels = torch.stack([part.targets for part in parts], dim=1)
        targets = F.one_hot(labels, self.data.num_outputs).double()
        return Drawn(parts[0].inputs.flatten(1).double(), 2 * targets - 1 if self.signs else targets, labels)


def subset(data: DataSet, count: int, seed: int) -> DataSet:
    """So many training samples, drawn anew with each seed; fewer of the same seed are the first of more."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(mix(seed, 1)))
    return replace(data, train=data.train[order[:count]])
