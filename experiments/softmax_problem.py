r"""Multinomial logistic regression with one weight matrix, the problem of `softmax_regression`.

.. math:: f(W) = \frac1n \sum_i \left[ \log \sum_c e^{(W x_i)_c} - (W x_i)_{y_i} \right] + \frac\mu2 \|W\|_F^2

with a constant 1 as the last entry of each input, so that the biases are the last column of W and W is the only
parameter: a matrix norm is one of all that is trained. f is strongly convex, and :math:`f(W) - f^* \le
\|\nabla f(W)\|_F^2 / (2\mu)` says how exactly its minimum is known.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from landscape.networks.sampling import mix
from landscape.networks.splits import DataSet, Split

STACK = 64
"""Weights whose loss is evaluated at once."""


class SoftmaxRegression:
    """The problem: data with a constant input, the loss and its gradient.

    Args:
        data: Images or vectors with classes, and a test split.
        mu: Strong convexity.
    """

    def __init__(self, data: DataSet, mu: float) -> None:
        assert data.test is not None
        self.mu, self.classes = mu, data.num_outputs
        self.inputs, self.targets = _with_constant(data.train), data.train.targets
        self.test_inputs, self.test_targets = _with_constant(data.test), data.test.targets
        self.exact = self.inputs.double()
        self.chances = torch.nn.functional.one_hot(self.targets, self.classes).to(self.inputs)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weights: classes and inputs."""
        return self.classes, self.inputs.shape[1]

    def start(self, seed: int) -> Tensor:
        r"""Weights drawn uniformly from :math:`\pm 1/\sqrt d`, as a linear layer's are; float32."""
        generator = torch.Generator().manual_seed(mix(seed, 0))
        return (2 * torch.rand(self.shape, generator=generator) - 1) / math.sqrt(self.shape[1])

    def gradients(self, weights: Tensor, batch: Tensor) -> Tensor:
        """The gradients on one batch at several weights, shape `(K, classes, inputs)`, in float32."""
        inputs = self.inputs[batch]
        logits = (inputs @ weights.flatten(0, 1).T).unflatten(1, (-1, self.classes))
        residuals = (logits.softmax(-1) - self.chances[batch][:, None]) / len(batch)
        return (residuals.flatten(1).T @ inputs).view_as(weights) + self.mu * weights

    def batch_loss(self, weights: Tensor, batch: Tensor) -> Tensor:
        """The loss on one batch at one matrix, shape `()`, its sums in float64."""
        logits = (self.inputs[batch] @ weights.T).double()
        own = logits.gather(-1, self.targets[batch][:, None])[:, 0]
        return (logits.logsumexp(-1) - own).mean() + self.mu / 2 * weights.double().square().sum()

    def losses(self, weights: Tensor) -> Tensor:
        """The values f at weights `(K, classes, inputs)`, in float64 over all samples, shape `(K,)`."""
        found = []
        for some in weights.double().split(STACK):
            logits = (self.exact @ some.flatten(0, 1).T).unflatten(1, (-1, self.classes))
            own = logits.gather(-1, self.targets[:, None, None].expand(-1, len(some), 1))[..., 0]
            found.append((logits.logsumexp(-1) - own).mean(0) + self.mu / 2 * some.square().sum((-2, -1)))
        return torch.cat(found)

    def test_errors(self, weights: Tensor) -> Tensor:
        """Share of the test samples that are misclassified, shape `(K,)`; NaN for weights that aren't finite."""
        found = []
        for some in weights.split(STACK):
            logits = (self.test_inputs @ some.flatten(0, 1).T).unflatten(1, (-1, self.classes))
            wrong = (logits.argmax(-1) != self.test_targets[:, None]).double().mean(0)
            found.append(wrong.where(some.isfinite().all(-1).all(-1), torch.nan))
        return torch.cat(found)

    def exact_gradient(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The value f and its gradient over all samples in float64, at weights as one vector."""
        weights = torch.from_numpy(flat).view(self.shape)
        logits = self.exact @ weights.T
        peaks = logits.logsumexp(-1, keepdim=True)
        own = logits.gather(-1, self.targets[:, None])
        residuals = ((logits - peaks).exp_() - self.chances).div_(len(logits))
        gradient = torch.addmm(weights, residuals.T, self.exact, beta=self.mu)
        return float((peaks - own).mean() + self.mu / 2 * weights.square().sum()), gradient.numpy().ravel()

    def minimum(self) -> tuple[np.ndarray, float, float]:
        r"""Minimise f by SciPy's L-BFGS in float64, in coordinates in which it is well conditioned.

        Böhning's bound, :math:`\nabla^2 f \preceq \frac12 I \otimes X^\top X / n + \mu I =: I \otimes P`, gives the
        coordinates :math:`V = W P^{1/2}`.

        Returns:
            The minimum, shape `(classes, inputs)`, f there, and the norm of its gradient.
        """
        from scipy.optimize import minimize

        second = (self.exact.T @ self.exact / len(self.exact) / 2).numpy()
        values, vectors = np.linalg.eigh(second)
        back = (vectors / np.sqrt(np.maximum(values, 0) + self.mu)) @ vectors.T

        def preconditioned(v: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = self.exact_gradient((v.reshape(self.shape) @ back).ravel())
            return loss, (gradient.reshape(self.shape) @ back).ravel()

        options = {"maxiter": 2000, "maxfun": 4000, "maxcor": 30, "ftol": 0.0, "gtol": 1e-12}
        solution = minimize(
            preconditioned, np.zeros(math.prod(self.shape)), jac=True, method="L-BFGS-B", options=options
        )
        weights = solution.x.reshape(self.shape) @ back
        loss, gradient = self.exact_gradient(weights.ravel())
        return weights, loss, float(np.linalg.norm(gradient))


def _with_constant(split: Split) -> Tensor:
    """The inputs as float32 vectors with a 1 behind them."""
    flat = split.inputs.flatten(1).float()
    return torch.cat([flat, torch.ones(len(flat), 1)], dim=1)
