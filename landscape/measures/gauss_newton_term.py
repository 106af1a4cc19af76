r"""The trace of the Gauss-Newton matrix by probes of each sample's own.

With :math:`M_i = S_i S_i^\top` the loss's curvature by the outputs of sample i and :math:`J_i` their Jacobian,

.. math:: \operatorname{tr} G = \frac1n \sum_i \operatorname{tr} J_i^\top M_i J_i
          = \frac1n \sum_i \mathbb{E}_\epsilon \|J_i^\top S_i \epsilon_i\|^2

takes n independent probes from a single pass over the data, where Hutchinson's takes one, and their errors average out.
With the columns of :math:`S_i` in the place of random signs, one pass for each output, the trace is exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.measures.measured import Point, State, Term
from landscape.objective.metric_roots import Empirical, Root, root_of
from landscape.objective.sample_norms import SampleNorms
from landscape.objective.samples import Batch
from landscape.objective.standing import Standing

PROBES = 2
"""Of each sample at first: as many as a variance needs."""


class GaussNewtonTerm:
    """The trace of the Gauss-Newton matrix, or of the empirical Fisher matrix, without weight decay.

    Args:
        point: Where.
        standing: The objective there.
        norms: For its batches.
        size: Samples in a microbatch.
        empirical: Whether the samples' own gradients are the root.
    """

    def __init__(self, point: Point, standing: Standing, norms: SampleNorms, size: int, empirical: bool) -> None:
        self._point, self._standing, self._norms, self._size = point, standing, norms, size
        self._empirical = empirical
        self._exact = empirical
        self._squares, self.total, self._columns = self._sweep(None if empirical else PROBES)

    def refine(self, variance: float, most: int) -> bool:
        """Take more probes for a smaller variance, as many as it seems to need, or all columns where they are fewer.

        Args:
            variance: The goal.
            most: Probes of a sample at most.

        Returns:
            Whether any were taken.
        """
        have = len(self._squares)
        more = math.ceil(1.1 * have * self.term.variance / variance) - have if variance > 0 else most
        if self._columns <= more:
            self._squares, _, _ = self._sweep(None)
            self._exact = True
            return True
        more = min(more, have, most - have)
        if more > 0:
            found, _, _ = self._sweep(more)
            self._squares = torch.cat([self._squares, found])
        return more > 0

    @property
    def term(self) -> Term:
        """The estimate so far."""
        value = float(self._squares.mean(0).sum()) / self.total
        if self._exact:
            return Term(value, 0.0)
        count = len(self._squares)
        each = self._squares.var(0)  # normal numbers would have squares of 1 + 2 / (count - 1) times their variances'
        together, squared = float(each.sum()), float(each.square().sum())
        freedom = (count + 1) * together**2 / squared if squared > 0 else math.inf
        return Term.of(value, together / count / self.total**2, freedom)

    def _sweep(self, draws: int | None) -> tuple[Tensor, float, int]:
        """One pass: the squares of some draws for each sample, `(draws, n)`, or their sum over all columns, `(1, n)`.

        Returns:
            The squares, the number of samples or tokens, and the most outputs that a sample has.
        """
        seed = self._point.seed()

        def compute() -> State:
            rows, total, columns = [], 0.0, 0
            with self._standing.context():
                for number, batch in enumerate(self._standing.batches(self._size)):
                    outputs, pull_back = self._norms(batch)
                    root = self._root(outputs, batch)
                    generator = torch.Generator().manual_seed((seed + number) % 2**63)
                    times = (
                        [root.columns(outputs)]
                        if draws is None
                        else [root.draw(generator, outputs) for _ in range(draws)]
                    )
                    none = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
                    rows.append(
                        torch.stack([sum((sign * pull_back(slopes) for sign, slopes in one), none) for one in times])
                    )
                    total += self._standing.loss(outputs, batch[1])[1]
                    columns = max(columns, outputs[0].numel())
            numbers = torch.tensor([total, columns], dtype=torch.float64)
            return {"squares": torch.cat(rows, 1).cpu(), "numbers": numbers}

        found = self._point.journal(compute)
        total, columns = found["numbers"].tolist()
        return found["squares"], total, int(columns)

    def _root(self, outputs: Tensor, batch: Batch) -> Root:
        """The root of a batch's metric."""
        function = self._standing.objective.loss_function
        return (Empirical if self._empirical else root_of)(function, outputs, batch[1])
