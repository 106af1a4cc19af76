r"""Muon: momentum, and the spectral norm's oracle on every hidden matrix; AdamW on all else.

.. math:: m \leftarrow \mu m + g, \qquad W \leftarrow (1 - \alpha\lambda)\,W - \alpha s\, U V^\top
          \quad\text{where}\quad g + \mu m = U \Sigma V^\top

(:math:`m` in the place of :math:`g + \mu m` without `nesterov`). The polar factor :math:`U V^\top` comes from an
iteration of matrix products; the scale :math:`s` of a matrix (rows, columns) is

- `none`: 1, the plain oracle;
- `spectral`: :math:`\sqrt{\max(1, \text{rows} / \text{columns})}`;
- `match_rms_adamw`: :math:`0.2 \sqrt{\max(\text{rows}, \text{columns})}`, an RMS of 0.2, as AdamW's updates have.

References:
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982 (`match_rms_adamw`).
    Amsel, Persson, Musco & Gower, "The Polar Express", arXiv 2505.16932.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.errors import RequestError, unknown
from landscape.linalg.polar import METHODS, polar_factor
from landscape.linalg.workspace import Workspace
from landscape.optimizers.base import SMALL, Live, NonFinite, gradients_finite
from landscape.optimizers.mixed import ADAMW, MixedOptimizer
from landscape.optimizers.parameters import Parameters
from landscape.optimizers.precision import DTYPES, WorkingType, working_dtype
from landscape.optimizers.ranks import assign, exchange, rank_and_size
from landscape.optimizers.roles import QKV, split_by_role
from landscape.settings import Count, Decay, NonNegative, Positive

Method = Literal["polar-express", "newton-schulz", "svd"]
Scale = Literal["none", "spectral", "match_rms_adamw"]

SCALES: dict[str, Any] = {
    "none": lambda rows, columns: 1.0,
    "spectral": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
"""The update's scale by name."""

STACK = {"cpu": 2**18}
"""Most elements of a stack by device: beyond, the processor's cache gains more than fewer calls do."""
LARGEST_STACK = 2**26
"""The same elsewhere, which bounds the memory."""


