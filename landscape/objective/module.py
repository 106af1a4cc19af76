"""A private copy of the caller's model into which any theta can be written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.errors import RequestError, reason
from landscape.objective.batchnorm import freeze_statistics, tracking_layers
from landscape.objective.losses import MISFIT, logits
from landscape.objective.parameters import Layout
from landscape.objective.precision import ROUGH, computing, widened
from landscape.objective.samples import leaves


def copy_module(module: nn.Module) -> nn.Module:
    """Deep-copy a module, including one that keeps computed (non-leaf) tensors, as old-style `weight_norm` does."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in part.__dict__.values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def apply_module(module: Callable[..., Any], inputs: Any) -> Any:
    """Call a module on a tensor, on a tuple as positional or on a dict as keyword arguments; return its logits.

    Raises:
        RequestError: If the module can't take such inputs.
    """
    try:
        if isinstance(inputs, Mapping):
            return logits(module(**inputs))
        return logits(module(*inputs) if isinstance(inputs, tuple) else module(inputs))
    except (RequestError, torch.OutOfMemoryError):
        raise
    except MISFIT as failure:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in leaves(inputs))
        raise RequestError(f"the model can't take the data (inputs of shape {shapes}): {reason(failure)}") from failure


def seed_rng(device: torch.device, seed: int) -> None:
    """Seed torch's global generators of the CPU and one device; those of other devices are left alone."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def preserved_rng(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Leave torch's global random state as it was, on CPU and the device; inside it may be seeded."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seed is not None:
            seed_rng(device, seed)
        yield


class PrivateModule:
    """A copy of a model, in evaluation mode, whose parameters are written from theta.

    Args:
        model: The caller's model; it is only read.
        device: Where the copy lives.
        dtype: Dtype of its floating-point parameters and buffers; None keeps the model's.
        parameters: Regular expression that restricts theta to some tensors.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, dtype: torch.dtype | None, parameters: str | None = None
    ) -> None:
        self.module = copy_module(model).to(device=device, dtype=dtype)
        self.module.requires_grad_(False).eval()
        self.layout = Layout.of(self.module, parameters)
        named = dict(self.module.named_parameters())
        self.tensors = [named[name].requires_grad_(True) for name in self.layout.names]
        self.norm_layers = tracking_layers(self.module)
        freeze_statistics(self.norm_layers)
        self.theta = self.layout.flatten(self.tensors)
        self.refresh_statistics: Callable[[], None] | None = None
        self.precision: str | None = None
        self._settled = False  # whether the statistics are those of the parameters
        self._recurrent = [part for part in self.module.modules() if isinstance(part, nn.RNNBase)]
        self._buffers = [
            (part, name, buffer.clone())
            for part in self.module.modules()
            if not isinstance(part, _BatchNorm)
            for name, buffer in part.named_buffers(recurse=False)
        ]

    @torch.no_grad()
    def write(self, theta: Tensor) -> None:
        """Set the parameters to theta, shape `(D,)`, in place; running statistics stay as they are."""
        self._settled = False
        theta = theta.detach().to(self.theta.device, self.theta.dtype)
        torch._foreach_copy_(self.tensors, list(self.layout.split(theta)))

    def place(self, theta: Tensor) -> None:
        """Stand at theta: write it and bring the statistics up to date, unless they are those of the same values."""
        if self.refresh_statistics is None:
            self.write(theta)
            return
        here = self.layout.flatten(self.tensors)
        if self._settled and torch.equal(here, theta.detach().to(here)):
            return
        self.write(theta)
        self.refresh_statistics()
        self._settled = True

    def __call__(self, inputs: Any) -> Any:
        """Run the copy in its current mode."""
        with self.computing():
            outputs = apply_module(self.module, inputs)
        return widened(outputs) if self.precision in ROUGH else outputs

    def computing(self) -> AbstractContextManager[None]:
        """The context in which the copy, or a recording of it, is run."""
        return computing(self.precision, self.theta.device)

    def gradient_of(self, value: Tensor) -> Tensor:
        """The gradient of a scalar with respect to theta, shape `(D,)`; zero for tensors it does not touch."""
        gradients = torch.autograd.grad(value, self.tensors, allow_unused=True, materialize_grads=True)
        return self.layout.flatten(gradients)

    @contextmanager
    def training_mode(self, *, norm_layers_only: bool = False) -> Iterator[None]:
        """Put the copy (or only its normalisation layers) into training mode.

        All buffers stay as they are: BatchNorm doesn't write them, and what other layers wrote (InstanceNorm, the power
        iteration of spectral_norm) is taken back.
        """
        before = [(part._buffers[name], getattr(part._buffers[name], "_version", 0)) for part, name, _ in self._buffers]
        if norm_layers_only:
            for layer in self.norm_layers:
                layer.train()
        else:
            self.module.train()
        try:
            yield
        finally:
            self.module.eval()
            for (part, name, value), (buffer, version) in zip(self._buffers, before, strict=True):
                if part._buffers[name] is not buffer or (buffer is not None and buffer._version != version):
                    part._buffers[name] = value.clone()

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        """Evaluation mode in which recurrent layers can be differentiated.

        cuDNN does that in training mode only, which for these layers means nothing but dropout: it is off meanwhile.
        """
        rates = [layer.dropout for layer in self._recurrent]
        for layer in self._recurrent:
            layer.dropout = 0.0
            layer.train()
        try:
            with torch.enable_grad():
                yield
        finally:
            for layer, rate in zip(self._recurrent, rates, strict=True):
                layer.dropout = rate
                layer.eval()
