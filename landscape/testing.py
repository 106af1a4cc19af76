"""Problems with known answers, for tests and experiments only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LinearRegression:
    r"""Least squares, :math:`L(\theta) = \frac1n \|X\theta - y\|^2` with :math:`\theta \in \mathbb{R}^d`.

    Args:
        inputs: :math:`X`, shape `(n, d)`.
        targets: :math:`y`, shape `(n, 1)`.
    """

    inputs: Tensor
    targets: Tensor

    @classmethod
    def random(cls, num_samples: int, num_inputs: int, generator: torch.Generator) -> LinearRegression:
        """Gaussian inputs and targets in float64."""
        data = torch.randn(num_samples, num_inputs + 1, generator=generator, dtype=torch.float64)
        return cls(data[:, :-1].contiguous(), data[:, -1:].contiguous())

    def model(self) -> nn.Module:
        r"""The linear layer whose weights are :math:`\theta`, all zero."""
        layer = nn.Linear(self.inputs.shape[1], 1, bias=False, dtype=self.inputs.dtype)
        nn.init.zeros_(layer.weight)
        return layer

    def losses(self, theta: Tensor) -> Tensor:
        r""":math:`(x_i \cdot \theta - y_i)^2`, shape `(n,)`."""
        return (self.inputs @ theta - self.targets[:, 0]).square()

    def gradient(self, theta: Tensor) -> Tensor:
        r""":math:`\frac2n X^\top (X\theta - y)`, shape `(d,)`."""
        return 2 / len(self.inputs) * self.inputs.T @ (self.inputs @ theta - self.targets[:, 0])

    def minimum(self, weight_decay: float = 0.0) -> Tensor:
        r"""Where :math:`L(\theta) + \frac\lambda2 \|\theta\|^2` is least, shape `(d,)`."""
        n, d = self.inputs.shape
        hessian = 2 / n * self.inputs.T @ self.inputs + weight_decay * torch.eye(d, dtype=self.inputs.dtype)
        minimum: Tensor = torch.linalg.solve(hessian, 2 / n * self.inputs.T @ self.targets[:, 0])
        return minimum
