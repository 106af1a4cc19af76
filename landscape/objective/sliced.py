r"""The loss on a slice :math:`\theta = \sum_j c_j w_j`, fast: the plain path's numbers but for rounding.

The data stay on the device and each microbatch in the cache while many points are evaluated on it. The forward pass is
a recorded list of calls, of which those that all points or all batches share are made once; BatchNorm is folded into
the convolution before it, and the outputs of a linear first layer are combined from those at the slice's points.
Models that don't allow this are evaluated by `Objective` itself.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.objective.captured import Captured
from landscape.objective.combination import combine
from landscape.objective.first_layer import combinations
from landscape.objective.measured import Measured, measure, points_of
from landscape.objective.objective import Objective
from landscape.objective.precision import ROUGH
from landscape.objective.probe import MANY, AtPoint, Prepared, Report
from landscape.objective.program import Program
from landscape.objective.samples import Batch, Samples, batch_length, map_tensors
from landscape.objective.tape import First, NotRecordableError

KEPT_BYTES = 1 << 28
"""What the first layer's outputs may take."""
POINTS = 64
"""Points that are evaluated together at most."""
POINT_BYTES = 1 << 28
"""What their parameters may take, those that are computed from them included."""
SHAPED, SHAPE = 64, 16
"""From so many samples on, subsets are filled up to a multiple of so many: a program is recorded for each shape."""
PAYS = 16
"""A first layer is combined if an output takes at least this many multiplications for each point of the slice."""