class Muon(MixedOptimizer):
    r"""Muon on groups with `norm="spectral"`, AdamW on those with `norm="adamw"`.

    In a run of several processes (`torch.distributed`), whose gradients must be alike, each computes the polar
    factors of some matrices and sends them to the others.

    Args:
        groups: Tensors or parameter groups; a group may have its own `norm`, `lr`, `weight_decay`, `momentum`, …, and
            `parts`: into how many matrices, one below the other, its weights fall.
        lr: :math:`\alpha`.
        momentum: :math:`\mu`.
        nesterov: Take the polar factor of :math:`g + \mu m` rather than of :math:`m`.
        weight_decay: :math:`\lambda`.
        method: `polar-express`, `newton-schulz` or `svd`.
        steps: Iterations.
        dtype: In which to iterate; `auto` is float64 for float64 parameters (and their own for `svd`), else bfloat16
            where the processor multiplies it fast, else float32.
        scale: `none`, `spectral` or `match_rms_adamw`.
        non_finite: `raise` or `skip`.

    Raises:
        RequestError: If a group's parameter is no matrix, or options don't fit together.
    """

    norms = ("spectral", ADAMW)
    _gathered: list[tuple[dict[str, Any], list[Tensor], list[Tensor]]]

    def __init__(
        self,
        groups: Any,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        method: Method = "polar-express",
        steps: int = 5,
        dtype: WorkingType = "auto",
        scale: Scale = "spectral",
        non_finite: NonFinite = "raise",
    ) -> None:
        options = {
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "method": method,
            "steps": steps,
            "dtype": dtype,
            "scale": scale,
        }
        super().__init__(groups, lr, "spectral", options, non_finite)

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse a group whose options don't fit."""
        super()._check(group)
        for kind, name, choices in (
            ("polar method", group["method"], METHODS),
            ("scale of Muon's update", group["scale"], tuple(SCALES)),
            ("working dtype", group["dtype"], ("auto", *DTYPES)),
        ):
            if name not in choices:
                raise unknown(kind, str(name), choices)
        if group["method"] == "svd" and group["dtype"] == "bfloat16":
            raise RequestError("method=svd has no bfloat16: choose dtype=float32 or float64, or another method")

    def finite(self, live: Live) -> bool:
        """The same for stacks of small matrices, which the step then has at hand, and for all other gradients."""
        self._gathered = []
        checked: list[Tensor] = []
        for group, members in live:
            if group["norm"] == ADAMW:
                checked += _gradients(members)
                continue
            for stack in _stacks(members):
                gradients = _gradients(stack)
                if len(stack) > 1 and gradients[0].device.type == "cpu" and gradients[0].numel() <= SMALL:
                    gradients = [self._stacked(gradients, f"gradients {len(self._gathered)}")]
                checked += gradients
                self._gathered.append((group, stack, gradients))
        return gradients_finite(live, checked)

    def descend(self, live: Live) -> None:
        """Momentum, polar factors, update: stack by stack, or all polar factors in one go where work is shared."""
        rank, size = rank_and_size()
        stacks, self._gathered = self._gathered, []
        if size == 1:
            for group, parameters, gradients in stacks:
                kept = self._workspace if parameters[0].device.type == "cpu" else None
                stack = self._moments(group, parameters, gradients, "moments" if kept is not None else None)
                self._apply(group, parameters, _polar(group, stack, kept))
            return
        moments = [self._moments(*one) for one in stacks]
        dtypes = [working_dtype(one[0], m) for one, m in zip(stacks, moments, strict=True)]
        costs = [float(min(m.shape[1:]) * m[0].numel()) for m in moments for _ in m]
        owners = assign(costs, size)
        factors, first = [], 0
        for (group, _, _), moment, dtype in zip(stacks, moments, dtypes, strict=True):
            mine = [place for place in range(len(moment)) if owners[first + place] == rank]
            factor = torch.empty_like(moment, dtype=dtype)
            if mine:
                factor[mine] = _polar(group, moment[mine]).to(dtype)
            factors.append(factor)
            first += len(moment)
        exchange([one for factor in factors for one in factor], owners)
        for (group, parameters, _), factor in zip(stacks, factors, strict=True):
            self._apply(group, parameters, factor.to(parameters[0].dtype))

    @property
    def _workspace(self) -> Workspace:
        """Memory that a processor's stacks share one after another; no state, and not copied with the optimizer."""
        kept: Workspace = self.__dict__.setdefault("_kept", Workspace())
        return kept

    def _stacked(self, gradients: list[Tensor], name: str | None) -> Tensor:
        """Gradients of one shape as one tensor, in memory of that name; in fresh memory without one."""
        shape, like = (len(gradients), *gradients[0].shape), gradients[0]
        if name is None:
            return torch.stack(gradients)
        return torch.stack(gradients, out=self._workspace.take(name, shape, like.dtype, like.device))

    def _moments(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], name: str | None = None
    ) -> Tensor:
        """What is orthogonalised, shape `(matrices, rows, columns)`: scratch memory, or the momentum itself."""
        ready = gradients[0].dim() > parameters[0].dim()
        moments = gradients[0] if ready else self._stacked(gradients, name)
        if group["momentum"]:
            buffers = self._stacked_buffers(parameters)
            torch.add(moments, buffers, alpha=group["momentum"], out=buffers)
            moments = moments.add_(buffers, alpha=group["momentum"]) if group["nesterov"] else buffers
        if moments.dim() == 3 and group["parts"] == 1:
            return moments
        return moments.reshape(len(parameters) * group["parts"], len(parameters[0]) // group["parts"], -1)

    def _stacked_buffers(self, parameters: list[Tensor]) -> Tensor:
        """The momentum of parameters of one shape as one tensor, of which the buffers in the state are views.

        One operation on all is several times faster than one on each where matrices are small. Buffers that are not
        such views, since they are new, or loaded, or were stacked with others, are copied together first.
        """
        states = [self.state[parameter] for parameter in parameters]
        for state, parameter in zip(states, parameters, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
        buffers: list[Tensor] = [state["momentum_buffer"] for state in states]
        base, size = buffers[0]._base, buffers[0].nbytes
        if base is not None and base.shape == (len(buffers), *buffers[0].shape):
            start = base.data_ptr()
            if all(b._base is base and b.data_ptr() == start + k * size for k, b in enumerate(buffers)):
                return base
        base = torch.stack(buffers)
        for state, view in zip(states, base, strict=True):
            state["momentum_buffer"] = view
        return base

    def _apply(self, group: dict[str, Any], parameters: list[Tensor], factors: Tensor) -> None:
        """Decay and step; the factors come with `_polar`'s scale."""
        lr, weight_decay = float(group["lr"]), group["weight_decay"]
        shape = (len(parameters), *parameters[0].shape)
        steps = self._workspace.unbind(factors if factors.shape == shape else factors.reshape(shape))
        if not weight_decay:
            torch._foreach_add_(parameters, steps, alpha=-lr)
        else:  # (1 - w) x + w y in one pass over the weights, w = lr weight_decay
            torch._foreach_lerp_(parameters, steps, lr * weight_decay)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [gradient for parameter in parameters if (gradient := parameter.grad) is not None]


def _stacks(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Parameters of equal shape, dtype and device together, as many as one product serves well."""
    alike: dict[tuple[Any, ...], list[Tensor]] = {}
    for parameter in parameters:
        alike.setdefault((parameter.shape, parameter.dtype, parameter.device), []).append(parameter)
    stacks = []
    for members in alike.values():
        most = max(1, STACK.get(members[0].device.type, LARGEST_STACK) // members[0].numel())
        stacks += [members[start : start + most] for start in range(0, len(members), most)]
    return stacks


def _polar(group: dict[str, Any], moments: Tensor, workspace: Workspace | None = None) -> Tensor:
    """Polar factors in the moments' dtype, times the update's scale (by -1 / weight_decay for `_apply`)."""
    dtype, scale = working_dtype(group, moments), SCALES[group["scale"]](*moments.shape[1:])
    scale = -scale / group["weight_decay"] if group["weight_decay"] else scale
    return polar_factor(
        moments, method=group["method"], steps=group["steps"], dtype=dtype, scale=scale, workspace=workspace
    )


def muon(
    model: Parameters,
    *,
    lr: Positive = 0.02,
    momentum: Decay = 0.95,
    nesterov: bool = True,
    weight_decay: NonNegative = 0.0,
    method: Method = "polar-express",
    steps: Count = 5,
    dtype: WorkingType = "auto",
    scale: Scale = "spectral",
    hidden: str | None = None,
    qkv: str | None = QKV,
    adamw_lr: Positive = 1e-3,
    adamw_beta1: Decay = 0.9,
    adamw_beta2: Decay = 0.95,
    adamw_eps: Positive = 1e-8,
    adamw_weight_decay: NonNegative = 0.0,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Muon on hidden matrices, AdamW on embeddings, the head and vectors; see `Muon`.

    Roles are those of `roles.roles`; `hidden` overrides them by names, groups by their `role` or `norm`. Fused weights
    of queries, keys and values count as three matrices where their names match `qkv`.
    """
    if nesterov and not momentum:
        nesterov = False  # the same without momentum
    spectral = {"norm": "spectral"}
    others = {
        "norm": ADAMW,
        "lr": adamw_lr,
        "beta1": adamw_beta1,
        "beta2": adamw_beta2,
        "eps": adamw_eps,
        "weight_decay": adamw_weight_decay,
    }
    groups = split_by_role(
        model,
        {"hidden": spectral, "embedding": others, "head": others, "vector": others},
        hidden=hidden,
        qkv=qkv,
    )
    return Muon(groups, lr, momentum, nesterov, weight_decay, method, steps, dtype, scale, non_finite)
