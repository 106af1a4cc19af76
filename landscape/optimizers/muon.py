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
from landscape.linalg.polar import METHODS, Workspace, polar_factor, scratch
from landscape.optimizers.base import Live, NonFinite
from landscape.optimizers.mixed import ADAMW, MixedOptimizer
from landscape.optimizers.parameters import Parameters
from landscape.optimizers.ranks import assign, exchange, rank_and_size
from landscape.optimizers.roles import QKV, split_by_role
from landscape.settings import Count, Decay, NonNegative, Positive

Method = Literal["polar-express", "newton-schulz", "svd"]
WorkingType = Literal["auto", "bfloat16", "float32", "float64"]
Scale = Literal["none", "spectral", "match_rms_adamw"]

SCALES: dict[str, Any] = {
    "none": lambda rows, columns: 1.0,
    "spectral": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
"""The update's scale by name."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}

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

    def descend(self, live: Live) -> None:
        """Momentum, polar factors, update: stack by stack, or all polar factors in one go where work is shared."""
        rank, size = rank_and_size()
        stacks = [(group, stack) for group, parameters in live for stack in _stacks(parameters, group["parts"])]
        if size == 1:
            for group, parameters in stacks:
                kept = self._workspace if parameters[0].device.type == "cpu" else None
                self._apply(group, parameters, _polar(group, self._moments(group, parameters, kept), kept))
            return
        moments = [self._moments(group, parameters) for group, parameters in stacks]
        dtypes = [working_dtype(group, m) for (group, _), m in zip(stacks, moments, strict=True)]
        costs = [float(min(m.shape[1:]) * m[0].numel()) for m in moments for _ in m]
        owners = assign(costs, size)
        factors, first = [], 0
        for (group, _), moment, dtype in zip(stacks, moments, dtypes, strict=True):
            mine = [place for place in range(len(moment)) if owners[first + place] == rank]
            factor = torch.empty_like(moment, dtype=dtype)
            if mine:
                factor[mine] = _polar(group, moment[mine]).to(dtype)
            factors.append(factor)
            first += len(moment)
        exchange([one for factor in factors for one in factor], owners)
        for (group, parameters), factor in zip(stacks, factors, strict=True):
            self._apply(group, parameters, factor)

    @property
    def _workspace(self) -> Workspace:
        """Memory that a processor's stacks share one after another; no state, and not copied with the optimizer."""
        kept: Workspace = self.__dict__.setdefault("_kept", {})
        return kept

    def _moments(self, group: dict[str, Any], parameters: list[Tensor], workspace: Workspace | None = None) -> Tensor:
        """What is orthogonalised, shape `(matrices, rows, columns)`: scratch memory, or the momentum itself."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        shape, like = (len(gradients), *gradients[0].shape), gradients[0]
        moments = scratch({} if workspace is None else workspace, "moments", shape, like.dtype, like.device)
        torch.stack(gradients, out=moments)
        if group["momentum"]:
            buffers = self._stacked_buffers(parameters)
            torch.add(moments, buffers, alpha=group["momentum"], out=buffers)
            moments = moments.add_(buffers, alpha=group["momentum"]) if group["nesterov"] else buffers
        matrices = len(parameters) * group["parts"]
        return moments.reshape(matrices, parameters[0].shape[0] // group["parts"], -1)

    def _stacked_buffers(self, parameters: list[Tensor]) -> Tensor:
        """The momentum of parameters of one shape as one tensor, of which the buffers in the state are views.

        One operation on all is several times faster than one on each where matrices are small. Buffers that are not
        such views, since they are new, or loaded, or were stacked with others, are copied together first.
        """
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers: list[Tensor] = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        base, size = buffers[0]._base, buffers[0].nbytes
        if base is not None and base.shape == (len(buffers), *buffers[0].shape):
            start = base.data_ptr()
            if all(b._base is base and b.data_ptr() == start + k * size for k, b in enumerate(buffers)):
                return base
        base = torch.stack(buffers)
        for parameter, view in zip(parameters, base, strict=True):
            self.state[parameter]["momentum_buffer"] = view
        return base

    def _apply(self, group: dict[str, Any], parameters: list[Tensor], factors: Tensor) -> None:
        """Decay and step."""
        lr, weight_decay = float(group["lr"]), group["weight_decay"]
        scale = SCALES[group["scale"]](*factors.shape[1:])
        factors = factors.to(parameters[0].dtype).reshape(len(parameters), *parameters[0].shape)
        if not weight_decay:
            torch._foreach_add_(parameters, factors.unbind(), alpha=-lr * scale)
            return
        # (1 - w) x + w y in one pass over the weights, w = lr weight_decay
        torch._foreach_lerp_(parameters, factors.mul_(-scale / weight_decay).unbind(), lr * weight_decay)


def _stacks(parameters: list[Tensor], parts: int) -> list[list[Tensor]]:
    """Parameters of equal shape, dtype and device together, as many as one product serves well."""
    alike: dict[tuple[Any, ...], list[Tensor]] = {}
    for parameter in parameters:
        alike.setdefault((*parameter.shape, parameter.dtype, parameter.device), []).append(parameter)
    stacks = []
    for members in alike.values():
        most = max(1, STACK.get(members[0].device.type, LARGEST_STACK) // members[0].numel())
        stacks += [members[start : start + most] for start in range(0, len(members), most)]
    return stacks


def _polar(group: dict[str, Any], moments: Tensor, workspace: Workspace | None = None) -> Tensor:
    """Polar factors, in the moments' dtype."""
    dtype = working_dtype(group, moments)
    return polar_factor(moments, method=group["method"], steps=group["steps"], dtype=dtype, workspace=workspace)


def working_dtype(group: dict[str, Any], moments: Tensor) -> torch.dtype:
    """In which dtype to compute polar factors."""
    if group["dtype"] != "auto":
        return DTYPES[group["dtype"]]
    if group["method"] == "svd" or moments.dtype == torch.float64:
        return torch.promote_types(moments.dtype, torch.float32)
    return torch.bfloat16 if multiplies_bfloat16_fast(moments.device) else torch.float32


def multiplies_bfloat16_fast(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16 matrices, as torch reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in asked)


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
