"""A private copy of the caller's model into which any theta can be written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.objective.batchnorm import freeze_statistics, tracking_layers
from landscape.objective.losses import logits
from landscape.objective.parameters import Layout
from landscape.objective.samples import leaves


def copy_module(module: nn.Module) -> nn.Module:
    """Deep-copy a module, including one that keeps computed (non-leaf) tensors, as old-style `weight_norm` does."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in part.__dict__.values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def apply_module(module: nn.Module, inputs: Any) -> Any:
    """Call a module on a tensor, on a tuple as positional or on a dict as keyword arguments; return its logits.

    Raises:
        RequestError: If the module can't take such inputs.
    """
    try:
        if isinstance(inputs, Mapping):
            return logits(module(**inputs))
        return logits(module(*inputs) if isinstance(inputs, tuple) else module(inputs))
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as failure:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in leaves(inputs))
        reason = str(failure).strip().splitlines()[0]
        raise RequestError(f"the model can't take the data (inputs of shape {shapes}): {reason}") from failure


@contextmanager
def preserved_rng(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Leave torch's global random state as it was, on CPU and the device; inside it may be seeded."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
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
        self._placed: tuple[Tensor, int] | None = None

    @torch.no_grad()
    def write(self, theta: Tensor) -> None:
        """Set the parameters to theta, shape `(D,)`, in place; running statistics stay as they are."""
        self._placed = None
        theta = theta.detach().to(self.theta.device, self.theta.dtype)
        torch._foreach_copy_(self.tensors, list(self.layout.split(theta)))

    def place(self, theta: Tensor) -> None:
        """Stand at theta: write it and bring the statistics up to date, unless this very tensor is placed already."""
        if self._placed is not None and self._placed[0] is theta and self._placed[1] == theta._version:
            return
        self.write(theta)
        if self.refresh_statistics is not None:
            self.refresh_statistics()
        self._placed = (theta, theta._version)

    def __call__(self, inputs: Any) -> Any:
        """Run the copy in its current mode."""
        return apply_module(self.module, inputs)

    def gradient_of(self, value: Tensor) -> Tensor:
        """The gradient of a scalar with respect to theta, shape `(D,)`; zero for tensors it does not touch."""
        gradients = torch.autograd.grad(value, self.tensors, allow_unused=True, materialize_grads=True)
        return self.layout.flatten(gradients)

    @contextmanager
    def training_mode(self, *, norm_layers_only: bool = False) -> Iterator[None]:
        """Put the copy (or only its normalisation layers) into training mode; running statistics stay as they are."""
        if norm_layers_only:
            for layer in self.norm_layers:
                layer.train()
        else:
            self.module.train()
        try:
            yield
        finally:
            self.module.eval()
