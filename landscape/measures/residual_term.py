r"""The trace of what the Hessian has beside the Gauss-Newton matrix, by probes of each microbatch's own.

.. math:: \operatorname{tr} R = \frac1n \sum_b \mathbb{E}_v\, v_b^\top R_b v_b

Random signs v stand for all tensors at once, or for one tensor after the other: the trace is that of the diagonal
blocks. In piecewise linear networks these are 0, and so is then every such probe, whatever its signs.

First each tensor is probed on two random microbatches, and blocks that give exactly 0 both times are taken for 0. Where
any are left, both kinds of probes are tried on a few microbatches, and the cheaper kind goes on, over as many of them,
drawn without replacement, as the goal needs. The variance is that of two-stage sampling: between microbatches, with the
finite-population correction, and between the probes of each.

References:
    Cochran, "Sampling Techniques", 1977, section 10.3 (two-stage sampling).
"""

from __future__ import annotations

import math
from operator import itemgetter

import torch
from torch import Tensor

from landscape.measures.measured import Point, State, Term
from landscape.objective.residual import ResidualForms
from landscape.objective.samples import map_tensors
from landscape.objective.standing import Standing

PROBES = 2
"""Of each microbatch at a time: as many as a variance needs."""
PILOT = 8
"""At most so many microbatches, but for three a quarter of all at most, are used for trials."""
SCREENS, SCREENED = 2, 8
"""Microbatches on which each tensor is tried, and samples of each."""
GRAPH, BLOCK = 1.5, 0.5
"""Costs, in products with all tensors: of a microbatch's graph, and of a product with one tensor."""
FEW_BLOCKS = 8
"""With more, probes of one tensor after the other aren't tried."""

Support = list[int] | None
"""Numbers of the tensors that are probed one after the other, or None for all at once."""


class ResidualTerm:
    """The trace of the residual curvature.

    Args:
        point: Where.
        standing: The objective there.
        size: Samples in a microbatch.
        total: The number of all samples or tokens.
    """

    def __init__(self, point: Point, standing: Standing, size: int, total: float) -> None:
        self._point, self._standing, self._size, self._total = point, standing, size, total
        self._count = sum(1 for _ in standing.batches(size))
        self._order = torch.randperm(self._count, generator=point.generator).tolist()
        self._tried = min(self._count, max(3, min(PILOT, self._count // 4)))
        self._support: Support = self._screened()
        self._forms = torch.zeros(self._count, PROBES, dtype=torch.float64)  # and exact, where no block is left
        if self._support:
            self._support = self._cheaper(self._support)
            self._forms = self._probe(range(max(self._tried, -(-self._count // 2))), self._support, PROBES)

    def refine(self, variance: float, most: int) -> bool:
        """Take more microbatches, and then more probes of each, for a smaller variance, as many as it seems to need.

        Args:
            variance: The goal.
            most: Probes of a microbatch at most.

        Returns:
            Whether any were taken.
        """
        have, probes = self._forms.shape
        if have < self._count:
            between, within = self._scatter()
            scale = variance * (self._total / self._count) ** 2
            needed = between / max(scale + (between - within / probes) / self._count, 1e-300)
            more = max(1, math.ceil(min(1.1 * needed - have, have, self._count - have)))
            found = self._probe(range(have, have + more), self._support, probes)
            self._forms = torch.cat([self._forms, found])
            return True
        more = math.ceil(1.1 * probes * self.term.variance / variance) - probes if variance > 0 else most
        more = min(more, probes, most - probes)
        if more > 0:
            self._forms = torch.cat([self._forms, self._probe(range(have), self._support, more)], 1)
        return more > 0

    @property
    def term(self) -> Term:
        """The estimate so far."""
        have, probes = self._forms.shape
        share = have / self._count
        between, within = self._scatter()
        variance = (1 - share) * between / have + share * within / probes / have
        freedom = have - 1 if share < 1 else have * (probes - 1)
        scale = self._count / self._total
        return Term.of(float(self._forms.mean()) * scale, variance * scale**2, freedom)

    def _scatter(self) -> tuple[float, float]:
        """The variance between microbatches' means, and that between the probes of one."""
        between = float(self._forms.mean(1).var()) if len(self._forms) > 1 else 0.0
        return between, float(self._forms.var(1).mean())

    def _screened(self) -> list[int]:
        """The tensors whose block isn't 0."""
        number_of_tensors = len(self._standing.tensors)
        asked: dict[int, list[Support]] = {place: [] for place in range(self._tried)}
        for number in range(number_of_tensors):
            for screen in range(min(SCREENS, self._tried)):
                asked[(number + screen) % self._tried].append([number])
        found = self._ask(asked, SCREENED)
        seen = {
            support[0]
            for place, supports in asked.items()
            for support, form in zip(supports, found[place].tolist(), strict=True)
            if support is not None and form != 0
        }
        return sorted(seen)

    def _cheaper(self, blocks: list[int]) -> Support:
        """The kind of probes that promises more for its cost.

        The forms by which the kinds are tried aren't used again: of skewed ones those that scatter less are smaller.
        """
        if len(blocks) > FEW_BLOCKS:
            return None
        spread = []
        supports: list[tuple[Support, float]] = [(None, 1.0), (blocks, BLOCK * len(blocks))]
        for support, cost in supports:
            forms = self._probe(range(self._tried), support, PROBES)
            spread.append(float(forms.var()) * (GRAPH + PROBES * cost))
        return supports[int(spread[1] < spread[0])][0]

    def _probe(self, places: range, support: Support, probes: int) -> Tensor:
        """Forms of some microbatches by their place in the random order, shape `(len(places), probes)`."""
        found = self._ask({place: [support] * probes for place in places})
        return torch.stack([found[place] for place in places])

    def _ask(self, asked: dict[int, list[Support]], samples: int | None = None) -> dict[int, Tensor]:
        """A form for each support of each microbatch, by its place; of so many first samples, or of all."""
        seed = self._point.seed()
        places = {self._order[place]: place for place in asked}

        def compute() -> State:
            found = {}
            with self._standing.context():
                for number, batch in enumerate(self._standing.batches(self._size)):
                    if number in places:
                        generator = torch.Generator().manual_seed((seed + number) % 2**63)
                        forms = ResidualForms(self._standing, map_tensors(itemgetter(slice(samples)), batch))
                        values = [forms.form(generator, support) for support in asked[places[number]]]
                        found[str(places[number])] = torch.tensor(values, dtype=torch.float64)
            return found

        return {int(place): forms for place, forms in self._point.journal(compute).items()}
