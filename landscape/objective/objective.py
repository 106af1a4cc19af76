r"""The loss as a function of the parameters.

.. math:: L(\theta) = \frac1n \sum_{i=1}^n \ell_i(\theta) + \frac\lambda2 \|\theta\|^2

An `Objective` is a model, data and a loss. It owns device, dtype, microbatches and the BatchNorm policy, and works on a
private copy: the caller's model, its training flags and torch's random state are never changed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.objective.batchnorm import check_policy, recompute_statistics
from landscape.objective.losses import CLASSIFYING, Loss, mean, per_sample, resolve_loss
from landscape.objective.module import PrivateModule, preserved_rng
from landscape.objective.parameters import Layout
from landscape.objective.precision import check_precision, dtype_of
from landscape.objective.samples import Batch, Samples, batch_length

NORM_BATCH_SIZE = 128
"""Batch size of the pass that recomputes BatchNorm statistics: part of their definition on every device."""


class Objective:
    r"""The loss :math:`L(\theta)` of a model on a data set, its gradient and metrics.

    Args:
        model: Any `nn.Module`; only read.
        data: `(inputs, targets)` as tensors or arrays (inputs possibly a tuple or dict), an object with these two
            attributes, or a loader that can be iterated again in the same order.
        loss: A name of `losses.LOSSES`, or a function `(outputs, targets) -> (B,)`, one value per sample (a token loss
            returns sums and counts).
        metrics: Further per-sample functions by name; by default `error` beside cross-entropy.
        batchnorm: `"checkpoint"`, `"recompute"` or `"batch"`; see `landscape.objective.batchnorm`.
        batchnorm_data: Training inputs for `"recompute"` where `data` is another split, in the same forms as `data`.
        parameters: Regular expression that restricts theta to the tensors whose name it is found in.
        weight_decay: :math:`\lambda` of the L2 term over all of theta, part of `loss` and of gradients.
        device: Where to compute; the model's own by default.
        dtype: `torch.float32` or `torch.float64`; the model's own by default.
        batch_size: Samples in a microbatch; bounds memory and, but for `"batch"`, changes values only by rounding.
        population: Size of the data set of which `data` are a random subset; standard errors then
            estimate that set's mean. By default `data` are everything and standard errors are 0.
        precision: Of forward passes, one of `landscape.objective.precision.PRECISIONS`, instead of `dtype`.

    Raises:
        RequestError: If the model has no parameters or is in half precision, the data or the loss break their contract,
            or a name is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: str | Loss = "cross-entropy",
        *,
        metrics: Mapping[str, Loss] | None = None,
        batchnorm: str = "checkpoint",
        batchnorm_data: Any = None,
        parameters: str | None = None,
        weight_decay: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int = 128,
        population: int | None = None,
        precision: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise RequestError(f"batch_size must be at least 1, got {batch_size}")
        if not (math.isfinite(weight_decay) and weight_decay >= 0):
            raise RequestError(f"weight_decay must be a number of at least 0, got {weight_decay}")
        example = next(model.parameters(), None)
        if example is None:
            raise RequestError("the model has no parameters: a loss landscape needs at least one")
        self.device = torch.device(device) if device is not None else example.device
        check_precision(precision, self.device.type)
        self.dtype = dtype_of(precision) or dtype or example.dtype
        if self.dtype not in (torch.float32, torch.float64):
            name = str(self.dtype).removeprefix("torch.")
            raise RequestError(f"the model is in {name}, too coarse for a loss landscape: call model.float() first")
        self.loss_function, self.metrics = resolve_loss(loss, metrics)
        self.batchnorm = check_policy(batchnorm)
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.module = PrivateModule(model, self.device, self.dtype, parameters)
        self.module.precision = precision
        self.samples = Samples(data, self.device, self.dtype)
        self.population = population
        if self.batchnorm == "recompute" and self.module.norm_layers:
            source = self.samples if batchnorm_data is None else Samples(batchnorm_data, self.device, self.dtype)
            self.module.refresh_statistics = partial(self._recompute_statistics, source)

    def _recompute_statistics(self, source: Samples) -> None:
        batches = (inputs for inputs, _ in source.batches(NORM_BATCH_SIZE))
        with preserved_rng(self.device, seed=0):
            recompute_statistics(self.module.norm_layers, self.module, batches)

    def on(self, data: Any, population: int | None = None) -> Objective:
        """The same loss of the same private model on other data.

        BatchNorm statistics go on coming from this objective's training inputs, and a theta at which both are evaluated
        in turn has them recomputed once.

        Args:
            data: As for `Objective`.
            population: As for `Objective`.
        """
        other = copy.copy(self)
        other.samples = Samples(data, self.device, self.dtype)
        other.population = population
        return other

    @property
    def layout(self) -> Layout:
        """Names and shapes of the tensors that make up theta."""
        return self.module.layout

    @property
    def theta(self) -> Tensor:
        """The model's own parameters, shape `(D,)`."""
        return self.module.theta

    @property
    def num_parameters(self) -> int:
        """The dimension D of theta."""
        return self.layout.num_parameters

    @property
    def num_samples(self) -> int:
        """The number of samples n."""
        return len(self.samples)

    def loss(self, theta: Tensor) -> float:
        r"""The value :math:`L(\theta)` in units of the loss (nats for cross-entropy), theta of shape `(D,)`."""
        values, counts = self.losses(theta)
        total = values.double().sum() / counts.double().sum()
        return float(total) + self.penalty(theta)

    def losses(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        r"""Each sample's loss, without the L2 term.

        Args:
            theta: Shape `(D,)`.

        Returns:
            Values :math:`\ell_i(\theta)` (sums for a token loss) and counts (1, or the tokens), both `(n,)`.
        """
        return self.per_sample(theta)["loss"]

    def evaluate(self, theta: Tensor) -> dict[str, float]:
        r"""Loss and metrics at one point.

        Args:
            theta: Shape `(D,)`.

        Returns:
            `loss` (with the L2 term), each metric, and `<name>_stderr`, the standard error of its mean as an estimate
            of the `population`'s: :math:`s / \sqrt n \cdot \sqrt{1 - n/N}`, 0 where all samples were used, NaN for a
            single one of several.
        """
        result: dict[str, float] = {}
        for name, (values, counts) in self.per_sample(theta).items():
            result[name], result[f"{name}_stderr"] = self.estimate(values.double(), counts.double())
        result["loss"] += self.penalty(theta)
        return result

    def values(self, thetas: Tensor) -> dict[str, np.ndarray]:
        """Loss and metrics at a block of points.

        Args:
            thetas: Shape `(P, D)`.

        Returns:
            As `evaluate`, each entry an array of shape `(P,)`.
        """
        if thetas.ndim != 2 or len(thetas) == 0:
            raise RequestError(f"expected points of shape (P, {self.num_parameters}), got {tuple(thetas.shape)}")
        rows = [self.evaluate(theta) for theta in thetas]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        r"""Value and gradient over the whole data set; BatchNorm statistics are held constant.

        Args:
            theta: Shape `(D,)`.

        Returns:
            :math:`L(\theta)` and :math:`\nabla L(\theta)`, shape `(D,)`.
        """
        self.module.place(theta)
        gradient = torch.zeros_like(self.module.theta)
        total, count = 0.0, 0.0
        with self.evaluation_mode(), self.module.differentiable():
            for batch in self.samples.batches(self.batch_size):
                values, counts = self._batch_loss(batch)
                gradient += self.module.gradient_of(values.sum())
                total += float(values.detach().double().sum())
                count += len(values) if counts is None else float(counts.sum())
        gradient /= count
        gradient += self.weight_decay * self.module.layout.flatten(self.module.tensors)
        return total / count + self.penalty(theta), gradient

    def minibatch_gradient(self, theta: Tensor, batch: Batch, seed: int | None = None) -> tuple[Tensor, Tensor]:
        r"""Value and gradient on one minibatch as in training: BatchNorm by the batch, dropout on.

        Args:
            theta: Shape `(D,)`.
            batch: A pair `(inputs, targets)` on this objective's device, for example from `samples.select`.
            seed: Seeds dropout; torch's global random state is left as it was.

        Returns:
            The minibatch loss (a scalar tensor, with the L2 term) and its gradient, shape `(D,)`.
        """
        self.module.write(theta)
        with preserved_rng(self.device, seed), self.module.training_mode(), torch.enable_grad():
            value = mean(*self._batch_loss(batch))
            gradient = self.module.gradient_of(value)
        value = value.detach()
        if self.weight_decay:
            theta = theta.detach().to(gradient)
            value = value + 0.5 * self.weight_decay * theta.square().sum()
            gradient.add_(theta, alpha=self.weight_decay)
        return value, gradient

    def check(self) -> None:
        """Evaluate and differentiate two samples, so that a wrong request shows before the work begins.

        Raises:
            RequestError: If the model can't take the data, the loss isn't per sample, or a label is no class.
        """
        with torch.no_grad(), self.evaluation_mode():
            inputs, targets = self.samples.first(2)
            outputs = self.module(inputs)
            if self.loss_function in CLASSIFYING:
                self.samples.check_labels(outputs.shape[-1])
            for name, function in self.metrics.items():
                per_sample(function, outputs, targets, batch_length(targets), name)
        self.minibatch_gradient(self.theta, (inputs, targets), seed=0)

    def penalty(self, theta: Tensor) -> float:
        r"""The L2 term :math:`\frac\lambda2 \|\theta\|^2` at theta, shape `(D,)`."""
        return 0.5 * self.weight_decay * float(theta.double().square().sum()) if self.weight_decay else 0.0

    def estimate(self, values: Tensor, counts: Tensor) -> tuple[float, float]:
        """Mean and standard error; for token sums that of the ratio estimator."""
        estimate = values.sum() / counts.sum()
        n, population = len(values), self.population
        if population is None or population == n:
            return float(estimate), 0.0
        if population < n:
            raise RequestError(f"the population of {population} is smaller than the {n} samples of it")
        if n == 1:
            return float(estimate), math.nan
        residuals = (values - estimate * counts) / counts.mean()
        return float(estimate), float(residuals.std()) / math.sqrt(n) * math.sqrt(1 - n / population)

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """The model as it is evaluated; one that draws random numbers even so gets the same ones each time."""
        with preserved_rng(self.device, seed=0):
            if self.batchnorm == "batch":
                with self.module.training_mode(norm_layers_only=True):
                    yield
            else:
                yield

    def _batch_loss(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        inputs, targets = batch
        return per_sample(self.loss_function, self.module(inputs), targets, batch_length(targets), "loss")

    @torch.no_grad()
    def per_sample(self, theta: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Values and counts of the loss and each metric for all samples, in order."""
        self.module.place(theta)
        functions = {"loss": self.loss_function, **self.metrics}
        pieces: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in functions}
        with self.evaluation_mode():
            for inputs, targets in self.samples.batches(self.batch_size):
                outputs = self.module(inputs)
                for name, function in functions.items():
                    values, counts = per_sample(function, outputs, targets, batch_length(targets), name)
                    pieces[name].append((values, torch.ones_like(values) if counts is None else counts))
        return {
            name: (torch.cat([values for values, _ in parts]), torch.cat([counts for _, counts in parts]))
            for name, parts in pieces.items()
        }
