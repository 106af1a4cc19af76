"""An objective that stands at one point, ready to be differentiated there twice.

It owns its copy of the model, so that graphs through it outlive whatever the objective is evaluated at meanwhile.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.errors import RequestError
from landscape.objective.determinism import check_deterministic
from landscape.objective.folding import Plan, Shortened, UnexpectedUseError, plan_folding
from landscape.objective.losses import per_sample
from landscape.objective.module import PrivateModule, apply_module, preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.samples import Batch, batch_length, map_tensors


class Standing:
    """A private copy of an objective at one point.

    Args:
        objective: Only read; its own private model is left standing at theta.
        theta: All of the objective's parameters, shape `(D,)`.
        parameters: Regular expression that restricts the derivatives to some of the objective's tensors.
        own_convolution: Whether convolutions are those of `landscape.objective.convolution`.

    Raises:
        RequestError: If theta has another shape, no parameter is chosen, or the model is not deterministic.
    """

    def __init__(self, objective: Objective, theta: Tensor, parameters: str | None, own_convolution: bool) -> None:
        objective.module.place(theta)
        names = _chosen(objective.layout.names, parameters)
        exactly = "|".join(f"^{re.escape(name)}$" for name in names)
        self.objective = copy.copy(objective)
        self.objective.module = PrivateModule(objective.module.module, objective.device, objective.dtype, exactly)
        self.module = self.objective.module
        self.tensors = self.module.tensors
        self.own_convolution = own_convolution
        recurrent = any(isinstance(part, nn.RNNBase) for part in self.module.module.modules())
        self._recurrent = recurrent and objective.device.type == "cuda"
        self.plan: Plan = {}
        with self.context():
            check_deterministic(self.objective)
            inputs, _ = objective.samples.first(2)
            self.plan = plan_folding(self.module.module, lambda: self.module(inputs))

    @contextmanager
    def context(self) -> Iterator[None]:
        """Evaluation mode as the objective has it, gradients on, and only kernels that can be differentiated twice."""
        with ExitStack() as stack:
            stack.enter_context(preserved_rng(self.objective.device, seed=0))
            if self.objective.batchnorm == "batch":
                stack.enter_context(self.module.training_mode(norm_layers_only=True))
            stack.enter_context(self.module.differentiable())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if self._recurrent:  # cuDNN's have no second derivative
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, at most `size` (or one more) in a batch, those of a loader cut where larger."""
        for batch in self.objective.samples.batches(size):
            length = batch_length(batch[1])
            if length <= size + 1 or self.objective.batchnorm == "batch":
                yield batch
                continue
            for start in range(0, length, size):
                yield map_tensors(itemgetter(slice(start, start + size)), batch)

    def outputs(self, inputs: Any) -> Any:
        """The model's outputs with their graph, which is kept short."""
        try:
            with Shortened(self.plan, self.own_convolution):
                return self.module(inputs)
        except UnexpectedUseError:
            self.plan = {}
            return self.outputs(inputs)

    def loss(self, outputs: Any, targets: Any) -> tuple[Tensor, float]:
        """The summed loss, and the number of samples or tokens that it is a sum over."""
        values, counts = per_sample(self.objective.loss_function, outputs, targets, batch_length(targets), "loss")
        return values.sum(), float(len(values) if counts is None else counts.sum())

    def gradient(self, batch: Batch) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
        """The gradient of the summed loss as a function of the tensors, for `torch.func`."""
        inputs, targets = batch
        module = self.module.module

        def loss(tensors: tuple[Tensor, ...]) -> Tensor:
            named = dict(zip(self.module.layout.names, tensors, strict=True))

            def call(*args: Any, **kwargs: Any) -> Any:
                return torch.func.functional_call(module, named, args, kwargs)

            with Shortened(self.plan, own_convolution=False):
                outputs = apply_module(call, map_tensors(torch.clone, inputs))  # models may write into them
            values, _ = per_sample(self.objective.loss_function, outputs, targets, batch_length(targets), "loss")
            return values.sum()

        gradient: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] = torch.func.grad(loss)
        return gradient


def _chosen(names: tuple[str, ...], pattern: str | None) -> tuple[str, ...]:
    """The names that a pattern is found in."""
    try:
        chosen = tuple(name for name in names if pattern is None or re.search(pattern, name))
    except re.error as error:
        raise RequestError(f"parameters='{pattern}' is no regular expression: {error}") from error
    if not chosen:
        raise RequestError(f"parameters='{pattern}' matches none of: {', '.join(names)}")
    return chosen
