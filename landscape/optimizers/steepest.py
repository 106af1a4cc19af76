r"""Steepest descent in any norm, by its linear minimisation oracle.

.. math:: x \leftarrow x + \alpha\,\mathrm{LMO}(m) \quad\text{(normalised)}, \qquad
          x \leftarrow x + \alpha\,\|m\|_*\,\mathrm{LMO}(m) \quad\text{(dual-norm scaled)},

where :math:`m` is the gradient or its momentum. The first minimises :math:`\langle m, x - x_k \rangle` on the sphere
:math:`\|x - x_k\| = \alpha`, the second :math:`\langle m, x - x_k \rangle + \|x - x_k\|^2 / (2\alpha)` everywhere.

References:
    Bernstein & Newhouse, "Old optimizer, new norm: an anthology", arXiv 2409.20325.
    Pethick et al., "Training deep learning models with norm-constrained LMOs", arXiv 2502.07529.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.linalg.norms import Norm, make_norm
from landscape.optimizers.base import Live, NonFinite
from landscape.optimizers.mixed import MixedOptimizer, decay, is_matrix_norm
from landscape.optimizers.parameters import Parameters, groups_of
from landscape.optimizers.roles import Role, as_matrices, split_by_role
from landscape.settings import Decay, Exponent, NonNegative, Positive

Scope = Literal["global", "tensor"]
NormName = Literal["l1", "l2", "linf", "lp", "spectral", "nuclear", "frobenius", "row", "column"]
RoleNorm = Literal["auto", "l1", "l2", "linf", "spectral", "nuclear", "frobenius", "row", "column", "adamw"]


class SteepestDescent(MixedOptimizer):
    r"""Steepest descent in norms given by name, group by group.

    With `scope="global"` all groups of one norm are one point: a vector norm is that of the concatenation, a matrix
    norm the largest over the matrices, :math:`\max_l \|X_l\|`, whose dual is :math:`\sum_l \|G_l\|_*` and whose oracle
    is that of each matrix. With `scope="tensor"` each tensor stands for itself.

    Args:
        groups: Tensors or parameter groups; a group may have its own `norm` (a name of `NORMS`, or `adamw`), `p`,
            `scope`, `normalized`, `lr`, `momentum`, `nesterov`, `weight_decay`, and `parts`: into how many matrices,
            one below the other, its weights fall.
        lr: :math:`\alpha`: the length of a normalised step in that norm.
        norm: A name of `NORMS`.
        p: The exponent of `lp`.
        scope: `global` or `tensor`.
        normalized: Whether the step has length :math:`\alpha`, or :math:`\alpha \|m\|_*`.
        momentum: :math:`\mu` of the heavy ball :math:`m \leftarrow \mu m + g`.
        nesterov: Use :math:`g + \mu m` in the place of :math:`m`.
        weight_decay: :math:`\lambda` of :math:`x \leftarrow (1 - \alpha\lambda) x`, before the step.
        non_finite: `raise` or `skip`.

    Raises:
        RequestError: If a matrix norm meets a parameter that is no matrix.
    """

    def __init__(
        self,
        groups: Any,
        lr: float,
        norm: str = "l2",
        p: float | None = None,
        scope: Scope = "global",
        normalized: bool = True,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        non_finite: NonFinite = "raise",
    ) -> None:
        options = {
            "p": p,
            "scope": scope,
            "normalized": normalized,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
        }
        super().__init__(groups, lr, norm, options, non_finite)

    def descend(self, live: Live) -> None:
        """Step along the oracles."""
        spaces: dict[tuple[Any, ...], Live] = {}
        for place, (group, parameters) in enumerate(live):
            key = (group["norm"], group["p"], group["normalized"], None if group["scope"] == "global" else place)
            spaces.setdefault(key, []).append((group, parameters))
        for (name, p, normalized, alone), members in spaces.items():
            norm = make_norm(name) if p is None else make_norm(name, p=float(p))
            moments = [m for group, parameters in members for m in self.accelerated(group, parameters)]
            parts = [group["parts"] for group, parameters in members for _ in parameters]
            steps = steepest_steps(norm, moments, parts, whole=alone is None, normalized=normalized)
            for group, parameters in members:
                mine, steps = steps[: len(parameters)], steps[len(parameters) :]
                decay(group, parameters)
                torch._foreach_add_(parameters, mine, alpha=float(group["lr"]))


def steepest_steps(
    norm: Norm, moments: list[Tensor], parts: list[int], *, whole: bool, normalized: bool
) -> list[Tensor]:
    r"""The steps :math:`\mathrm{LMO}(m)` or :math:`\|m\|_* \mathrm{LMO}(m)` of each tensor.

    Args:
        norm: The norm.
        moments: Gradients or their momentum.
        parts: Number of matrices in each.
        whole: Whether they are one vector, or the norm is the largest over the matrices.
        normalized: Whether the steps have length 1.

    Returns:
        Steps of the moments' shapes.

    Raises:
        RequestError: If they are one vector and lie on several devices.
    """
    if whole and len({moment.device for moment in moments}) > 1:
        raise RequestError("scope=global needs all parameters on one device: use scope=tensor")
    oracle = _of_matrices if norm.matrix else _of_vector if whole else _of_vectors
    steps, duals = oracle(norm, moments, parts)
    if not normalized:
        if whole:
            duals = [torch.stack([dual.sum() for dual in duals]).sum()] * len(steps)
        steps = [step * dual for step, dual in zip(steps, duals, strict=True)]
    return [step.reshape(moment.shape) for step, moment in zip(steps, moments, strict=True)]


Steps = tuple[list[Tensor], list[Tensor]]
"""Oracles, and dual norms that broadcast with them: the latter by their product with the moments."""


def _of_vector(norm: Norm, moments: list[Tensor], parts: list[int]) -> Steps:
    """Of the concatenation; the dual norm is its share of the inner product."""
    oracle = norm.lmo(torch.cat([moment.reshape(-1) for moment in moments]))
    steps = list(torch.split(oracle, [moment.numel() for moment in moments]))
    return steps, [-(moment.reshape(-1) * step).sum() for moment, step in zip(moments, steps, strict=True)]


def _of_vectors(norm: Norm, moments: list[Tensor], parts: list[int]) -> Steps:
    """Of each tensor as a vector."""
    steps = [norm.lmo(moment) for moment in moments]
    return steps, [-(moment * step).sum() for moment, step in zip(moments, steps, strict=True)]


def _of_matrices(norm: Norm, moments: list[Tensor], parts: list[int]) -> Steps:
    """Of each matrix, equal shapes at once, in float32 at least."""
    matrices = [
        as_matrices(moment, count).to(torch.promote_types(moment.dtype, torch.float32))
        for moment, count in zip(moments, parts, strict=True)
    ]
    stacks: dict[tuple[Any, ...], list[int]] = {}
    for place, one in enumerate(matrices):
        stacks.setdefault((one.shape[1:], one.dtype, one.device), []).append(place)
    steps, duals = list(matrices), list(matrices)
    for places in stacks.values():
        stack = torch.cat([matrices[place] for place in places])
        oracle = norm.lmo(stack)
        dual = -(stack * oracle).sum((-2, -1), keepdim=True)
        sizes = [len(matrices[place]) for place in places]
        for place, step, size in zip(places, torch.split(oracle, sizes), torch.split(dual, sizes), strict=True):
            steps[place], duals[place] = step, size
    return steps, duals


def steepest(
    model: Parameters,
    *,
    lr: Positive = 0.05,
    norm: NormName = "l2",
    p: Exponent | None = None,
    scope: Scope = "global",
    normalized: bool = True,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    embedding: RoleNorm = "auto",
    head: RoleNorm = "auto",
    vector: RoleNorm = "auto",
    other_lr: Positive | None = None,
    hidden: str | None = None,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Steepest descent; see `SteepestDescent`.

    A vector norm is by default the norm of all parameters. A matrix norm is by default that of the hidden matrices,
    while embeddings and the head have :math:`\ell_\infty` and vectors :math:`\ell_2`. `embedding`, `head` and `vector`
    choose otherwise, `adamw` included; the roles are those of `roles.roles`, `hidden` overrides them, and `other_lr` is
    the learning rate of the roles that don't have `norm`.
    """
    build: Callable[[Any], Optimizer] = functools.partial(
        SteepestDescent,
        lr=lr,
        norm=norm,
        p=p,
        scope=scope,
        normalized=normalized,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        non_finite=non_finite,
    )
    chosen: dict[Role, str] = {"hidden": norm, "embedding": embedding, "head": head, "vector": vector}
    auto: dict[Role, str] = {}
    if is_matrix_norm(norm):
        auto = {"embedding": "linf", "head": "linf", "vector": "l2"}
    norms = {role: auto.get(role, norm) if name == "auto" else name for role, name in chosen.items()}
    if set(norms.values()) == {norm} and hidden is None:
        return build(groups_of(model))  # one norm for all: groups as they are
    other = {"lr": lr if other_lr is None else other_lr, "p": None}
    options = {role: {"norm": name, **({} if name == norm else other)} for role, name in norms.items()}
    return build(split_by_role(model, options, hidden=hidden))


def normalized_gd(
    model: Parameters,
    *,
    lr: Positive = 0.05,
    scope: Scope = "global",
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Normalised gradient descent, :math:`x \leftarrow x - \alpha g / \|g\|_2`; see `SteepestDescent`."""
    settings = {name: value for name, value in locals().items() if name != "model"}
    return steepest(model, norm="l2", **settings)


def sign_gd(
    model: Parameters,
    *,
    lr: Positive = 0.001,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Sign descent, :math:`x \leftarrow x - \alpha \operatorname{sign}(g)` (arXiv 1802.04434)."""
    settings = {name: value for name, value in locals().items() if name != "model"}
    return steepest(model, norm="linf", **settings)


def spectral_gd(
    model: Parameters,
    *,
    lr: Positive = 0.01,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    other_lr: Positive | None = 0.001,
    hidden: str | None = None,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Spectral descent, :math:`W \leftarrow W - \alpha U V^\top` with the exact polar factor; see `steepest`."""
    settings = {name: value for name, value in locals().items() if name != "model"}
    return steepest(model, norm="spectral", **settings)
