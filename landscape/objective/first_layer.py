r"""A network's first layer over a slice, and the BatchNorm folded after it: what is computed once for many points.

With :math:`\theta = \sum_j c_j w_j` a linear first layer has the outputs :math:`z(\theta) = \sum_j c_j z(w_j)`, for its
inputs don't depend on :math:`\theta`. The layer is found while the model runs: the first function of torch that sees
any parameter or buffer must be a linear map or a convolution with a parameter of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from landscape.objective.convolution import FUNCTIONS
from landscape.objective.folding import Plan, Shortened, UnexpectedUseError, tensors_of

_LINEAR_ARGUMENTS = ("input", "weight", "bias")
_CONV_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
Arguments = dict[str, Any]


@dataclass(frozen=True)
class FirstLayer:
    """A first layer whose outputs are linear in its parameters.

    Args:
        function: `torch.nn.functional.linear` or a convolution.
        weight: Name of its weight.
        bias: Name of its bias, None if it has none.
        fan_in: Multiplications for each output.
    """

    function: Callable[..., Tensor]
    weight: str
    bias: str | None
    fan_in: int

    def outputs(self, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
        """Its outputs with other parameters.

        Args:
            arguments: As the model called it.
            tensors: Parameters by name.
        """
        bias = None if self.bias is None else tensors[self.bias]
        return self.function(**{**arguments, "weight": tensors[self.weight], "bias": bias})


class _FoundError(Exception):
    """The search for the first layer is over."""

    def __init__(self, function: Any = None, arguments: Arguments | None = None) -> None:
        super().__init__()
        self.function, self.arguments = function, arguments or {}


class _Searching(TorchFunctionMode):
    """Stops the forward pass at the first function that sees a parameter or buffer."""

    def __init__(self, own: Iterable[Tensor]) -> None:
        super().__init__()
        self.own = {id(tensor) for tensor in own}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        kwargs = kwargs or {}
        if any(id(tensor) in self.own for tensor in tensors_of((args, kwargs))):
            raise _FoundError(func, arguments_of(func, args, kwargs))
        return func(*args, **kwargs)


def arguments_of(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """The arguments of a linear map or a convolution by name; of other functions none."""
    if function is F.linear:
        return {**dict(zip(_LINEAR_ARGUMENTS, args, strict=False)), **kwargs}
    return {**dict(zip(_CONV_ARGUMENTS, args, strict=False)), **kwargs} if function in FUNCTIONS else {}


def first_call(module: nn.Module, forward: Callable[[], Any]) -> tuple[Any, Arguments]:
    """The first function that sees a parameter or buffer of a model, and its arguments by name.

    Args:
        module: The model.
        forward: Runs it on a batch; it is left when the function is reached.
    """
    try:
        with _Searching([*module.parameters(), *module.buffers()]):
            forward()
    except _FoundError as found:
        return found.function, found.arguments
    return None, {}


def find_first_layer(module: nn.Module, names: Iterable[str], forward: Callable[[], Any]) -> FirstLayer | None:
    """The first layer, if its outputs are linear in those of its parameters that belong to theta.

    Args:
        module: The model.
        names: Names of the tensors that make up theta.
        forward: Runs it on some samples.
    """
    function, arguments = first_call(module, forward)
    if not arguments:
        return None
    theta = set(names)
    known = {id(tensor): name for name, tensor in module.named_parameters() if name in theta}
    weight, bias = arguments["weight"], arguments.get("bias")
    others = {key: value for key, value in arguments.items() if key not in ("weight", "bias")}
    shared = any(id(tensor) in {id(p) for p in module.parameters()} for tensor in tensors_of(others))
    if shared or id(weight) not in known or (bias is not None and id(bias) not in known):
        return None
    name = None if bias is None else known[id(bias)]
    return FirstLayer(function, known[id(weight)], name, weight[0].numel())


class Quick(Shortened):
    """Inside this context a model's first layer is what it is told to be, and folded parameters are made only once.

    Args:
        plan: From `plan_folding`.
        folded: What was folded at this theta, by the number of the call; it is filled.
        weight: The first layer's weight, where its outputs are given.
        first: Its outputs for this batch.

    Raises:
        UnexpectedUseError: If the model doesn't make the calls for which the plan was made.
    """

    def __init__(
        self, plan: Plan, folded: dict[int, Arguments], weight: Tensor | None = None, first: Tensor | None = None
    ) -> None:
        super().__init__(plan, own_convolution=False)
        self.folded, self.weight, self.first = folded, weight, first

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        if self.first is not None and (func is F.linear or func in FUNCTIONS):
            weight = kwargs["weight"] if kwargs and "weight" in kwargs else args[1]
            if weight is not self.weight:
                raise UnexpectedUseError
            output, self.first = self.first, None
            self.calls += func is not F.linear
            return output
        return super().__torch_function__(func, types, args, kwargs)

    def fold(self, arguments: Arguments, layer: _BatchNorm) -> Arguments:
        """The arguments of the convolution that has taken up a BatchNorm."""
        made = self.folded.get(self.calls)
        if made is None:
            made = super().fold(arguments, layer)
            if all(isinstance(arguments.get(key), nn.Parameter | None) for key in ("weight", "bias")):
                self.folded[self.calls] = {"weight": made["weight"], "bias": made["bias"]}
            return made
        return {**arguments, **made}


def combined(outputs: Tensor, coefficients: list[float]) -> Tensor:
    """The first layer's outputs at a point: of the points `(m, B, *)` and coefficients `(m,)` to `(B, *)`."""
    terms = [(weight, part) for weight, part in zip(coefficients, outputs, strict=True) if weight != 0]
    if not terms:
        return torch.zeros_like(outputs[0])
    (weight, part), *rest = terms
    if weight == 1 and rest:
        (second, other), *rest = rest
        result = torch.add(part, other, alpha=second)
    else:
        result = part * weight
    for weight, part in rest:
        result.add_(part, alpha=weight)
    return result
