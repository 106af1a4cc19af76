r"""Sharpness-aware minimisation around any other optimizer.

SAM minimises :math:`\max_{\|\epsilon\|_p \le \rho} L(w + \epsilon)` by the gradient at the first-order worst point,

.. math:: g_{\mathrm{SAM}} = \nabla L(w + \hat\epsilon), \qquad
          \hat\epsilon = -\rho\, \mathrm{LMO}_p(g) = \rho\, \operatorname{sign}(g) |g|^{q-1} / \|g\|_q^{q-1},

with :math:`g = \nabla L(w)` over all parameters as one vector. ASAM measures :math:`\epsilon` in units of the weights,
:math:`T = |w| + \eta`: :math:`\hat\epsilon = -\rho\, T\, \mathrm{LMO}_p(T g)`, element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.linalg.norms import Lp
from landscape.objective.batchnorm import tracking_layers
from landscape.optimizers.around import Around
from landscape.optimizers.ascent import ascent, pull_back
from landscape.optimizers.base import Live, NonFinite, live_parameters
from landscape.optimizers.parameters import Parameters
from landscape.optimizers.products import hessian_product
from landscape.settings import Count, Exponent, NonNegative

Closure = Callable[[], Any]


class SAM(Around):
    r"""SAM or ASAM around a base optimizer.

    Each group may have its own radius, `sam_rho` (AdaDelta has a `rho` too), by which its share of one
    direction for all is scaled; groups with radius 0 stay where they are and don't count in the direction. With
    :math:`\rho = 0` everywhere it is the base.

    `step(closure)` is all that most training needs. Without closures, as for a `GradScaler`::

        scaler.scale(loss(model)).backward()  # the direction doesn't depend on the scale, so nothing is unscaled here
        sam.perturb()
        sam.zero_grad()
        scaler.scale(loss(model)).backward()
        sam.restore()  # before step, which the scaler may leave out
        scaler.step(sam)
        scaler.update()

    Gradients may be accumulated over several `backward` before `perturb` and again before `restore`. Afterwards
    `p.grad` is the gradient that the base stepped along: what the closure left there at :math:`w + \hat\epsilon`, or,
    where several were combined (`exact`, micro-batches), a new tensor; nothing is written into the closure's.

    Args:
        base: The optimizer that makes the steps.
        rho: :math:`\rho`, in units of distance in weight space (of the weights themselves where `adaptive`).
        p: Norm of the ball, from 1 to infinity.
        adaptive: ASAM.
        eta: :math:`\eta`; of no effect unless `adaptive`.
        exact: Keep the second-order term, :math:`\nabla [L(w + \hat\epsilon(w))]`, for one Hessian-vector product more.
        m: Samples that share a worst point (m-sharpness): whoever cuts the batches, as training does, gives `step` a
            closure for each part. None for one worst point of the whole batch.
        module: The network, so that its BatchNorm statistics are updated by the passes at :math:`w` alone.
        non_finite: `raise` or `skip`, where the gradient of the step (at the worst point) isn't finite.

    Raises:
        RequestError: If p is less than 1.

    References:
        Foret, Kleiner, Mobahi & Neyshabur, "Sharpness-aware minimization", arXiv 2010.01412.
        Kwon, Kim, Park & Choi, "ASAM: adaptive sharpness-aware minimization", arXiv 2102.11600.
    """

    own: ClassVar[tuple[str, ...]] = ("norm", "eta", "exact", "m", "layers", "_undo")

    def __init__(
        self,
        base: Optimizer,
        rho: float = 0.05,
        p: float = 2.0,
        adaptive: bool = False,
        eta: float = 0.01,
        exact: bool = False,
        m: int | None = None,
        module: nn.Module | None = None,
        non_finite: NonFinite = "raise",
    ) -> None:
        self.norm, self.eta, self.exact, self.m = Lp(float(p)), eta if adaptive else None, exact, m
        self.layers = [] if module is None else tracking_layers(module)
        self._undo: list[tuple[list[Tensor], list[Tensor]]] = []  # what is elsewhere for a while, and its own values
        super().__init__(base, non_finite, sam_rho=rho)

    def step(self, closure: Closure | Sequence[Closure] | None = None, weights: Sequence[float] | None = None) -> Any:
        r"""Make one step.

        Args:
            closure: Zeroes the gradients, computes loss and gradients on one batch and returns the loss; called at
                :math:`w`, at :math:`w + \hat\epsilon`, and with `exact` at :math:`w` again: it should give the same
                each time, dropout included. A list of closures, one for each micro-batch of m samples, makes
                m-sharpness: each has an :math:`\hat\epsilon` of its own, and their gradients are averaged. None if the
                gradients are there already (see `perturb`).
            weights: Weight of each closure in the average, such as its number of samples; equal by default.

        Returns:
            The loss at :math:`w`.

        Raises:
            RequestError: If a gradient can't be used, or torch can't compute the product that `exact` needs.
            NonFiniteGradientError: If the gradient isn't finite, unless such steps are skipped.
        """
        if closure is None:
            self.restore()
            return self.base.step()
        if callable(closure) and self.m is None and not any(group["sam_rho"] for group in self.param_groups):
            return self.base.step(closure)
        loss, worst = self.evaluate(closure, weights)
        live = live_parameters(self.param_groups)
        if live and not self.finite(live):
            return loss
        ready = [worst]

        def again() -> Any:  # a line search evaluates more than once, and compares losses at the worst points
            return ready.pop() if ready else self.evaluate(closure, weights)[1]

        self.base.step(again)
        return loss

    def evaluate(self, closure: Closure | Sequence[Closure], weights: Sequence[float] | None = None) -> tuple[Any, Any]:
        """The gradient of a step into `p.grad`, without the step: for a `GradScaler`, which steps by itself.

        Args:
            closure: As for `step`; its gradients may be scaled, as long as the scale stays the same.
            weights: As for `step`.

        Returns:
            The losses at the weights and at the worst points.

        Raises:
            RequestError: As `step`.
        """
        if callable(closure) and self.m is not None:
            raise RequestError(f"SAM with m={self.m} takes a list of closures, one for each {self.m} samples: got one")
        closures = [closure] if callable(closure) else list(closure)
        shares = _shares(weights, len(closures))
        if len(closures) == 1 and not self.exact:
            return self._two_passes(closures[0])[:2]
        here, there, total = 0.0, 0.0, {}  # type: float | Tensor, float | Tensor, dict[Tensor, Tensor]
        for one, share in zip(closures, shares, strict=True):
            loss, worst, first = self._two_passes(one)
            here, there = here + share * _number(loss), there + share * _number(worst)
            for tensor, gradient in self._gradients_of_surrogate(one, first).items():
                total[tensor] = total[tensor] + share * gradient if tensor in total else share * gradient
        for tensor, gradient in total.items():
            tensor.grad = gradient
        return here, there

    @torch.no_grad()
    def perturb(self) -> None:
        r"""Move the weights to :math:`w + \hat\epsilon`, from the gradients in `p.grad`."""
        self.restore()
        tensors, rhos = self._moving(live_parameters(self.param_groups))
        steps = ascent(tensors, _gradients(tensors), rhos, self.norm, self.eta)
        self._remember(tensors)
        if steps:
            torch._foreach_add_(tensors, steps)
        torch.clear_autocast_cache()  # holds the weights in lower precision

    @torch.no_grad()
    def restore(self) -> None:
        """Move the weights back to where they were, to the last bit; and BatchNorm statistics."""
        for targets, values in self._undo:
            torch._foreach_copy_(targets, values)
        self._undo = []
        torch.clear_autocast_cache()

    def _remember(self, tensors: list[Tensor]) -> None:
        """Keep the values of some tensors, and of BatchNorm's statistics, until `restore`."""
        buffers = [buffer for layer in self.layers for buffer in layer.buffers()]
        self._undo = [(kept, [one.detach().clone() for one in kept]) for kept in (tensors, buffers) if kept]

    def _moving(self, live: Live) -> tuple[list[Tensor], list[float]]:
        """The tensors with a gradient that are moved, and the radius of each."""
        pairs = [(tensor, group["sam_rho"]) for group, tensors in live if group["sam_rho"] for tensor in tensors]
        return [tensor for tensor, _ in pairs], [rho for _, rho in pairs]

    def _two_passes(self, closure: Closure) -> tuple[Any, Any, dict[Tensor, Tensor]]:
        """The losses at the weights and at the worst point; the first gradient, where the exact one needs it."""
        with torch.enable_grad():
            loss = closure()
        tensors, _ = self._moving(live_parameters(self.param_groups)) if self.exact else ([], [])
        first = {tensor: gradient.clone() for tensor, gradient in zip(tensors, _gradients(tensors), strict=True)}
        self.perturb()
        try:
            with torch.enable_grad():
                worst = closure()
        finally:
            self.restore()
        return loss, worst, first

    @torch.no_grad()
    def _gradients_of_surrogate(self, closure: Closure, first: dict[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        r"""The gradient at the worst point, and with `exact` what :math:`\hat\epsilon(w, g(w))` adds to it."""
        live = live_parameters(self.param_groups)
        found = {one: one.grad.clone() for _, members in live for one in members if one.grad is not None}
        tensors, rhos = self._moving([(group, [one for one in members if one in first]) for group, members in live])
        if not tensors:
            return found
        gradients, targets = [first[one] for one in tensors], [found[one] for one in tensors]
        vectors, direct = pull_back(tensors, gradients, rhos, self.norm, self.eta, targets)
        self._remember([])
        try:
            products = hessian_product(tensors, vectors, closure)
        finally:
            self.restore()
        torch._foreach_add_(targets, direct)
        torch._foreach_add_(targets, products)
        return found


def _gradients(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.grad for tensor in tensors if tensor.grad is not None]


def _number(loss: Any) -> Any:
    return loss.detach() if isinstance(loss, Tensor) else loss


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    """The weights of closures, adding up to 1.

    Raises:
        RequestError: If there are no closures, or not as many positive weights as closures.
    """
    weights = [1.0] * count if weights is None else list(weights)
    if len(weights) != count or not weights or not all(weight > 0 for weight in weights):
        raise RequestError(
            f"SAM needs closures and a positive weight for each (or no weights), got {count} and {weights}"
        )
    return [weight / sum(weights) for weight in weights]


def _module(model: Parameters) -> nn.Module | None:
    return model if isinstance(model, nn.Module) else None


def sam(
    model: Parameters,
    around: Optimizer,
    *,
    base: str = "momentum",
    rho: NonNegative = 0.05,
    p: Exponent = 2.0,
    exact: bool = False,
    m: Count | None = None,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""SAM, :math:`\nabla L(w - \rho\, \mathrm{LMO}_p(g))` in the place of the gradient of `around`; see `SAM`."""
    return SAM(around, rho, float(p), exact=exact, m=m, module=_module(model), non_finite=non_finite)


def asam(
    model: Parameters,
    around: Optimizer,
    *,
    base: str = "momentum",
    rho: NonNegative = 0.5,
    p: Exponent = 2.0,
    eta: NonNegative = 0.01,
    exact: bool = False,
    m: Count | None = None,
    non_finite: NonFinite = "raise",
) -> Optimizer:
    r"""ASAM, SAM in units of the weights, :math:`w - \rho\, T\, \mathrm{LMO}_p(T g)`, T = |w| + η; see `SAM`."""
    return SAM(around, rho, float(p), True, eta, exact, m, _module(model), non_finite)
