"""What methods around another optimizer share: they have its parameter groups and its state."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.optimizers.base import Checked, Live, NonFinite, gradients_finite


class Around(Optimizer):
    """An optimizer around another one.

    Schedulers that change `lr` here drive the base, and `state_dict` is the base's.

    Args:
        base: The optimizer that makes the steps.
        non_finite: `raise` or `skip`, where the gradient of the step isn't finite.
        options: Default options of the groups, beside the base's.
    """

    own: ClassVar[tuple[str, ...]] = ()
    """What a subclass keeps beside the base."""

    def __init__(self, base: Optimizer, non_finite: NonFinite, **options: Any) -> None:
        self.base, self.non_finite, self.options = base, non_finite, options
        super().__init__(base.param_groups, {**base.defaults, **options})
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base."""
        if not any(param_group is group for group in self.base.param_groups):
            self.base.add_param_group({**self.options, **param_group})
        else:
            super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base's state."""
        super().load_state_dict(state_dict)  # its hooks look at the state first
        self.base.load_state_dict(copy.deepcopy(state_dict))
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("base", "non_finite", "options", *self.own)
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in kept}}

    def finite(self, live: Live) -> bool:
        """Whether the gradients are such that a step can be made.

        Raises:
            NonFiniteGradientError: If they aren't finite, unless such steps are skipped.
        """
        return gradients_finite([({"non_finite": self.non_finite}, tensors) for _, tensors in live])


class Filtered(Around, Checked):
    """An optimizer whose base steps along something else than the gradient: a subclass says what, in `filtered`.

    `p.grad` is left as it was.

    Args:
        base: The optimizer that makes the steps.
        non_finite: `raise` or `skip`, where a gradient isn't finite.

    Raises:
        RequestError: If the base searches along a line: it compares losses, which don't belong to these gradients.
    """

    def __init__(self, base: Optimizer, non_finite: NonFinite = "raise") -> None:
        if isinstance(base, torch.optim.LBFGS):
            raise RequestError("base=lbfgs searches along the loss's own gradient: choose another, such as base=adamw")
        super().__init__(base, non_finite)

    @abstractmethod
    def filtered(self, tensors: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """New tensors to step along, of the gradients' shapes."""

    def settle(self, tensors: list[Tensor]) -> None:
        """What is left to do when the base has stepped, or failed to."""

    def update(self, live: Live) -> None:
        """Let the base step along what the subclass makes of the gradients."""
        pairs = [(one, one.grad) for _, members in live for one in members if one.grad is not None]
        tensors, gradients = [one for one, _ in pairs], [gradient for _, gradient in pairs]
        stepping = self.filtered(tensors, gradients)
        try:
            for one, gradient in zip(tensors, stepping, strict=True):
                one.grad = gradient
            self.base.step()
        finally:
            for one, gradient in pairs:
                one.grad = gradient
            self.settle(tensors)
