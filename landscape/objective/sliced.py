r"""The loss on a slice :math:`\theta = \sum_j c_j w_j`, fast: the plain path's numbers but for rounding.

The data stay on the device, BatchNorm is folded into the convolution before it (anew at each point), microbatches fit
the cache, and the outputs of a linear first layer are combined from those at the points. What a model doesn't allow is
left out; a model that allows nothing is evaluated by `Objective` itself.
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

from landscape.errors import RequestError
from landscape.objective.combination import combine
from landscape.objective.first_layer import combined, first_call
from landscape.objective.folding import UnexpectedUseError
from landscape.objective.losses import per_sample
from landscape.objective.objective import Objective
from landscape.objective.probe import Prepared, Report
from landscape.objective.samples import Batch, Samples, batch_length, map_tensors

KEPT_BYTES = 1 << 28
"""What the first layer's outputs may take."""
POINTS = 64
"""Points whose per-sample values are held at a time."""
PAYS = 16
"""A first layer is combined if an output takes at least this many multiplications for each point of the slice."""

Measured = dict[str, tuple[Tensor, Tensor]]


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
        self._size: int | None = None
        self._kept: Tensor | None = None
        self._prepared = Prepared(objective, self.points[0], 0.5 * self.points[: min(2, len(points))].sum(0))
        first = self._prepared.first
        if first is not None and (first.fan_in < PAYS * len(points) or not bool(self.points.isfinite().all())):
            self._prepared.first = None

    def on(self, objective: Objective) -> SlicedObjective:
        """The same slice of the same model on other data: of an objective made by `Objective.on`."""
        if objective.module is not self.objective.module:
            raise RequestError("the objectives don't share a model: make the second one by Objective.on")
        other = copy.copy(self)
        other.objective, other._kept = objective, None
        return other

    @property
    def report(self) -> Report:
        """Which fast paths are in use, and why others aren't."""
        first = self._prepared.first
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
        for some in torch.split(coefficients, POINTS):
            for weights, measured in zip(some, self._measure(some, None), strict=True):
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
        """Values and counts at each point; where all is given up on the way, by the plain path."""
        if not self.report.fast:
            for weights in coefficients:
                yield self._plain(weights, index)
            return
        exact = [int((weights != 0).sum()) == 1 == float(weights.sum()) for weights in coefficients]
        moved = coefficients[[not one for one in exact]]
        fast = self._fast(moved, index) if len(moved) else iter(())
        for weights, one in zip(coefficients, exact, strict=True):
            if one or not self.report.fast:
                yield self._plain(weights, index)
                continue
            try:
                yield next(fast)
            except UnexpectedUseError:
                self._prepared.give_up("the model doesn't make the same calls for all samples")
                yield self._plain(weights, index)

    def _plain(self, weights: Tensor, index: Tensor | None) -> Measured:
        objective = self.objective
        if index is not None:
            objective = objective.on(objective.samples.select(index))
        return objective.per_sample(self._theta(weights))

    def _fast(self, coefficients: Tensor, index: Tensor | None) -> Iterator[Measured]:
        """As `_measure`: points outermost, unless the first layer's outputs fit only for a part of the data."""
        objective = self.objective
        samples = objective.samples if index is None else objective.on(objective.samples.select(index)).samples
        size = self._bytes_per_sample(samples)
        recomputed = objective.module.refresh_statistics is not None
        if size and size * len(objective.samples) <= KEPT_BYTES:
            outputs = self._outputs(index)
            for weights in coefficients:
                yield self._at(weights, _split(self._batches(samples), outputs))
        elif not size or recomputed or len(coefficients) < 2 * len(self.points):
            for weights in coefficients:
                yield self._at(weights, ((batch, None) for batch in self._batches(samples)))
        else:
            pieces: list[list[Measured]] = [[] for _ in coefficients]
            batches = self._batches(samples)
            count = max(1, KEPT_BYTES // (size * self.report.batch_size))
            while some := list(itertools.islice(batches, count)):
                parts = [(batch, self._first_outputs(batch)) for batch in some]
                for weights, found in zip(coefficients, pieces, strict=True):
                    found.append(self._at(weights, iter(parts)))
            yield from map(_joined, pieces)

    def _at(self, weights: Tensor, parts: Iterator[tuple[Batch, Tensor | None]]) -> Measured:
        """Values and counts at one point, on batches with the first layer's outputs `(m, B, *)`."""
        self._prepared.stand(self._theta(weights))
        functions = {"loss": self.objective.loss_function, **self.objective.metrics}
        row = weights.tolist()
        pieces: list[Measured] = []
        for (inputs, targets), first in parts:
            outputs = self._prepared(self._own(inputs), None if first is None else combined(first, row))
            piece: Measured = {}
            for name, function in functions.items():
                values, counts = per_sample(function, outputs, targets, batch_length(targets), name)
                piece[name] = (values, torch.ones_like(values) if counts is None else counts)
            pieces.append(piece)
        return _joined(pieces)

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

    def _own(self, inputs: Any) -> Any:
        """Inputs that the model may write into, if it does."""
        return map_tensors(torch.clone, inputs) if self._prepared.writes else inputs

    def _bytes_per_sample(self, samples: Samples) -> int:
        """What the first layer's outputs at all points take for a sample; 0 where they are not combined."""
        if self._prepared.first is None:
            return 0
        if self._size is None:
            batch = samples.first(1)
            self._size = self._first_outputs(batch).nbytes // batch_length(batch[1])
        return self._size

    def _first_outputs(self, batch: Batch) -> Tensor:
        """The first layer's outputs at the slice's points, shape `(m, B, *)`."""
        first, module = self._prepared.first, self._prepared.module
        assert first is not None
        assert module is not None
        function, arguments = first_call(module.module, lambda: module(self._own(batch[0])))
        if function is not first.function or arguments["weight"] is not module.module.get_parameter(first.weight):
            raise UnexpectedUseError
        named = [self.objective.layout.named(point) for point in self.points]
        outputs = torch.stack([first.outputs(arguments, tensors) for tensors in named])
        if outputs.shape[1] != batch_length(batch[1]):
            raise UnexpectedUseError
        return outputs

    def _outputs(self, index: Tensor | None) -> Tensor:
        """The same for all samples, which are kept, or for some of them."""
        if self._kept is None:
            self._kept = torch.cat([self._first_outputs(b) for b in self._batches(self.objective.samples)], dim=1)
        return self._kept if index is None else self._kept[:, index]


def _split(batches: Iterator[Batch], outputs: Tensor) -> Iterator[tuple[Batch, Tensor]]:
    """Batches with their share of outputs `(m, n, *)`."""
    start = 0
    for batch in batches:
        stop = start + batch_length(batch[1])
        yield batch, outputs[:, start:stop]
        start = stop


def _joined(pieces: list[Measured]) -> Measured:
    """Values and counts of batches in a row as those of one."""
    return {
        name: (torch.cat([piece[name][0] for piece in pieces]), torch.cat([piece[name][1] for piece in pieces]))
        for name in pieces[0]
    }
