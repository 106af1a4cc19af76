r"""A linear first layer over a slice: what is computed once for many points.

With :math:`\theta = \sum_j c_j w_j` a linear layer of the inputs has the outputs :math:`z(\theta) = \sum_j c_j z(w_j)`,
for its inputs don't depend on :math:`\theta`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor


def combinations(outputs: Tensor, coefficients: list[list[float]]) -> Iterator[Tensor]:
    """The first layer's outputs at points, each a new tensor.

    What two neighbouring points have in common, all terms but one, is added up only once: in a plane, once for a row.

    Args:
        outputs: At the points of the slice, shape `(m, B, *)`.
        coefficients: Of each point, `m` numbers.

    Yields:
        Shape `(B, *)`.
    """
    turning = _turning(coefficients)
    common: Tensor | None = None
    before: list[float] = []
    for row in coefficients:
        rest = [*row[:turning], *row[turning + 1 :]]
        if common is None or rest != before:
            terms = [(weight, part) for j, (weight, part) in enumerate(zip(row, outputs, strict=True)) if j != turning]
            common, before = _sum(terms, outputs[0]), rest
        last = row[turning]
        yield common.clone() if last == 0 else torch.add(common, outputs[turning], alpha=last)


def _turning(coefficients: list[list[float]]) -> int:
    """The coefficient that changes most often from point to point."""
    changes = [sum(a != b for a, b in itertools.pairwise(column)) for column in zip(*coefficients, strict=True)]
    return max(range(len(changes)), key=changes.__getitem__)


def _sum(terms: list[tuple[float, Tensor]], example: Tensor) -> Tensor:
    """Sum of weighted tensors; those of weight 0 are left out, since 0 times infinity is not 0."""
    present = [(weight, part) for weight, part in terms if weight != 0]
    if not present:
        return torch.zeros_like(example)
    (weight, result), *rest = present
    result = result if weight == 1 else result * weight
    for weight, part in rest:
        result = torch.add(result, part, alpha=weight)
    return result
