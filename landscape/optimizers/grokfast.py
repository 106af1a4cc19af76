r"""Grokfast: amplify the slow part of the gradient, and let any other optimizer step along the sum.

.. math:: \mu \leftarrow \alpha \mu + (1 - \alpha) g, \qquad \hat g = g + \lambda \mu,

:math:`\mu` starting with the first gradient: a filter whose gain is :math:`1 + \lambda` for what stays the same and
near 1 for what changes from step to step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.optimizers.around import Filtered
from landscape.optimizers.base import NonFinite
from landscape.optimizers.parameters import Parameters
from landscape.settings import Decay, NonNegative

SLOW = "slow_gradient"
"""The average's name in a tensor's state."""


class Grokfast(Filtered):
    r"""Grokfast (EMA) around a base optimizer; with :math:`\lambda = 0` it is the base.

    The gain of :math:`1 + \lambda` is nearly a larger learning rate for a base such as SGD; Adam's step doesn't depend
    on the gradient's scale, so that there the filter alone has an effect.

    Args:
        base: The optimizer that makes the steps.
        decay: :math:`\alpha`.
        gain: :math:`\lambda`.
        non_finite: `raise` or `skip`, where a gradient isn't finite.

    References:
        Lee, Kang, Kim & Lee, "Grokfast: accelerated grokking by amplifying slow gradients", arXiv 2405.20233,
        algorithm 2.
    """

    own: ClassVar[tuple[str, ...]] = ("decay", "gain", "_slow")

    def __init__(
        self, base: Optimizer, decay: float = 0.98, gain: float = 2.0, non_finite: NonFinite = "raise"
    ) -> None:
        self.decay, self.gain = decay, gain
        self._slow: list[Tensor] = []
        super().__init__(base, non_finite)

    def filtered(self, tensors: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        r"""The gradients with :math:`\lambda` times their averages added, which are brought up to date."""
        # torch's optimizers make their state where a tensor has none yet, so ours is away while they step
        found = [(self.state[one].pop(SLOW, None), gradient) for one, gradient in zip(tensors, gradients, strict=True)]
        self._slow = [gradient.clone() if slow is None else slow for slow, gradient in found]
        torch._foreach_lerp_(self._slow, gradients, 1 - self.decay)
        return list(torch._foreach_add(gradients, self._slow, alpha=self.gain))

    def settle(self, tensors: list[Tensor]) -> None:
        """Put the averages into the tensors' state."""
        for one, slow in zip(tensors, self._slow, strict=True):
            self.state[one][SLOW] = slow
        self._slow = []


def grokfast(
    model: Parameters,
    around: Optimizer,
    *,
    base: str = "adamw",
    decay: Decay = 0.98,
    gain: NonNegative = 2.0,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""Grokfast (EMA), :math:`g + \lambda \mu` in the place of the gradient of `around`; see `Grokfast`."""
    return Grokfast(around, decay, gain, non_finite)
