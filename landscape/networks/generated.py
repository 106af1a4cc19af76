"""Generated data sets: small problems whose truth is known, drawn from a seed of their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscape.networks.algorithmic import ALGORITHMIC
from landscape.networks.splits import DataSet, divide
from landscape.settings import Count, NonNegative, Seed


def regression(
    *,
    num_samples: Count = 256,
    num_test: Count = 256,
    num_features: Count = 16,
    noise: NonNegative = 0.1,
    seed: Seed = 0,
) -> DataSet:
    r"""Linear regression :math:`y = x^\top w + \sigma \epsilon`.

    The inputs are :math:`x \sim N(0, I)`, the weights :math:`w \sim N(0, I / D)`.

    Args:
        num_samples: Training samples.
        num_test: Test samples, with the same noise.
        num_features: Dimension `D` of the inputs.
        noise: Standard deviation of the noise.
        seed: Draws weights, inputs and noise.

    Returns:
        Inputs `(N, D)` and targets `(N, 1)`, float64.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = _normal((num_samples + num_test, num_features), generator)
    weights = _normal((num_features, 1), generator) / math.sqrt(num_features)
    targets = inputs @ weights + noise * _normal((len(inputs), 1), generator)
    return divide("regression", inputs, targets, num_samples, None, seed)


def polynomial(
    *,
    num_samples: Count = 20,
    num_test: Count = 200,
    degree: Count = 3,
    noise: NonNegative = 0.2,
    seed: Seed = 0,
) -> DataSet:
    r"""One-dimensional regression on a random polynomial :math:`\sum_k c_k P_k(x)` of Legendre's basis on [-1, 1].

    Args:
        num_samples: Training samples, uniform in [-1, 1].
        num_test: Test samples, likewise.
        degree: Degree of the polynomial; :math:`c_k \sim N(0, 1)`.
        noise: Standard deviation of the noise on the targets of both splits.
        seed: Draws coefficients, inputs and noise.

    Returns:
        Inputs and targets `(N, 1)`, float64.
    """
    generator = torch.Generator().manual_seed(seed)
    coefficients = _normal((degree + 1,), generator)
    inputs = 2 * torch.rand((num_samples + num_test, 1), generator=generator, dtype=torch.float64) - 1
    values = [torch.ones_like(inputs), inputs]
    for k in range(1, degree):  # Bonnet's recursion: (k + 1) P_{k+1} = (2k + 1) x P_k − k P_{k−1}
        values.append(((2 * k + 1) * inputs * values[k] - k * values[k - 1]) / (k + 1))
    targets = torch.cat(values, dim=1) @ coefficients[:, None]
    targets = targets + noise * _normal((len(inputs), 1), generator)
    return divide("polynomial", inputs, targets, num_samples, None, seed)


def shapes1d(
    *,
    num_samples: Count = 4000,
    num_test: Count = 1000,
    num_features: Count = 40,
    noise: NonNegative = 0.25,
    seed: Seed = 0,
) -> DataSet:
    r"""Ten one-dimensional shapes, stretched, scaled, tilted, shifted and blurred with noise.

    A problem in the manner of MNIST-1D: linear models do badly, small networks well, in seconds. The shapes
    themselves never change; the seed draws what is done to them.

    Args:
        num_samples: Training samples.
        num_test: Test samples.
        num_features: Length of a signal.
        noise: Standard deviation of the noise; the shapes have unit variance.
        seed: Draws classes, deformations and noise.

    Returns:
        Inputs `(N, 1, num_features)`, float32, and labels in 0..9.

    References:
        S. Greydanus and D. Kobak, Scaling Down Deep Learning with MNIST-1D, arXiv:2011.14439.
    """
    generator = torch.Generator().manual_seed(seed)
    count = num_samples + num_test
    labels = torch.randint(10, (count,), generator=generator)

    def uniform(low: float, high: float) -> Tensor:
        draws = torch.rand((count, 1), generator=generator, dtype=torch.float64)
        return low + (high - low) * draws

    # Each shape is a sum of the three lowest sines on [0, 1], so that it starts and ends at zero.
    amplitudes = _normal((10, 3), torch.Generator().manual_seed(2011))
    amplitudes = amplitudes * math.sqrt(2) / amplitudes.norm(dim=1, keepdim=True)
    length, grid = uniform(0.3, 0.7), torch.linspace(0, 1, num_features, dtype=torch.float64)
    place = (grid - uniform(0, 1) * (1 - length)) / length
    waves = torch.stack([torch.sin(math.pi * k * place) for k in (1, 2, 3)], dim=-1)
    signals = (waves * amplitudes[labels][:, None]).sum(-1) * ((place >= 0) & (place <= 1))
    signals = uniform(0.7, 1.3) * signals + uniform(-0.5, 0.5) * (grid - 0.5)
    signals = signals + noise * _normal((count, num_features), generator)
    return divide("shapes1d", signals[:, None].float(), labels, num_samples, 10, seed)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


GENERATED: dict[str, Callable[..., DataSet]] = {
    "regression": regression,
    "polynomial": polynomial,
    "shapes1d": shapes1d,
    **ALGORITHMIC,
}
