r"""A shorter graph of the same function: BatchNorm in evaluation mode folded into the convolution before it.

With stored statistics BatchNorm is the affine map :math:`y \mapsto s (y - \mu) + \beta`,
:math:`s = \gamma / \sqrt{\sigma^2 + \epsilon}`, so that

.. math:: s (x * w + b - \mu) + \beta = x * (s w) + s (b - \mu) + \beta.

The right side differentiates by :math:`w, b, \gamma, \beta` as the left one does, and saves passes over activations:
six or more in a Hessian-vector product. What a model calls is seen while it runs, so any model will do, whatever its
modules are named. A convolution is folded only if its output goes into one such BatchNorm and nowhere else.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from landscape.objective.convolution import FUNCTIONS, convolve

_NORM_ARGUMENTS = inspect.signature(F.batch_norm)
CONV_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_HARMLESS = {
    *("dim", "size", "numel", "__len__", "ndimension", "is_floating_point", "is_contiguous", "stride"),
    *("is_complex", "get_device", "nelement", "element_size"),
}
"""Methods that ask for a tensor's shape and kind, not for its values."""

Plan = Mapping[int, _BatchNorm]
"""The layer to fold into each convolution, by the number of the convolution's call."""


class UnexpectedUseError(Exception):
    """A folded convolution's output was used otherwise than in the forward pass by which it was planned."""


class _Watching(TorchFunctionMode, ABC):
    """What both modes share: convolutions are numbered and their outputs followed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        kwargs = kwargs or {}
        if func in FUNCTIONS:
            self.used(args, kwargs)
            self.calls += 1
            return self.convolution(func, {**dict(zip(CONV_ARGUMENTS, args, strict=False)), **kwargs})
        if func is F.batch_norm:
            return self.normalization({**_NORM_ARGUMENTS.bind(*args, **kwargs).arguments})
        if not asks_for_kind(func):
            self.used(args, kwargs)
        return func(*args, **kwargs)

    @abstractmethod
    def convolution(self, function: Any, arguments: dict[str, Any]) -> Tensor:
        """Run a convolution."""

    @abstractmethod
    def normalization(self, arguments: dict[str, Any]) -> Tensor:
        """Run a BatchNorm."""

    @abstractmethod
    def used(self, *trees: Any) -> None:
        """Note that the tensors among some arguments are used."""


class _Planning(_Watching):
    """Finds the convolutions that can be folded."""

    def __init__(self, layers: Mapping[int, _BatchNorm]) -> None:
        super().__init__()
        self.layers = layers
        self.outputs: dict[int, tuple[int, Tensor]] = {}
        self.norms: dict[int, list[_BatchNorm]] = {}
        self.spoilt: set[int] = set()

    def convolution(self, function: Any, arguments: dict[str, Any]) -> Tensor:
        output: Tensor = function(**arguments)
        if output.ndim == arguments["weight"].ndim:
            self.outputs[id(output)] = (self.calls, output)  # kept alive, so that the id stays its own
        return output

    def normalization(self, arguments: dict[str, Any]) -> Tensor:
        layer = self.layers.get(id(arguments.get("running_mean")))
        number, _ = self.outputs.get(id(arguments["input"]), (0, None))
        if layer is None or arguments.get("training") or not number:
            self.used(arguments)
        else:
            self.norms.setdefault(number, []).append(layer)
        return F.batch_norm(**arguments)

    def used(self, *trees: Any) -> None:
        for tensor in tensors_of(trees):
            number, _ = self.outputs.get(id(tensor), (0, None))
            self.spoilt.add(number)

    def plan(self) -> Plan:
        return {
            number: norms[0] for number, norms in self.norms.items() if len(norms) == 1 and number not in self.spoilt
        }


@torch.no_grad()
def plan_folding(module: nn.Module, forward: Callable[[], Any]) -> Plan:
    """Find, in one forward pass, which convolutions can take up the BatchNorm after them.

    Args:
        module: The model, in the mode in which it will be evaluated.
        forward: Runs it on some samples; returns its outputs.
    """
    layers = {
        id(layer.running_mean): layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and not layer.training
    }
    with _Planning(layers) as planning:
        outputs = forward()
    planning.used(outputs)
    plan: Plan = planning.plan()
    return plan


class Shortened(_Watching):
    """Inside this context a model's graph is shorter; its values are the same but for rounding.

    Args:
        plan: From `plan_folding`.
        own_convolution: Whether convolutions are those of `landscape.objective.convolution`.

    Raises:
        UnexpectedUseError: If the model doesn't make the calls for which the plan was made.
    """

    def __init__(self, plan: Plan, own_convolution: bool) -> None:
        super().__init__()
        self.plan, self.own = plan, own_convolution
        self.pending: dict[int, tuple[Tensor, _BatchNorm]] = {}

    def convolution(self, function: Any, arguments: dict[str, Any]) -> Tensor:
        """Run a convolution, with the BatchNorm that it takes up."""
        layer = self.plan.get(self.calls)
        if layer is not None:
            arguments = fold(arguments, layer)
        output: Tensor = convolve(function, **_renamed(arguments)) if self.own else function(**arguments)
        if layer is not None:
            self.pending[id(output)] = (output, layer)
        return output

    def normalization(self, arguments: dict[str, Any]) -> Tensor:
        """Run a BatchNorm; return what its convolution has done already."""
        output, layer = self.pending.pop(id(arguments["input"]), (None, None))
        if output is None or layer is None:
            self.used(arguments)
            return F.batch_norm(**arguments)
        if layer.running_mean is not arguments["running_mean"] or arguments.get("training"):
            raise UnexpectedUseError
        return output

    def used(self, *trees: Any) -> None:
        """Refuse another use of a folded convolution's output."""
        if self.pending and any(id(tensor) in self.pending for tensor in tensors_of(trees)):
            raise UnexpectedUseError

    def __exit__(self, *exception: Any) -> None:
        """Leave; by then each BatchNorm must have been met."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        if self.pending and exception[0] is None:
            raise UnexpectedUseError


def fold(arguments: dict[str, Any], layer: _BatchNorm) -> dict[str, Any]:
    """The arguments of the convolution that has taken up a BatchNorm."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None
    assert variance is not None
    norm = (mean, variance, layer.weight, layer.bias, layer.eps)
    weight, bias = folded(arguments["weight"], arguments.get("bias"), *norm)
    return {**arguments, "weight": weight, "bias": bias}


def folded(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that has taken up a BatchNorm of these statistics, scale and shift."""
    factor = (variance + eps).rsqrt()
    factor = factor if scale is None else factor * scale
    moved = (-mean if bias is None else bias - mean) * factor
    return weight * factor.view(-1, *[1] * (weight.ndim - 1)), moved if shift is None else moved + shift


def _renamed(arguments: dict[str, Any]) -> dict[str, Any]:
    return {("x" if name == "input" else name): value for name, value in arguments.items()}


def asks_for_kind(function: Any) -> bool:
    """Whether a function reads no values of its tensors: properties such as `shape`, and the methods above."""
    return getattr(function, "__name__", "") in _HARMLESS or (
        getattr(function, "__name__", "") == "__get__"
        and getattr(getattr(function, "__self__", None), "__name__", "")
        in {"shape", "ndim", "dtype", "device", "requires_grad", "is_cuda", "layout", "is_sparse", "is_nested"}
    )


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of a function."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        yield from tensors_of(tuple(tree.values()))
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from tensors_of(value)
