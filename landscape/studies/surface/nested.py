"""Nested grids: sides of 2^k + 1 points, each coarser one part of the next finer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from landscape.linalg.splines import Position, TensorSpline

FIRST = 9
"""Points along each axis of the coarsest grid that is evaluated on all samples."""


def is_nested(size: int) -> bool:
    """Whether a side has 2^k + 1 points."""
    return size >= 2 and (size - 1) & (size - 2) == 0


@dataclass(frozen=True)
class Nested:
    """A coarse grid inside a fine one.

    Args:
        labels: Labels of the fine grid along each axis; their numbers are 2^k + 1.
        level: How often the coarsest grid has been halved.
    """

    labels: tuple[np.ndarray, ...]
    level: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the fine grid."""
        return tuple(map(len, self.labels))

    @property
    def num_points(self) -> int:
        """The number of points of the fine grid."""
        return int(np.prod(self.shape))

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps of the fine grid in one of the coarse grid, along each axis."""
        return tuple(max(1, (size - 1) // ((FIRST - 1) << self.level)) for size in self.shape)

    @property
    def coarse_shape(self) -> tuple[int, ...]:
        """The shape of the coarse grid."""
        return tuple((size - 1) // stride + 1 for size, stride in zip(self.shape, self.strides, strict=True))

    @property
    def num_coarse(self) -> int:
        """The number of coarse points K."""
        return int(np.prod(self.coarse_shape))

    @property
    def finest(self) -> bool:
        """Whether the coarse grid is the fine one."""
        return max(self.strides) == 1

    def halved(self) -> Nested:
        """The next finer coarse grid."""
        return Nested(self.labels, self.level + 1)

    @cached_property
    def spline(self) -> TensorSpline:
        """From the coarse to the fine grid."""
        nodes = [labels[::stride] for labels, stride in zip(self.labels, self.strides, strict=True)]
        return TensorSpline(nodes, self.labels)

    def coarse(self) -> np.ndarray:
        """Positions of all coarse points in the fine grid, in C order, shape `(K, axes)`."""
        axes = [range(0, size, stride) for size, stride in zip(self.shape, self.strides, strict=True)]
        return np.array(list(itertools.product(*axes)))

    def new(self) -> np.ndarray:
        """Numbers of those coarse points, in their C order, that the grid before this one lacks."""
        if self.level == 0:
            return np.arange(self.num_coarse)
        before = Nested(self.labels, self.level - 1).strides
        return np.flatnonzero((self.coarse() % np.array(before) != 0).any(axis=1))

    def number(self, position: Position) -> int | None:
        """The number of a point among the coarse ones; None if it isn't one."""
        if any(place % stride for place, stride in zip(position, self.strides, strict=True)):
            return None
        coarse = [place // stride for place, stride in zip(position, self.strides, strict=True)]
        return int(np.ravel_multi_index(coarse, self.coarse_shape))

    def probes(self, generator: np.random.Generator) -> np.ndarray:
        """A random position in the middle of each coarse cell, shape `(cells, axes)`, in C order.

        Not the very middle: a ripple that fits the coarse grid could vanish in all of them at once.
        """
        corners = np.array(list(np.ndindex(self.cells)))
        strides = np.array(self.strides)
        low, high = -(-strides // 4), np.maximum(3 * strides // 4, -(-strides // 4))
        inside = generator.integers(low, high, corners.shape, endpoint=True)
        found: np.ndarray = np.where(strides == 1, corners, corners * strides + inside)
        return found

    def depth(self, positions: np.ndarray) -> np.ndarray:
        """How far points lie within their cells: `(P, axes)` to `(P,)`, from 0 at the corners to 1 in the middle.

        The mean of 4 u (1 - u) over the axes, u being the way through the cell.
        """
        strides = np.array(self.strides)
        way = positions % strides / strides
        divided: np.ndarray = (4 * way * (1 - way)).sum(axis=-1) / max(1, int((strides > 1).sum()))
        return divided

    @property
    def cells(self) -> tuple[int, ...]:
        """The number of cells along each axis; where all points are coarse, of points."""
        return tuple(
            size if stride == 1 else (size - 1) // stride for size, stride in zip(self.shape, self.strides, strict=True)
        )

    def corners(self, position: Position) -> Iterator[int]:
        """Numbers of the coarse points around a point."""
        sides = []
        for place, stride, size in zip(position, self.strides, self.coarse_shape, strict=True):
            sides.append({place // stride, min(-(-place // stride), size - 1)})
        for corner in itertools.product(*sides):
            yield int(np.ravel_multi_index(corner, self.coarse_shape))

    def coordinates(self, positions: np.ndarray) -> np.ndarray:
        """Labels of points: positions `(P, axes)` to coordinates of the same shape."""
        return np.stack([labels[column] for labels, column in zip(self.labels, positions.T, strict=True)], axis=-1)
