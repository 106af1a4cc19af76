r"""Shampoo: preconditioning by one factor for each axis of a tensor.

For a matrix :math:`W` with gradient :math:`G`

.. math:: L \leftarrow \beta L + (1-\beta) G G^\top, \qquad R \leftarrow \beta R + (1-\beta) G^\top G, \qquad
          W \leftarrow W - \alpha\,(L + \epsilon I)^{-1/4}\, G\, (R + \epsilon I)^{-1/4},

from :math:`L = R = 0`. A tensor with :math:`k` axes has :math:`k` factors, each of its unfolding along that axis, and
the power :math:`-1/(2k)`; for a vector that is one factor and the power :math:`-1/2`, as in AdaGrad with a full matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.linalg.roots import inverse_power, inverse_root
from landscape.optimizers.base import Live, NonFinite, OwnOptimizer
from landscape.optimizers.parameters import Parameters, groups_of
from landscape.optimizers.ranks import assign, exchange, rank_and_size
from landscape.settings import Count, Decay, NonNegative, Positive

LARGEST_SIDE = 16384
"""Of a factor: a gigabyte in float32, and minutes for its root."""
ADAM = (0.9, 0.999, 1e-8)
"""Beta1, beta2 and eps of the Adam step whose length a grafted update has."""


@dataclass(frozen=True)
class Root:
    """A root that is due: `root` is to become the inverse root of `factor`."""

    factor: Tensor
    root: Tensor
    order: int
    eps: float
    relative: bool


class Shampoo(OwnOptimizer):
    r"""Shampoo; the defaults are the plain formula.

    Every option may differ between parameter groups, but for `non_finite` and `share`.

    Args:
        groups: Tensors or parameter groups.
        lr: :math:`\alpha`.
        beta: :math:`\beta`; of no effect on summed statistics.
        statistics: `ema`, or `sum` for :math:`L \leftarrow L + G G^\top` (the paper's).
        eps: :math:`\epsilon`, in units of the statistics, which are those of a squared gradient; for 0 directions
            without statistics get no update.
        eps_mode: `absolute`, or `relative` for units of each factor's largest eigenvalue.
        every: Steps between computations of the roots; the first step computes them.
        tensors: Tensors with more than two axes have one factor for each (`modes`) or are taken as matrices
            of shape `(first axis, all others)` (`matrix`).
        vectors: Vectors (and scalars) have a full factor, or a `diagonal` one, which is used afresh at each step.
        block_size: Longest side of a block: larger tensors are cut into blocks with factors of their own. None: whole.
        grafting: Give the update of each parameter the norm of the gradient (`sgd`) or of Adam's step (`adam`).
        momentum: :math:`\mu` of the heavy ball over preconditioned updates, :math:`v \leftarrow \mu v + u`.
        weight_decay: :math:`\lambda`, decoupled: each step takes off :math:`\alpha \lambda W` too.
        non_finite: `raise` or `skip`.
        share: Where `torch.distributed` is initialised, each process computes a part of the roots; all must have the
            same gradients then.

    Raises:
        RequestError: If a side is too long for a factor.

    References:
        Gupta, Koren & Singer, "Shampoo: preconditioned stochastic tensor optimization", arXiv 1802.09568.
        Anil et al., "Scalable second order optimization for deep learning", arXiv 2002.09018 (blocks, grafting).
    """

    def __init__(
        self,
        groups: Any,
        lr: float,
        beta: float = 0.95,
        statistics: str = "ema",
        eps: float = 1e-6,
        eps_mode: str = "absolute",
        every: int = 1,
        tensors: str = "modes",
        vectors: str = "full",
        block_size: int | None = None,
        grafting: str = "none",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        non_finite: NonFinite = "raise",
        share: bool = True,
    ) -> None:
        defaults = {name: value for name, value in locals().items() if name not in ("self", "groups", "__class__")}
        super().__init__(groups, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            shape = factored_shape(parameter, group)
            side = min(max(shape), group["block_size"] or LARGEST_SIDE + 1)
            if side > LARGEST_SIDE and not _is_diagonal(shape, group):
                raise RequestError(
                    f"Shampoo would keep a factor of {max(shape)}² elements for a parameter of shape "
                    f"{tuple(parameter.shape)}; set block_size=1024"
                )

    def update(self, live: Live) -> None:
        """Make one step."""
        triples = [(group, one, one.grad) for group, tensors in live for one in tensors if one.grad is not None]
        due = [root for group, tensor, gradient in triples for root in self._accumulate(group, tensor, gradient)]
        compute_roots(due, self.defaults["share"])
        for group, tensor, gradient in triples:
            step = self._step_of(group, tensor, gradient)
            if group["weight_decay"]:
                tensor.mul_(1 - group["lr"] * group["weight_decay"])
            tensor.add_(step, alpha=-group["lr"])

    def state_shapes(self, parameter: Tensor, group: Mapping[str, Any]) -> Mapping[str, list[torch.Size]]:
        """Shapes of the factors and their roots."""
        shape = factored_shape(parameter, group)
        sides = [side for part in blocks(torch.empty(shape, device="meta"), group["block_size"]) for side in part.shape]
        if _is_diagonal(shape, group):
            return {"factors": [torch.Size((side,)) for side in sides], "roots": []}
        squares = [torch.Size((side, side)) for side in sides]
        return {"factors": squares, "roots": squares}

    def _accumulate(self, group: Mapping[str, Any], parameter: Tensor, gradient: Tensor) -> Iterator[Root]:
        """Add a gradient to the statistics; the roots that are due then."""
        state, shape = self.state[parameter], factored_shape(parameter, group)
        parts = list(blocks(gradient.to(_working(parameter)).reshape(shape), group["block_size"]))
        diagonal, order = _is_diagonal(shape, group), len(shape)
        if not state:
            sides = [side for part in parts for side in part.shape]
            state["step"] = 0
            state["factors"] = [parts[0].new_zeros((side,) if diagonal else (side, side)) for side in sides]
            state["roots"] = [] if diagonal else [torch.zeros_like(factor) for factor in state["factors"]]
        ema = group["statistics"] == "ema"
        old, new = (group["beta"], 1 - group["beta"]) if ema else (1.0, 1.0)
        for factor, (part, mode) in zip(state["factors"], itertools.product(parts, range(order)), strict=True):
            if diagonal:
                factor.mul_(old).addcmul_(part, part, value=new)
            else:
                unfolding = part.movedim(mode, 0).reshape(part.shape[mode], -1)
                factor.addmm_(unfolding, unfolding.mT, beta=old, alpha=new)
        if state["step"] % group["every"] == 0:
            relative = group["eps_mode"] == "relative"
            for factor, root in zip(state["factors"], state["roots"], strict=False):
                yield Root(factor, root, 2 * order, group["eps"], relative)
        state["step"] += 1

    def _step_of(self, group: Mapping[str, Any], parameter: Tensor, gradient: Tensor) -> Tensor:
        """The preconditioned gradient, with grafting and momentum; shaped as the parameter."""
        state, shape = self.state[parameter], factored_shape(parameter, group)
        gradient = gradient.to(_working(parameter))
        parts = blocks(gradient.reshape(shape), group["block_size"])
        update = torch.empty(shape, dtype=gradient.dtype, device=gradient.device)
        targets = blocks(update, group["block_size"])
        if _is_diagonal(shape, group):
            for factor, part, target in zip(state["factors"], parts, targets, strict=True):
                power = inverse_power(factor, 2, eps=group["eps"], relative=group["eps_mode"] == "relative")
                target.copy_(part * power)
        else:
            roots = iter(state["roots"])
            for part, target in zip(parts, targets, strict=True):
                target.copy_(precondition(part, list(itertools.islice(roots, len(shape)))))
        update = update.view(parameter.shape)
        if group["grafting"] != "none":
            length = torch.linalg.vector_norm(update)
            scale = self._grafted_length(group, state, gradient) / torch.where(length > 0, length, 1.0)
            update.mul_(scale)
        if group["momentum"]:
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(update)
            update = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
        return update

    def _grafted_length(self, group: Mapping[str, Any], state: dict[str, Any], gradient: Tensor) -> Tensor:
        """The norm that a grafted update gets."""
        if group["grafting"] == "sgd":
            own: Tensor = torch.linalg.vector_norm(gradient)
            return own
        beta1, beta2, eps = ADAM
        for name in ("exp_avg", "exp_avg_sq"):
            if name not in state:
                state[name] = torch.zeros_like(gradient)
        first = state["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
        second = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        first, second = first / (1 - beta1 ** state["step"]), second / (1 - beta2 ** state["step"])
        length: Tensor = torch.linalg.vector_norm(first / (second.sqrt() + eps))
        return length


def factored_shape(parameter: Tensor, group: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape as which Shampoo takes a parameter: a scalar is a vector, a convolution may be a matrix."""
    if parameter.dim() > 2 and group["tensors"] == "matrix":
        return (parameter.shape[0], parameter[0].numel() if len(parameter) else 0)
    return tuple(parameter.shape) or (1,)


def blocks(tensor: Tensor, size: int | None) -> Iterator[Tensor]:
    """Views of a tensor cut into blocks with sides of at most `size`, in row-major order; None leaves it whole."""
    if size is None or max(tensor.shape) <= size:
        yield tensor
        return
    starts = [range(0, side, size) for side in tensor.shape]
    for corner in itertools.product(*starts):
        yield tensor[tuple(slice(start, start + size) for start in corner)]


def precondition(gradient: Tensor, roots: list[Tensor]) -> Tensor:
    """A gradient multiplied along each axis by that axis' root, a symmetric matrix."""
    if len(roots) == 2:
        return roots[0] @ gradient @ roots[1]
    for root in roots:  # takes the first axis away and puts it last, so that after all of them the order is as it was
        gradient = torch.tensordot(gradient, root, dims=([0], [0]))
    return gradient


def compute_roots(due: list[Root], share: bool) -> None:
    """Compute roots in place, those of equal shapes in one batch, and shared between the processes of a run."""
    rank, size = rank_and_size() if share else (0, 1)
    owners = assign([float(len(one.factor)) ** 3 for one in due], size)
    batches: dict[tuple[Any, ...], list[Root]] = {}
    for one, owner in zip(due, owners, strict=True):
        if owner == rank:
            factor = one.factor
            key = (len(factor), factor.dtype, factor.device, one.order, one.eps, one.relative)
            batches.setdefault(key, []).append(one)
    for (_, _, _, order, eps, relative), batch in batches.items():
        found = inverse_root(torch.stack([one.factor for one in batch]), order, eps=eps, relative=relative)
        torch._foreach_copy_([one.root for one in batch], list(found))
    if size > 1:
        exchange([one.root for one in due], owners)


def _is_diagonal(shape: tuple[int, ...], group: Mapping[str, Any]) -> bool:
    return len(shape) == 1 and group["vectors"] == "diagonal"


def _working(parameter: Tensor) -> torch.dtype:
    """The dtype of statistics: float32 at least."""
    return torch.promote_types(parameter.dtype, torch.float32)


def shampoo(
    model: Parameters,
    *,
    lr: Positive = 0.03,
    beta: Decay = 0.95,
    statistics: Literal["ema", "sum"] = "ema",
    eps: Positive = 1e-6,
    eps_mode: Literal["absolute", "relative"] = "absolute",
    every: Count = 1,
    tensors: Literal["modes", "matrix"] = "modes",
    vectors: Literal["full", "diagonal"] = "full",
    block_size: Count | None = None,
    grafting: Literal["none", "sgd", "adam"] = "none",
    momentum: Decay = 0.0,
    weight_decay: NonNegative = 0.0,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Shampoo, :math:`W \leftarrow W - \alpha L^{-1/4} G R^{-1/4}`; see `Shampoo`."""
    settings = {name: value for name, value in locals().items() if name != "model"}
    return Shampoo(groups_of(model), **settings)
