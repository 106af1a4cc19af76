r"""AMSGrad: Adam whose second moment never decreases, with torch's bias correction or as Reddi et al. wrote it."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from landscape.optimizers.base import Live, NonFinite, OwnOptimizer
from landscape.optimizers.elementwise import decayed_gradients, zeros
from landscape.optimizers.parameters import Parameters, groups_of
from landscape.optimizers.wrapped import fused
from landscape.settings import Decay, NonNegative, Positive


class UncorrectedAMSGrad(OwnOptimizer):
    r"""AMSGrad as Reddi et al. wrote it, without bias correction.

    :math:`m \leftarrow \beta_1 m + (1-\beta_1) g`, :math:`v \leftarrow \beta_2 v + (1-\beta_2) g^2`,
    :math:`\hat v \leftarrow \max(\hat v, v)`, :math:`x \leftarrow x - \alpha m / (\sqrt{\hat v} + \epsilon)`;
    the paper's algorithm has :math:`\epsilon = 0`.

    Args:
        groups: Parameter groups.
        lr: :math:`\alpha`.
        beta1: :math:`\beta_1`.
        beta2: :math:`\beta_2`.
        eps: :math:`\epsilon`, in units of a gradient.
        weight_decay: :math:`\lambda` of an L2 term, whose gradient :math:`\lambda x` is added to :math:`g`.
        non_finite: `raise` or `skip`.

    References:
        Reddi, Kale & Kumar, "On the convergence of Adam and beyond", arXiv 1904.09237, algorithm 2.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        non_finite: NonFinite = "raise",
    ) -> None:
        defaults = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}
        super().__init__(groups, {**defaults, "non_finite": non_finite})

    def update(self, live: Live) -> None:
        """Make one step."""
        for group, tensors in live:
            beta1, beta2 = group["betas"]
            gradients = decayed_gradients(group, tensors)
            first, second = zeros(self, tensors, "exp_avg"), zeros(self, tensors, "exp_avg_sq")
            largest = zeros(self, tensors, "max_exp_avg_sq")
            torch._foreach_lerp_(first, gradients, 1 - beta1)
            torch._foreach_mul_(second, beta2)
            torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
            torch._foreach_maximum_(largest, second)
            roots = torch._foreach_sqrt(largest)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_addcdiv_(tensors, first, roots, -group["lr"])


def amsgrad(
    model: Parameters,
    *,
    lr: Positive = 1e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    bias_correction: bool = True,
) -> Optimizer:
    r"""AMSGrad: torch's, which corrects the bias after the maximum, or with `bias_correction=False` Reddi et al.'s."""
    groups = groups_of(model)
    if not bias_correction:
        return UncorrectedAMSGrad(groups, lr, beta1, beta2, eps, weight_decay)
    return torch.optim.Adam(
        groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=True, fused=fused(groups)
    )
