r"""Tensor cubic splines as linear maps from the values on a coarse grid to any point of a finer one.

Along each axis :math:`i` a spline through values at the nodes is :math:`s(x) = \sum_k A^{(i)}_{xk} y_k` with a small
dense matrix :math:`A^{(i)}`; over several axes

.. math:: s(x_1, \dots, x_d) = \sum_{k_1, \dots, k_d} A^{(1)}_{x_1 k_1} \cdots A^{(d)}_{x_d k_d}\, y_{k_1, \dots, k_d}.

Because the map is linear, the mean of many interpolants is the interpolant of their mean. The interpolants of many
samples are never held on the whole fine grid: they are taken at one point at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

Array = NDArray[np.float64]

Position = Sequence[int] | NDArray[np.integer]

CUBIC = 3


def spline_matrix(nodes: Array, points: Array) -> Array:
    """The matrix that takes values at nodes to the cubic spline through them, with not-a-knot ends.

    Args:
        nodes: Increasing, shape `(c,)`. Three make a parabola, two a line, and one a constant.
        points: Where it is evaluated, shape `(f,)`.

    Returns:
        Shape `(f, c)`; rows add up to 1, and the row of a point that is a node is a unit vector to the last bit.

    Raises:
        ValueError: If the nodes don't increase.
    """
    nodes, points = np.asarray(nodes, float), np.asarray(points, float)
    if len(nodes) == 0 or (np.diff(nodes) <= 0).any():
        raise ValueError("nodes of a spline must increase")
    if len(nodes) == 1:
        return np.ones((len(points), 1))
    spline = make_interp_spline(nodes, np.eye(len(nodes)), k=min(CUBIC, len(nodes) - 1))
    matrix: Array = np.asarray(spline(points), float)
    rows, columns = np.nonzero(points[:, None] == nodes[None])
    matrix[rows] = 0.0
    matrix[rows, columns] = 1.0
    return matrix


class TensorSpline:
    """The tensor cubic spline from a coarse grid to a finer one.

    Args:
        nodes: Labels of the coarse grid along each of its axes.
        points: Labels of the fine grid along each of its axes.
    """

    def __init__(self, nodes: Sequence[Array], points: Sequence[Array]) -> None:
        if len(nodes) != len(points):
            raise ValueError(f"{len(nodes)} axes of nodes, but {len(points)} of points")
        self.matrices = [spline_matrix(*pair) for pair in zip(nodes, points, strict=True)]

    @property
    def coarse_shape(self) -> tuple[int, ...]:
        """The shape of the coarse grid."""
        return tuple(matrix.shape[1] for matrix in self.matrices)

    @property
    def fine_shape(self) -> tuple[int, ...]:
        """The shape of the fine grid."""
        return tuple(matrix.shape[0] for matrix in self.matrices)

    def weights(self, position: Position) -> Array:
        """The linear map to one point of the fine grid.

        Args:
            position: Its place along each axis.

        Returns:
            Shape `(K,)`, for values on the coarse grid in C order.
        """
        found = np.ones(1)
        for matrix, place in zip(self.matrices, position, strict=True):
            found = np.multiply.outer(found, matrix[place]).ravel()
        return found

    def at(self, values: NDArray[np.floating], position: Position) -> Array:
        """Interpolate many samples at one point.

        Args:
            values: On the coarse grid, shape `(n, K)`.
            position: The place of the point along each axis.

        Returns:
            Shape `(n,)`.
        """
        found: Array = np.asarray(values @ self.weights(position), float)
        return found

    def grid(self, values: NDArray[np.floating]) -> Array:
        """Interpolate one function to the whole fine grid.

        Args:
            values: On the coarse grid, shape `(K,)` or that of the grid.

        Returns:
            The shape of the fine grid.
        """
        found = np.asarray(values, float).reshape(self.coarse_shape)
        for axis, matrix in enumerate(self.matrices):
            found = np.moveaxis(np.tensordot(matrix, found, axes=(1, axis)), 0, axis)
        return found
