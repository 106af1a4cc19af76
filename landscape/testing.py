"""Problems with known answers, for tests and experiments only."""

from __future__ import annotations

import math
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

    def hessian(self) -> Tensor:
        r""":math:`H = \frac2n X^\top X`, shape `(d, d)`."""
        return 2 / len(self.inputs) * self.inputs.T @ self.inputs

    def stationary_covariance(self, lr: float, batch_size: int) -> Tensor:
        r"""Covariance of SGD's iterates around the minimum once it is stationary: the shape of its noise ball.

        With :math:`e = \theta - \theta^*`, :math:`h_i = 2 x_i x_i^\top`, :math:`r_i = y_i - x_i \cdot \theta^*` and
        b samples drawn independently with replacement, a step is
        :math:`e \leftarrow (I - \alpha h_B) e + 2 \alpha \frac1b \sum_{i \in B} r_i x_i`, where :math:`h_B` is the
        mean of the batch's :math:`h_i`. Its mean contracts to 0 and the batch is independent of e, so
        the covariance solves

        .. math:: \Sigma = \Sigma - \alpha (H\Sigma + \Sigma H) + \alpha^2 \left[ (1 - \tfrac1b) H\Sigma H
                  + \tfrac1b \langle h_i \Sigma h_i \rangle + \tfrac1b C \right], \qquad
                  C = \langle 4 r_i^2 x_i x_i^\top \rangle,

        a linear equation, solved here exactly for every step size. For small ones it becomes Lyapunov's,
        :math:`H\Sigma + \Sigma H = \frac\alpha b C`: a ball whose radius :math:`\sqrt{\operatorname{tr}\Sigma}` grows
        as :math:`\sqrt\alpha`.

        Args:
            lr: Step size :math:`\alpha`.
            batch_size: b.

        Returns:
            :math:`\Sigma`, shape `(d, d)`; infinite where the step size is so large that there is none.

        References:
            Mulayoff & Michaeli, "Exact mean square linear stability analysis for SGD", arXiv 2306.07850; Mandt,
            Hoffman & Blei, "Stochastic gradient descent as approximate Bayesian inference", arXiv 1704.04289 (small
            step sizes).
        """
        n, d = self.inputs.shape
        hessian, eye = self.hessian(), torch.eye(d, dtype=self.inputs.dtype)
        residuals = self.targets[:, 0] - self.inputs @ self.minimum()
        outer = torch.einsum("ni,nj->nij", self.inputs, self.inputs)
        noise = 4 * torch.einsum("n,nij->ij", residuals.square(), outer) / n
        second = 4 * torch.einsum("nij,nkl->ikjl", outer, outer).reshape(d * d, d * d) / n
        both = torch.kron(hessian, hessian)
        square = (1 - 1 / batch_size) * both + second / batch_size
        step = torch.eye(d * d, dtype=eye.dtype) - lr * (torch.kron(hessian, eye) + torch.kron(eye, hessian))
        step = step + lr**2 * square
        if not float(torch.linalg.eigvals(step).abs().max()) < 1:
            return torch.full((d, d), math.inf, dtype=eye.dtype)
        flat: Tensor = torch.linalg.solve(
            torch.eye(d * d, dtype=eye.dtype) - step, lr**2 / batch_size * noise.reshape(-1)
        )
        return flat.reshape(d, d)


@dataclass(frozen=True)
class LogisticRegression:
    r"""Logistic regression, :math:`f(\theta) = \frac1n\sum_i \log(1+e^{-y_i x_i\cdot\theta}) + \frac\mu2\|\theta\|^2`.

    Args:
        inputs: :math:`x_i`, shape `(n, d)`.
        targets: :math:`y_i`, each -1 or 1, shape `(n,)`.
        mu: Strong convexity :math:`\mu > 0`.
    """

    inputs: Tensor
    targets: Tensor
    mu: float

    @classmethod
    def random(cls, num_samples: int, num_inputs: int, mu: float, generator: torch.Generator) -> LogisticRegression:
        """Gaussian inputs, and labels that a Gaussian `theta` gives with its logistic probabilities; float64."""
        inputs = torch.randn(num_samples, num_inputs, generator=generator, dtype=torch.float64)
        truth = torch.randn(num_inputs, generator=generator, dtype=torch.float64)
        uniform = torch.rand(num_samples, generator=generator, dtype=torch.float64)
        return cls(inputs, torch.where(uniform < torch.sigmoid(inputs @ truth), 1.0, -1.0).double(), mu)

    def loss(self, theta: Tensor) -> Tensor:
        """The loss f for parameters `(*, d)`, shape `(*)`, nats."""
        margins = theta @ self.inputs.T * self.targets
        return torch.nn.functional.softplus(-margins).mean(-1) + 0.5 * self.mu * theta.square().sum(-1)

    def gradient(self, theta: Tensor, samples: Tensor | None = None) -> Tensor:
        r"""The gradient of f, or of its estimate from samples.

        Args:
            theta: Parameters of several runs, shape `(*, d)`.
            samples: Indices of each run's batch, shape `(*, b)`; all samples if None.

        Returns:
            The gradient, shape `(*, d)`.
        """
        if samples is None:
            weights = -self.targets * torch.sigmoid(-(theta @ self.inputs.T) * self.targets)
            return weights @ self.inputs / len(self.inputs) + self.mu * theta
        inputs, targets = self.inputs[samples], self.targets[samples]
        margins = (inputs @ theta[..., None])[..., 0] * targets
        weights = -targets * torch.sigmoid(-margins) / samples.shape[-1]
        return (weights[..., None, :] @ inputs)[..., 0, :] + self.mu * theta

    def hessian(self, theta: Tensor) -> Tensor:
        r""":math:`\frac1n X^\top D X + \mu I` at one point, shape `(d, d)`."""
        chance = torch.sigmoid(self.inputs @ theta)
        weighted = self.inputs * (chance * (1 - chance))[:, None] / len(self.inputs)
        hessian: Tensor = weighted.T @ self.inputs + self.mu * torch.eye(self.inputs.shape[1], dtype=self.inputs.dtype)
        return hessian

    def minimum(self, steps: int = 30) -> Tensor:
        """Where f is least, shape `(d,)`, by Newton's method with halved steps where f would rise."""
        theta: Tensor = torch.zeros(self.inputs.shape[1], dtype=self.inputs.dtype)
        for _ in range(steps):
            direction = torch.linalg.solve(self.hessian(theta), self.gradient(theta))
            size = 1.0
            while size > 1e-6 and self.loss(theta - size * direction) > self.loss(theta):
                size /= 2
            if size <= 1e-6:  # rounding decides: a full step is the better of the two
                size = 1.0
            theta = theta - size * direction
        return theta