class SlicedObjective:
    r"""An objective on :math:`\theta = \sum_j c_j w_j`.

    A row of coefficients that is 1 at one point and 0 elsewhere is evaluated by `Objective` itself, to the same bits.

    Args:
        objective: Only read, but that its private model is moved.
        points: :math:`w_j`, shape `(m, D)`; origin and directions, or control points.

    Raises:
        RequestError: If the points have another shape.
    """

    def __init__(self, objective: Objective, points: Tensor) -> None:
        if points.ndim != 2 or len(points) == 0 or points.shape[1] != objective.num_parameters:
            raise RequestError(
                f"expected points of shape (m, {objective.num_parameters}), got {tuple(points.shape)}; "
                "give all of the objective's parameters"
            )
        self.objective = objective
        self.points = points.detach().to(objective.device, objective.dtype)
        self._kept: Tensor | None = None
        self._prepared = Prepared(objective, self.points[0], 0.5 * self.points[: min(2, len(points))].sum(0))
        first = self._prepared.first
        finite = bool(self.points.isfinite().all())
        self._combined = first is not None and first.fan_in >= PAYS * len(points) and finite and not self._rough

    def on(self, objective: Objective) -> SlicedObjective:
        """The same slice of the same model on other data: of an objective made by `Objective.on`."""
        if objective.module is not self.objective.module:
            raise RequestError("the objectives don't share a model: make the second one by Objective.on")
        other = copy.copy(self)
        other.objective, other._kept = objective, None
        return other

    @property
    def _rough(self) -> bool:
        """Whether outputs are rounded too coarsely to be combined."""
        return self.objective.module.precision in ROUGH

    @property
    def block(self) -> int:
        """Points that are worth evaluating together; 1 where the objectives of several splits share statistics."""
        return 1 if self._prepared.recomputes else POINTS

    @property
    def report(self) -> Report:
        """Which fast paths are in use, and why others aren't."""
        first = self._prepared.first if self._combined else None
        return replace(self._prepared.report, reused=None if first is None else first.weight)

    def values(self, coefficients: Tensor) -> dict[str, np.ndarray]:
        """Loss and metrics at a block of points.

        Args:
            coefficients: Shape `(P, m)`.

        Returns:
            As `Objective.values`, each entry an array of shape `(P,)`.
        """
        rows: list[dict[str, float]] = []
        coefficients = self._checked(coefficients)
        for weights, measured in zip(coefficients, self._measure(coefficients, None), strict=True):
            row: dict[str, float] = {}
            for name, (values, counts) in measured.items():
                estimate = self.objective.estimate(values.double(), counts.double())
                row[name], row[f"{name}_stderr"] = estimate
            row["loss"] += self.objective.penalty(self._theta(weights)) if self.objective.weight_decay else 0.0
            rows.append(row)
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def per_sample(self, coefficients: Tensor, index: Tensor | None = None) -> dict[str, Tensor]:
        """Each sample's loss and metrics, without the L2 term; sums for a token loss.

        Args:
            coefficients: Shape `(P, m)`.
            index: Numbers of the samples, shape `(n,)`; None for all of them, in order.

        Returns:
            Shape `(P, n)` for each name.
        """
        measured = list(self._measure(self._checked(coefficients), index))
        return {name: torch.stack([one[name][0] for one in measured]) for name in measured[0]}

    def counts(self, index: Tensor | None = None) -> dict[str, Tensor]:
        """How often each sample counts, 1 or its tokens, shape `(n,)` for each name; `index` as above."""
        first = torch.zeros(1, len(self.points), dtype=torch.float64)
        first[0, 0] = 1
        (measured,) = self._measure(first, index)
        return {name: counts for name, (_, counts) in measured.items()}

    def _checked(self, coefficients: Tensor) -> Tensor:
        if coefficients.ndim != 2 or not len(coefficients) or coefficients.shape[1] != len(self.points):
            raise RequestError(
                f"expected coefficients of shape (P, {len(self.points)}), got {tuple(coefficients.shape)}"
            )
        return coefficients

    def _theta(self, weights: Tensor) -> Tensor:
        return combine(weights[None], self.points)[0]

    @torch.no_grad()
    def _measure(self, coefficients: Tensor, index: Tensor | None) -> Iterator[Measured]:
        """Values and counts at each point, a block of points at a time."""
        fitting = POINT_BYTES // (3 * self.points[0].nbytes)  # theta, and what is computed from it
        for some in torch.split(coefficients, min(self.block, max(1, fitting))):
            exact = [int((weights != 0).sum()) == 1 == float(weights.sum()) for weights in some]
            moved = some[[not one for one in exact]]
            found: Iterator[Measured] = iter(())
            if self.report.fast and len(moved):
                try:
                    found = self._fast(moved, index)
                except NotRecordableError as reason:
                    self._prepared.give_up(str(reason))
                    self._combined, self._kept = False, None
            for weights, one in zip(some, exact, strict=True):
                yield self._exactly(weights, index) if one or not self.report.fast else next(found)

    def _exactly(self, weights: Tensor, index: Tensor | None) -> Measured:
        """Values and counts at a point by the plain path, or with the same bits."""
        objective, theta = self.objective, self._theta(weights)
        if self._kept is None or index is not None:
            on = objective if index is None else objective.on(objective.samples.select(index))
            return on.per_sample(theta)
        tensors, outputs = self._prepared.stand(theta), self._kept[int(weights.nonzero()[0, 0])]
        pieces, start = [], 0
        for inputs, targets in objective.samples.batches(objective.batch_size, shared=True):
            program, length = self._program(inputs, faithful=True), batch_length(targets)
            batch, point = program.at_batch(self._prepared.own(inputs)), program.at_point(tensors)
            outcome = [program(batch, point, outputs[start : start + length].clone())]  # models may write into it
            pieces.append(measure(objective, outcome, targets, exactly=True))
            start += length
        return next(points_of(pieces))

    def _fast(self, coefficients: Tensor, index: Tensor | None) -> Iterator[Measured]:
        """Values and counts at each point: batches outermost, so that they stay in the cache."""
        objective, count = self.objective, None if index is None else len(index)
        if index is not None and len(index) >= SHAPED:
            index = torch.cat([index, index[-1:].expand(-len(index) % SHAPE)])
        samples = objective.samples if index is None else objective.on(objective.samples.select(index)).samples
        tensors = [self._prepared.stand(self._theta(weights)) for weights in coefficients]
        kept = self._outputs(index)
        combined = self._combined and (kept is not None or len(coefficients) >= 2 * len(self.points))
        at_points: dict[Program, list[AtPoint]] = {}
        pieces: list[Measured] = []
        start = 0
        for inputs, targets in self._batches(samples):
            program = self._program(inputs, many=len(coefficients) >= MANY)
            if program not in at_points:
                at_points[program] = [program.at_point(named) for named in tensors]
            with objective.module.computing():
                batch = program.at_batch(self._prepared.own(inputs))
            firsts: Iterator[Tensor | None] = itertools.repeat(None, len(coefficients))
            if combined:
                stop = start + batch_length(targets)
                outputs = self._first_outputs(program, batch) if kept is None else kept[:, start:stop]
                start, firsts = stop, combinations(outputs, coefficients.tolist())
            runner = self._prepared.runner(program, batch_length(targets), len(coefficients))
            outcome = self._run(program, runner, batch, inputs, at_points[program], firsts)
            pieces.append(measure(objective, outcome, targets))
        return points_of(pieces, count)

    def _run(
        self,
        program: Program,
        runner: Program | Captured,
        batch: list[Any],
        inputs: Any,
        points: list[AtPoint],
        firsts: Iterator[Tensor | None],
    ) -> Iterator[Any]:
        """The model's outputs at one point after the other."""
        for number, (point, first) in enumerate(zip(points, firsts, strict=True)):
            if number and self._prepared.writes:
                batch = program.at_batch(self._prepared.own(inputs))
            with self.objective.module.computing():
                outputs = runner(batch, point, first)
            yield outputs

    def _program(self, inputs: Any, *, many: bool = True, faithful: bool = False) -> Program:
        return self._prepared.program(self._prepared.own(inputs), many=many, faithful=faithful)

    def _batches(self, samples: Samples) -> Iterator[Batch]:
        """Microbatches in order; a loader's batches are cut where they are larger."""
        size = self.report.batch_size
        for batch in samples.batches(size, shared=True):
            length = batch_length(batch[1])
            if length <= size + 1:
                yield batch
                continue
            for start in range(0, length, size):
                yield map_tensors(itemgetter(slice(start, start + size)), batch)

    def _first_outputs(self, program: Program, batch: list[Any], out: Tensor | None = None) -> Tensor:
        """The first layer's outputs for a batch at the slice's points, shape `(m, B, *)`."""
        first = program.first
        if first is None:
            raise NotRecordableError("the model doesn't make the same calls for all batches")
        inputs = batch[first.inputs.number]
        parts = list(self._first_parameters(first))
        if out is None:
            return torch.stack([F.linear(inputs, weight, bias) for weight, bias in parts])
        for (weight, bias), result in zip(parts, out, strict=True):
            if inputs.ndim == 2 and bias is not None:
                torch.addmm(bias, inputs, weight.t(), out=result)  # what a linear map does, to the same bits
            else:
                result.copy_(F.linear(inputs, weight, bias))
        return out

    def _first_parameters(self, first: First) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The first layer's weight and bias at each of the slice's points."""
        for point in self.points:
            named = self.objective.layout.named(point)
            yield named[first.weight], None if first.bias is None else named[first.bias]

    def _outputs(self, index: Tensor | None) -> Tensor | None:
        """The same for all samples, which are kept, or for some of them; None where they don't fit or aren't used."""
        if self._kept is None and self._combined:
            objective, start = self.objective, 0
            for inputs, targets in objective.samples.batches(objective.batch_size, shared=True):  # as the plain path
                program, length = self._program(inputs, faithful=True), batch_length(targets)
                batch = program.at_batch(self._prepared.own(inputs))
                if self._kept is None:
                    some = self._first_outputs(program, batch)
                    if some.shape[1] != length or some.nbytes * objective.num_samples > KEPT_BYTES * length:
                        return None
                    self._kept = some.new_empty(len(some), objective.num_samples, *some.shape[2:])
                self._first_outputs(program, batch, self._kept[:, start : start + length])
                start += length
        return self._kept if index is None or self._kept is None else self._kept[:, index]
