r"""RMSProp with :math:`\epsilon` inside the root; torch has it outside, which differs where gradients are small."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from landscape.optimizers.base import Live, NonFinite, OwnOptimizer
from landscape.optimizers.elementwise import decayed_gradients, zeros
from landscape.optimizers.parameters import Parameters, groups_of
from landscape.settings import Decay, NonNegative, Positive


class RMSProp(OwnOptimizer):
    r"""RMSProp.

    :math:`v \leftarrow \gamma v + (1-\gamma) g^2`, :math:`x \leftarrow x - \alpha g / \sqrt{v + \epsilon}`.

    Args:
        groups: Parameter groups.
        lr: :math:`\alpha`.
        gamma: :math:`\gamma`, the share of the old average.
        eps: :math:`\epsilon`, in units of a squared gradient.
        weight_decay: :math:`\lambda` of an L2 term, whose gradient :math:`\lambda x` is added to :math:`g`.
        non_finite: `raise` or `skip`.

    References:
        Tieleman & Hinton, "Lecture 6.5: RMSProp", Coursera, 2012.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        gamma: float = 0.9,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        non_finite: NonFinite = "raise",
    ) -> None:
        defaults = {"lr": lr, "gamma": gamma, "eps": eps, "weight_decay": weight_decay, "non_finite": non_finite}
        super().__init__(groups, defaults)

    def update(self, live: Live) -> None:
        """Make one step."""
        for group, tensors in live:
            gradients = decayed_gradients(group, tensors)
            averages = zeros(self, tensors, "square_avg")
            torch._foreach_mul_(averages, group["gamma"])
            torch._foreach_addcmul_(averages, gradients, gradients, 1 - group["gamma"])
            roots = torch._foreach_add(averages, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(tensors, gradients, roots, -group["lr"])


def rmsprop(
    model: Parameters,
    *,
    lr: Positive = 1e-3,
    gamma: Decay = 0.9,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""RMSProp, :math:`x \leftarrow x - \alpha g / \sqrt{v + \epsilon}`; see `RMSProp`."""
    return RMSProp(groups_of(model), lr, gamma, eps, weight_decay, non_finite)
