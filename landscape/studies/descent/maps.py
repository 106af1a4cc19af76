"""Random features: maps of inputs to a growing number of features, all drawn from a generator of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import unknown


@dataclass(frozen=True)
class Features:
    """Features whose first N are the same for every N.

    Args:
        inputs: Number of inputs D.
        count: Largest number of features.
        scale: Width of the distribution of weights: an input of the length `radius` meets weights of this standard
            deviation.
        radius: Root mean square length of an input.
        seed: Draws the features.
    """

    inputs: int
    count: int
    scale: float
    radius: float
    seed: int

    def generator(self) -> torch.Generator:
        """The source of randomness."""
        return torch.Generator().manual_seed(self.seed)

    def normal(self, generator: torch.Generator) -> Tensor:
        """Weights of each feature, shape `(count, D)`, row by row, so that fewer are the first of more."""
        weights = torch.randn(self.count, self.inputs, generator=generator, dtype=torch.float64)
        return weights * (self.scale / self.radius)


def fourier(features: Features) -> Callable[[Tensor, int], Tensor]:
    r"""Random Fourier features, :math:`\sqrt{2/N} \cos(x W + b)`, :math:`b \sim U(0, 2\pi)` (Rahimi & Recht 2007)."""
    generator = features.generator()
    phases = 2 * math.pi * torch.rand(features.count, generator=generator, dtype=torch.float64)
    weights = features.normal(generator)
    return lambda x, count: math.sqrt(2 / count) * torch.cos(x @ weights[:count].T + phases[:count])


def relu(features: Features) -> Callable[[Tensor, int], Tensor]:
    r"""Random ReLU features, :math:`\sqrt{2/N} \max(0, x W + b)`, b as wide as the weights' products."""
    generator = features.generator()
    biases = features.scale * torch.randn(features.count, generator=generator, dtype=torch.float64)
    weights = features.normal(generator)
    return lambda x, count: math.sqrt(2 / count) * torch.relu(x @ weights[:count].T + biases[:count])


def linear(features: Features) -> Callable[[Tensor, int], Tensor]:
    """The inputs themselves, N of them in random order."""
    order = torch.randperm(features.inputs, generator=features.generator())
    return lambda x, count: x[:, order[:count]]


MAPS: dict[str, Callable[[Features], Callable[[Tensor, int], Tensor]]] = {
    "fourier": fourier,
    "relu": relu,
    "linear": linear,
}
"""Each gives a function of inputs `(n, D)` and N that returns features `(n, N)`."""


def find_map(name: str) -> Callable[[Features], Callable[[Tensor, int], Tensor]]:
    """A kind of features by name.

    Raises:
        RequestError: If there is none, naming the nearest.
    """
    if name not in MAPS:
        raise unknown("kind of features", name, MAPS)
    return MAPS[name]
