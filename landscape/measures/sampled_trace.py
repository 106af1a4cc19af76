r"""Traces of curvature matrices, averaged over samples where the samples are independent.

.. math:: \nabla^2 L = G + R + \lambda I

with the Gauss-Newton matrix G (`gauss_newton_term`) and the curvature R of the network itself (`residual_term`).
Hutchinson's probes run through the whole data set and scatter as its largest eigenvalues do; here each sample or
microbatch has probes of its own, whose errors average out, and a part that is exactly 0 costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from landscape.measures.gauss_newton_term import GaussNewtonTerm
from landscape.measures.measured import Point, Term
from landscape.measures.residual_term import ResidualTerm
from landscape.objective.memory import budget_on, measure, too_small
from landscape.objective.metric_roots import UnknownRootError
from landscape.objective.residual import ResidualForms
from landscape.objective.sample_norms import NotBySampleError, SampleNorms
from landscape.objective.samples import Batch, batch_length
from landscape.objective.standing import Standing

MICROBATCHES = 16
"""The data are cut into so many for the residual: enough to tell a variance; smaller ones are slower and no better."""

WORKING = 3
"""A pass takes the room of so many graphs: its own and what is computed from it meanwhile."""


def sampled_trace(
    point: Point,
    *,
    residual: bool,
    empirical: bool = False,
    known: float = 0.0,
    relative_error: float,
    max_products: int,
    memory: float | None,
) -> Term | None:
    """The trace of the Gauss-Newton matrix or, with the residual, of the Hessian.

    Args:
        point: Where.
        residual: Whether R is part of it.
        empirical: Whether the empirical Fisher matrix takes the place of G.
        known: Added to the trace: weight decay's.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Probes of each sample or microbatch at most.
        memory: Bytes that graphs may take; as for `Curvature`.

    Returns:
        The estimate, or None where samples influence each other or the loss has too many outputs.

    Raises:
        RequestError: If the budget doesn't hold the graph of a sample.
    """
    standing = Standing(point.objective, point.theta, None, own_convolution=True)
    budget = budget_on(point.objective.device, memory)
    try:
        with standing.context():
            norms = SampleNorms(standing)
            size = _fitting(standing, budget, norms)
        gauss_newton = GaussNewtonTerm(point, standing, norms, size, empirical)
    except (NotBySampleError, UnknownRootError):
        return None
    rest = None
    if residual:
        with standing.context():
            size = _fitting(standing, budget, partial(ResidualForms, standing))
        size = min(size, -(-point.objective.num_samples // MICROBATCHES))
        rest = ResidualTerm(point, standing, size, gauss_newton.total)
    while True:
        first, second = gauss_newton.term, rest.term if rest is not None else Term(0.0, 0.0)
        goal = (relative_error * (first.value + second.value + known)) ** 2
        if not first.variance + second.variance > goal:  # nor where they aren't numbers
            break
        refined = False
        if rest is not None and second.variance > (most := max(goal / 2, goal - first.variance)):
            refined = rest.refine(most, max_products)
            second = rest.term
        if first.variance > goal - second.variance:
            refined |= gauss_newton.refine(max(goal / 2, goal - second.variance), max_products)
        if not refined:
            break
    return Term(first.value + second.value + known, first.variance + second.variance)


def _fitting(standing: Standing, budget: int, build: Callable[[Batch], Any]) -> int:
    """The samples in a microbatch whose graph the budget holds, at most the objective's own."""
    batch = standing.objective.samples.first(2)
    module = standing.module.module
    _, graph = measure(lambda: build(batch), [*module.parameters(), *module.buffers()])
    each = max(1, WORKING * graph // batch_length(batch[1]))
    if each > budget:
        raise too_small(budget, each, 1, "the trace's graph of one sample", "leave it out")
    return min(standing.objective.batch_size, budget // each)
