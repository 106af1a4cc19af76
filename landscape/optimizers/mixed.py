"""What optimizers share whose groups differ in method: momentum, decoupled decay, and groups that AdamW updates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw as adamw_update

from landscape.errors import RequestError, unknown
from landscape.linalg.norms import NORMS, make_norm
from landscape.optimizers.base import Live, NonFinite, OwnOptimizer
from landscape.optimizers.watched import remember_shapes

ADAMW = "adamw"
DEFAULTS: dict[str, Any] = {
    "weight_decay": 0.0,
    "momentum": 0.0,
    "nesterov": False,
    "p": None,
    "parts": 1,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
}
"""Default options of every group."""


class MixedOptimizer(OwnOptimizer):
    r"""Groups with `norm="adamw"` are updated by AdamW, the others by the subclass, with momentum before it.

    Momentum is the heavy ball's, :math:`m \leftarrow \mu m + g` from :math:`m = 0`; the update is made from
    :math:`m`, with `nesterov` from :math:`g + \mu m`. Weight decay is decoupled,
    :math:`x \leftarrow (1 - \alpha\lambda) x`.

    Args:
        groups: Tensors or parameter groups.
        lr: :math:`\alpha`.
        norm: Default `norm` of the groups.
        options: Default options of the groups that differ from `DEFAULTS`.
        non_finite: `raise` or `skip`.

    Raises:
        RequestError: If a group's norm is unknown, or a norm of matrices for a parameter that is none.
    """

    norms: Sequence[str] = (*NORMS, ADAMW)
    """What a group's `norm` can be."""

    def __init__(self, groups: Any, lr: float, norm: str, options: dict[str, Any], non_finite: NonFinite) -> None:
        super().__init__(groups, {"lr": lr, "norm": norm, **DEFAULTS, **options, "non_finite": non_finite})
        remember_shapes(self)  # a method without momentum has no state that could tell

    @abstractmethod
    def descend(self, live: Live) -> None:
        """Update the groups that aren't AdamW's."""

    def update(self, live: Live) -> None:
        """Make one step."""
        others: Live = []
        for group, parameters in live:
            if group["norm"] == ADAMW:
                self._adamw(group, parameters)
            else:
                others.append((group, parameters))
        self.descend(others)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, after a look at its norm.

        Raises:
            RequestError: If the norm is unknown, or one of matrices for a parameter that is none.
        """
        super().add_param_group(param_group)
        try:
            self._check(self.param_groups[-1])
        except RequestError:
            self.param_groups.pop()
            raise

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse a group whose norm doesn't fit."""
        norm = group["norm"]
        if norm not in self.norms:
            raise unknown("norm of a parameter group", str(norm), self.norms)
        if group["nesterov"] and not group["momentum"]:
            raise RequestError("nesterov needs a momentum; set momentum=0.9 or leave nesterov out")
        if norm != ADAMW and (norm == "lp") != (group["p"] is not None):
            raise RequestError(f"norm=lp needs a p and no other norm takes one, got norm={norm} and p={group['p']}")
        if not is_matrix_norm(norm):
            return
        names = group.get("param_names") or [f"number {place}" for place in range(len(group["params"]))]
        for name, parameter in zip(names, group["params"], strict=True):
            if parameter.dim() < 2:
                raise RequestError(
                    f"norm={norm} is for matrices, but parameter {name} has shape {tuple(parameter.shape)}: put it "
                    "into a group with norm l2, linf or adamw"
                )

    def accelerated(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        """What the update is made from: the gradients, or their momentum; not to be written to."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        momentum = group["momentum"]
        if not momentum:
            return gradients
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        return list(torch._foreach_add(gradients, buffers, alpha=momentum)) if group["nesterov"] else buffers

    def _adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """AdamW, by torch's kernel."""
        for parameter in parameters:
            state = self.state[parameter]
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        states = [self.state[parameter] for parameter in parameters]
        adamw_update(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=all(p.device.type in ("cpu", "cuda") for p in parameters),
            amsgrad=False,
            beta1=group["beta1"],
            beta2=group["beta2"],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def state_shapes(self, parameter: Tensor, group: Any) -> dict[str, list[torch.Size]]:
        """All state has the parameter's shape, but for the number of steps."""
        return {"step": [torch.Size()]}


def is_matrix_norm(name: str) -> bool:
    """Whether a group's `norm` is one of matrices."""
    return name not in (ADAMW, "lp") and make_norm(name).matrix


def decay(group: dict[str, Any], parameters: list[Tensor]) -> None:
    r"""Decoupled weight decay, :math:`x \leftarrow (1 - \alpha\lambda) x`."""
    if group["weight_decay"]:
        torch._foreach_mul_(parameters, 1 - float(group["lr"]) * group["weight_decay"])
