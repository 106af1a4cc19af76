"""Linear combinations of points in parameter space."""

from __future__ import annotations

from torch import Tensor


def combine(coefficients: Tensor, points: Tensor) -> Tensor:
    """Linear combinations of points: coefficients `(*, n)` and points `(n, D)` to `(*, D)`.

    Terms with coefficient 0 are left out (0 · inf is not 0), and single points come out exactly.
    """
    flat = coefficients.reshape(-1, len(points))
    result = points.new_zeros(len(flat), points.shape[1])
    for row, weights in zip(result, flat.tolist(), strict=True):
        terms = [(weight, point) for weight, point in zip(weights, points, strict=True) if weight != 0]
        if len(terms) == 1 and terms[0][0] == 1:
            row.copy_(terms[0][1])
            continue
        for weight, point in terms:
            row.add_(point, alpha=weight)
    return result.view(*coefficients.shape[:-1], points.shape[1])
