"""What the optimizers of our own share: which gradients they take, what a loaded state must look like, one step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.errors import RequestError, WorkError

NonFinite = Literal["raise", "skip"]
"""What a gradient that isn't finite does: end the work (`NonFiniteGradientError`), or skip the whole step."""
Live = list[tuple[dict[str, Any], list[Tensor]]]
"""Parameter groups, each with its parameters that have a gradient."""

SMALL = 2**14
"""Elements up to which the tensors of a processor are cheaper copied together than visited one by one."""


class NonFiniteGradientError(WorkError):
    """A gradient holds infinities or NaN, and the optimizer was made with `non_finite="raise"`; nothing has changed."""


class Checked(Optimizer):
    """A step of checked gradients, and a subclass says in `update` what it does with them.

    Args:
        groups: Tensors or parameter groups.
        defaults: Default options of the groups.
    """

    @abstractmethod
    def update(self, live: Live) -> None:
        """Make one step; called without gradient tracking, with gradients that have been checked."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Args:
            closure: Computes loss and gradients; called once, before the step.

        Returns:
            What the closure returned; None without one.

        Raises:
            RequestError: If a gradient can't be used: sparse, or of another dtype or device than its parameter.
            NonFiniteGradientError: If a gradient isn't finite, unless such steps are skipped.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        live = live_parameters(self.param_groups)
        if live and self.finite(live):
            self.update(live)
        return loss

    def finite(self, live: Live) -> bool:
        """Whether the gradients are such that a step can be made.

        Raises:
            NonFiniteGradientError: If they aren't finite, unless such steps are skipped.
        """
        return gradients_finite(live)


class OwnOptimizer(Checked):
    """An optimizer of our own.

    It never writes `p.grad`, updates parameters in place, leaves those without a gradient alone, and keeps all that
    changes in `self.state[p]` and all settings in the groups.

    Args:
        groups: Tensors or parameter groups.
        defaults: Default options of the groups; `non_finite` must be among them.
    """

    def state_shapes(self, parameter: Tensor, group: Mapping[str, Any]) -> Mapping[str, list[torch.Size]]:
        """Shapes of the tensors under each entry of a parameter's state; entries that aren't named have its shape."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state to the last bit: copies, in the dtypes that they were saved in.

        Raises:
            RequestError: If it is the state of parameters of other shapes.
        """
        saved, groups = state_dict["state"], state_dict["param_groups"]
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in self.param_groups]:
            raise RequestError(
                "the optimizer's state has other parameter groups: load it for the same model and groups"
            )
        numbers = [number for group in groups for number in group["params"]]
        parameters = [
            (p, options) for group, options in zip(self.param_groups, groups, strict=True) for p in group["params"]
        ]
        for number, (parameter, options) in zip(numbers, parameters, strict=True):
            expected = self.state_shapes(parameter, options)
            for name, value in saved.get(number, {}).items():
                shapes = [tensor.shape for tensor in _tensors(value)]
                if shapes != expected.get(name, [parameter.shape] * len(shapes)):
                    raise RequestError(
                        f"the optimizer's state '{name}' of parameter {number} has shape {_words(shapes)}, which a "
                        f"parameter of shape {tuple(parameter.shape)} can't have: load it for the same model"
                    )
        super().load_state_dict(state_dict)
        for number, (parameter, _) in zip(numbers, parameters, strict=True):
            if number in saved:
                self.state[parameter] = {name: _copy(value, parameter) for name, value in saved[number].items()}


def live_parameters(groups: Iterable[dict[str, Any]]) -> Live:
    """The parameters that have a gradient, by group; groups without any are left out.

    Raises:
        RequestError: If a gradient can't be used.
    """
    live = []
    for group in groups:
        parameters = [p for p in group["params"] if p.grad is not None and p.numel()]
        for parameter in parameters:
            if parameter.grad.layout != torch.strided:
                raise RequestError(
                    "a gradient is sparse: this optimizer takes dense ones (sparse=False in the embedding)"
                )
            check_gradient(parameter)
        if parameters:
            live.append((group, parameters))
    return live


def check_gradient(parameter: Tensor) -> None:
    """Make sure that a gradient fits its parameter.

    Raises:
        RequestError: If it has another dtype or device.
    """
    gradient = parameter.grad
    if gradient is not None and (gradient.dtype != parameter.dtype or gradient.device != parameter.device):
        raise RequestError(
            f"a gradient is {gradient.dtype} on {gradient.device}, its parameter of shape "
            f"{tuple(parameter.shape)} {parameter.dtype} on {parameter.device}: both must be alike"
        )


def gradients_finite(live: Live, gradients: list[Tensor] | None = None) -> bool:
    """Whether all gradients are finite; one wait for the device.

    Args:
        live: The parameters.
        gradients: Tensors that hold the gradients, if not those of the parameters themselves.

    Raises:
        NonFiniteGradientError: If they aren't and a group's `non_finite` is `raise`.
    """
    if gradients is None:
        gradients = [p.grad for _, parameters in live for p in parameters if p.grad is not None]
    # sums of squares are several times faster than largest elements, which are asked where squares may have overflowed
    if _finite(_squares(gradients)) or _finite(torch._foreach_norm(gradients, float("inf"))):
        return True
    if any(group["non_finite"] == "raise" for group, _ in live):
        raise NonFiniteGradientError(
            "a gradient isn't finite: lower the learning rate, or pass over such steps with non_finite=skip"
        )
    return False


def _squares(tensors: list[Tensor]) -> Sequence[Tensor]:
    """Numbers that are finite only if all elements are: sums of squares, or their roots."""
    if not all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors):
        return torch._foreach_norm(tensors)
    flat = [tensor.view(-1) for tensor in tensors]
    small = [one for one in flat if len(one) <= SMALL]
    joined = [torch.cat(small[k : k + 64]) for k in range(0, len(small), 64)]  # one call for many
    return [torch.dot(one, one) for one in [*joined, *(one for one in flat if len(one) > SMALL)]]


def _finite(values: Sequence[Tensor]) -> bool:
    """Whether numbers are finite, whatever their dtypes and devices."""
    if all(value.device.type == "cpu" for value in values):
        return all(math.isfinite(value.item()) for value in values)
    alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for value in values:
        alike.setdefault((value.dtype, value.device), []).append(value)
    return all(bool(torch.stack(some).isfinite().all()) for some in alike.values())


def _tensors(value: Any) -> list[Tensor]:
    """The tensors of one entry of a state; numbers of steps have none."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for one in value for tensor in _tensors(one)] if isinstance(value, list | tuple) else []


def _copy(value: Any, parameter: Tensor) -> Any:
    """An entry of a state on a parameter's device."""
    if isinstance(value, Tensor):
        return value.detach().to(parameter.device, copy=True)
    return [_copy(one, parameter) for one in value] if isinstance(value, list | tuple) else value


def _words(shapes: list[torch.Size]) -> str:
    return ", ".join(str(tuple(shape)) for shape in shapes)
