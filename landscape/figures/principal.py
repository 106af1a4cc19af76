"""The two directions in which a path moves most: principal components of its points, without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Principal:
    """A path seen along its principal axes.

    Args:
        coordinates: Of each point, from the first one on, shape `(T, count)`.
        share: Of the points' variance that each axis holds, the largest first, shape `(count,)`; 0 for a path that
            stands still.
    """

    coordinates: Array
    share: Array


def principal(path: Array, count: int = 2) -> Principal:
    r"""Principal components of the points of a path.

    A long random walk in many dimensions is no ball: its k-th axis holds :math:`6 / (\pi k)^2` of the variance, 61 %
    and 15 % for the first two, and it draws a parabola there. So shares like these say nothing of the landscape.

    Args:
        path: Positions, shape `(T, k)`.
        count: Number of axes; those that there aren't have the share 0.

    Returns:
        The coordinates, each axis pointing to where the path ends.

    References:
        J. Antognini and J. Sohl-Dickstein, PCA of high dimensional random walks with comparison to neural network
        training, arXiv 1806.08805 (the shares of a random walk).
    """
    path = np.asarray(path, np.float64)
    left, lengths, _ = np.linalg.svd(path - path.mean(0), full_matrices=False)
    coordinates, squares = np.zeros((len(path), count)), np.zeros(count)
    kept = min(count, len(lengths))
    coordinates[:, :kept], squares[:kept] = left[:, :kept] * lengths[:kept], lengths[:kept] ** 2
    coordinates -= coordinates[0]
    total = float((lengths**2).sum())
    signs = np.where(coordinates[-1] < 0, -1.0, 1.0)
    return Principal(coordinates * signs, squares / total if total > 0 else squares)
