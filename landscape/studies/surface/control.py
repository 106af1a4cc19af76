"""Per-sample values on a coarse grid, from which every other point is interpolated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Protocol

import numpy as np

from landscape.studies.surface.nested import Nested

FLOOR = 0.01
"""A loss below it is known well enough as if it were that large."""
CAP = 1e3
"""Values above so many times the usual coarse point's mean are capped before they are interpolated."""
BLOCK_BYTES = 1 << 25


class Oracle(Protocol):
    """What the estimator knows of a loss: its values for some samples at some points, and nothing of models.

    Values of samples that count differently (tokens) are scaled so that their plain mean over all samples is the value.
    """

    @property
    def num_samples(self) -> int:
        """The number of samples N."""

    @property
    def discrete(self) -> Mapping[str, float]:
        """For quantities that jump, such as the 0/1 error, what one sample changes by at most."""

    def per_sample(self, coordinates: np.ndarray, index: np.ndarray | None) -> dict[str, np.ndarray]:
        """Values at points `(P, k)` for the samples `(n,)` (all if None) by name, `loss` first, each `(P, n)`."""

    def penalty(self, coordinates: np.ndarray) -> np.ndarray:
        """What is added to the loss whatever the samples: points `(P, k)` to `(P,)`."""


class Control:
    """The values of all samples at the coarse points, capped where they are to be interpolated.

    A capped value is still a control: whatever is interpolated, its mean over all samples is known, so the estimate
    stays right and only its variance depends on it. The coarse points' own means are of the values as they are.

    Args:
        grid: The coarse grid in the fine one.
        values: By name, one row for each sample, shape `(N, K)`; may lie in a file.
    """

    def __init__(self, grid: Nested, values: Mapping[str, np.ndarray]) -> None:
        self.grid, self.values = grid, values

    @property
    def names(self) -> tuple[str, ...]:
        """Loss and metrics."""
        return tuple(self.values)

    @property
    def num_samples(self) -> int:
        """The number of samples N."""
        return len(self.values["loss"])

    @cached_property
    def means(self) -> dict[str, np.ndarray]:
        """The exact values at the coarse points, shape `(K,)`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                name: sum(block.sum(axis=0, dtype=float) for block in _blocks(values)) / len(values)
                for name, values in self.values.items()
            }

    @cached_property
    def caps(self) -> dict[str, float]:
        """The largest magnitude that is interpolated: 1,000 times the median over the coarse points of the means'."""
        caps = {}
        for name, means in self.means.items():
            sizes = np.abs(means[np.isfinite(means)])
            caps[name] = CAP * max(float(np.median(sizes)) if len(sizes) else 0.0, FLOOR)
        return caps

    @cached_property
    def interpolated(self) -> dict[str, np.ndarray]:
        """The mean over all samples of what is interpolated, on the coarse grid, shape `(K,)`; always finite."""
        return {
            name: sum(self._capped(block, name).sum(axis=0) for block in _blocks(values)) / len(values)
            for name, values in self.values.items()
        }

    def rows(self, name: str, index: np.ndarray) -> np.ndarray:
        """The capped values of some samples, shape `(n, K)`."""
        return self._capped(self.values[name][index], name)

    def _capped(self, values: np.ndarray, name: str) -> np.ndarray:
        """Values as they are interpolated: NaN counts as the cap."""
        cap = self.caps[name]
        values = np.asarray(values, float)
        return np.clip(np.where(np.isnan(values), cap, values), -cap, cap)

    @cached_property
    def jumps(self) -> dict[str, bool]:
        """Whether a quantity is nothing but 0 or 1."""
        return {name: bool(np.isin(values[:, 0], (0, 1)).all()) for name, values in self.values.items()}

    def doubtful(self, position: np.ndarray) -> bool:
        """Whether the loss at a coarse point beside this one isn't finite."""
        return not np.isfinite(self.means["loss"][list(self.grid.corners(position))]).all()


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in pieces that fit in little memory."""
    step = max(1, BLOCK_BYTES // (8 * max(1, values.shape[1])))
    for start in range(0, len(values), step):
        yield np.asarray(values[start : start + step])
