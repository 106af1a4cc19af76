r"""Curvature of an objective as matrix-free operators: Hessian, generalised Gauss-Newton and Fisher.

Their arguments are those of `landscape.objective.operator.Curvature`, as is what they have in common.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.objective.fisher import check_kind, draw_targets, slopes
from landscape.objective.hvp import Product, double_backward, gauss_newton, linearized, loss_metric, outer_metric
from landscape.objective.memory import room
from landscape.objective.objective import Objective
from landscape.objective.operator import Curvature, Piece
from landscape.objective.samples import Batch, batch_length, map_tensors

TRIALS = 3
"""Products that are timed where linearisation is compared with a kept graph."""


class Hessian(Curvature):
    r"""The Hessian :math:`\nabla^2 L(\theta) = \frac1n \sum_i \nabla^2 \ell_i(\theta) + \lambda I`, symmetric.

    See `Curvature` for the arguments. In units of the loss per squared unit of the weights.

    References:
        Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).
    """

    _own_convolution = True

    def _build(self, number: int, batch: Batch) -> Piece:
        if not self._linearized:
            return super()._build(number, batch)
        inputs, targets = batch
        gradient = self._standing.gradient(batch)
        with torch.no_grad():
            _, count = self._standing.loss(self._standing.module(map_tensors(torch.clone, inputs)), targets)
        product, held = linearized(gradient, self._standing.tensors)
        return Piece(product, count, held)

    def _product(self, number: int, outputs: Any, targets: Any, loss: Tensor) -> tuple[Product, int]:
        return double_backward(loss, self._standing.tensors), 0

    def _try_linearized(self, piece: Piece, batch: Batch, count: int, expected: int) -> tuple[int, str]:
        self._linearized = True
        start = time.perf_counter()
        try:
            traced, held = self._measure(batch)
        except RequestError as failure:
            self._linearized = False
            return 0, str(failure)
        setup = time.perf_counter() - start
        vectors = [torch.ones_like(tensor) for tensor in self._standing.tensors]
        kept, once = (_seconds(one, vectors) for one in (piece, traced))
        self._linearized = setup + expected * once < expected * kept and room(self._budget, held, count) == count
        verdict = (
            f"linearisation takes {setup:.2g} s to set up and {once / kept:.2f} of the time of a kept graph's product, "
            f"{held / 2**20:.3g} MiB"
        )
        return (held if self._linearized else 0), verdict


class GaussNewton(Curvature):
    r"""The generalised Gauss-Newton matrix :math:`\frac1n \sum_i J_i^\top \nabla_z^2 \ell_i J_i + \lambda I`.

    :math:`J_i` is the Jacobian of the outputs :math:`z_i` (logits). Any loss will do; where it is convex in them, the
    matrix is positive semi-definite. Arguments as for `Curvature`; there is no linearisation.

    References:
        Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", Neural Computation 14
        (2002).
    """

    def __init__(self, objective: Objective, theta: Tensor, **settings: Any) -> None:
        if settings.get("strategy") == "linearized":
            raise RequestError(f"{type(self).__name__} can't be linearised: take strategy='auto'")
        super().__init__(objective, theta, **settings)

    def _product(self, number: int, outputs: Any, targets: Any, loss: Tensor) -> tuple[Product, int]:
        metric = loss_metric(lambda place: self._standing.loss(place, targets)[0], _one_tensor(outputs))
        return gauss_newton(outputs, metric, self._standing.tensors), 0


class Fisher(GaussNewton):
    r"""The Fisher information matrix :math:`\frac1n \sum_i J_i^\top E[r_i r_i^\top] J_i + \lambda I`.

    Args:
        objective: As for `Curvature`.
        theta: The point, shape `(D,)`.
        kind: `exact`, `sampled` or `empirical`, as `landscape.objective.fisher` defines them.
        generator: Randomness of `sampled`, drawn once: the operator is one fixed matrix, which depends on the
            microbatch size as well as on the generator.
        draws: Targets drawn for each sample.
        settings: As for `Curvature`.

    Raises:
        RequestError: If the kind is unknown or the loss doesn't allow it, or `sampled` has no generator.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        kind: str = "exact",
        *,
        generator: torch.Generator | None = None,
        draws: int = 1,
        **settings: Any,
    ) -> None:
        self.kind, self.draws = check_kind(kind, objective.loss_function), draws
        if kind == "sampled":
            if generator is None or draws < 1:
                raise RequestError("the sampled Fisher matrix needs a generator and at least one draw for each sample")
            self._seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        super().__init__(objective, theta, **settings)

    def _product(self, number: int, outputs: Any, targets: Any, loss: Tensor) -> tuple[Product, int]:
        if self.kind == "exact":
            return super()._product(number, outputs, targets, loss)
        function, batch = self._standing.objective.loss_function, batch_length(targets)
        if len(_one_tensor(outputs)) != batch:
            raise RequestError(f"the Fisher matrix needs outputs by sample, first axis {batch}, not {len(outputs)}")
        drawn = [targets]
        if self.kind == "sampled":
            generator = torch.Generator(self.device).manual_seed((self._seed + number) % 2**63)
            drawn = [draw_targets(function, outputs, targets, generator) for _ in range(self.draws)]
        rows = torch.stack([slopes(function, outputs, one) for one in drawn])
        return gauss_newton(outputs, outer_metric(rows), self._standing.tensors), rows.nbytes


def _one_tensor(outputs: Any) -> Tensor:
    """The outputs, which must be one tensor."""
    if not isinstance(outputs, Tensor):
        raise RequestError(
            f"Gauss-Newton and Fisher need the model's outputs as one tensor, not {type(outputs).__name__}"
        )
    return outputs


def _seconds(piece: Piece, vectors: list[Tensor]) -> float:
    """The shortest of a few products."""
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        for tensor in piece.product(vectors):
            tensor.sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times)
