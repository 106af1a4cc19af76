r"""Values with a standard error from few samples, the per-sample losses of a coarse grid being the control variate.

On a coarse grid :math:`x_k` the loss :math:`\ell_i(x_k)` of each of the N samples is known. At any other point the
tensor cubic spline :math:`g_i(x) = \sum_k a_k(x)\, \ell_i(x_k)` is linear in these, so its mean over *all* samples is
known exactly, and a random subset S of n samples corrects it:

.. math::

    \hat L(x) = \sum_k a_k(x)\, \bar\ell(x_k) + \frac1n \sum_{i \in S} (\ell_i(x) - g_i(x)), \qquad
    \operatorname{se}^2 = \frac{s^2}{n} \Bigl(1 - \frac nN\Bigr),

with :math:`s` the deviation of the differences: unbiased whatever the spline does, and with the correction for a finite
population. Points have independent subsets, so that a picture has an honest jitter of one standard error.

How many samples a point takes is decided by a pilot, one subset for each cell of the coarse grid, whose samples are
then discarded. A subset that misses the tolerance even so is a pilot itself: it is discarded, and a larger one drawn.
Whatever is drawn depends on the seed, the point and the attempt alone, never on what was computed before.

References:
    Cochran (1977): Sampling Techniques, 3rd edition, sections 2.6 (finite population) and 7.3 (difference estimator).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from landscape.studies.surface.control import FLOOR, Control, Oracle
from landscape.studies.surface.nested import Nested

PILOT = 64
"""Samples of a cell's pilot."""
FEWEST = 64
"""Samples behind any value, so that its standard error is worth something."""
SAFETY = 1.3
"""Samples drawn, as a multiple of what the pilot asks for: most points then reach the tolerance at once."""
GAIN = 9.0
"""By how much the differences' variance is expected to fall when the coarse grid is halved."""
PILOT_ATTEMPT = 1 << 16
"""Number of the draw that is a cell's pilot: apart from all others."""
GROWTH = 1.5
"""Samples of a new attempt, at least, as a multiple of the last one's."""


@dataclass(frozen=True)
class Value:
    """What is known of a point.

    Args:
        values: Loss and metrics by name.
        stderr: Their standard errors.
        samples: Samples behind the values.
        evaluations: Samples that were evaluated for them, discarded ones included.
        reached: Whether the loss is as certain as was asked for.
    """

    values: dict[str, float]
    stderr: dict[str, float]
    samples: int
    evaluations: int
    reached: bool


def subset(seed: Sequence[int], population: int, count: int) -> np.ndarray:
    """A random subset without replacement, in order, a function of the seed's numbers alone."""
    generator = np.random.default_rng(list(seed))
    return np.sort(generator.choice(population, count, replace=False, shuffle=False))


def standard_error(differences: np.ndarray, population: int, jump: float = 0.0) -> float:
    """The standard error of a subset's mean difference.

    Args:
        differences: Shape `(n,)`.
        population: The number N of samples that they were drawn from.
        jump: For quantities that jump, what one sample changes by at most: the variance is taken as if one more sample
            had done so, since a subset that happens to agree doesn't prove that all samples do.
    """
    count = len(differences)
    if count == population:
        return 0.0
    if count < 2:
        return math.nan
    with np.errstate(over="ignore", invalid="ignore"):
        variance = float(differences.var(ddof=1)) + jump**2 / count
    return math.sqrt(variance / count * (1 - count / population))


def needed(variance: float, allowed: float, population: int) -> int:
    """The samples that bring a standard error down to what is allowed; all of them where that is more than half."""
    if not math.isfinite(variance):
        return FEWEST
    plain = SAFETY * variance / allowed**2
    count = max(FEWEST, math.ceil(plain / (1 + plain / population)))
    return population if 2 * count > population else count


def allowed(loss: float, tolerance: float) -> float:
    """The standard error that is asked for at a loss."""
    return tolerance * max(abs(loss), FLOOR) if math.isfinite(loss) else math.inf


class Estimator:
    """The estimate at any point of the fine grid.

    Args:
        oracle: The loss.
        control: Its values on the coarse grid.
        tolerance: Standard error that is asked for, as a share of the loss.
        seed: What random subsets depend on, beside the point.
    """

    def __init__(self, oracle: Oracle, control: Control, tolerance: float, seed: Sequence[int] = (0,)) -> None:
        self.oracle, self.control, self.tolerance, self.seed = oracle, control, tolerance, tuple(seed)
        self.grid = control.grid

    def at(self, position: np.ndarray, planned: int) -> Value:
        """The value at one point.

        Args:
            position: Its place along each axis.
            planned: Samples to begin with.
        """
        population = self.control.num_samples
        if (number := self.grid.number(position)) is not None:
            exact = {name: float(means[number]) for name, means in self.control.means.items()}
            return self._value(position, exact, dict.fromkeys(exact, 0.0), population, population)
        attempt, evaluated, count = 0, 0, min(planned, population)
        while True:
            values, stderr = self.draw(position, count, attempt)
            evaluated += count
            found = self._value(position, values, stderr, count, evaluated)
            finite = math.isfinite(found.values["loss"])
            if count == population or (found.reached if finite else True):
                if finite and count < population and self.control.doubtful(position):
                    count, attempt = population, attempt + 1  # where it isn't finite beside it, all samples count
                    continue
                return found
            limit = allowed(found.values["loss"], self.tolerance)
            variance = stderr["loss"] ** 2 * count / (1 - count / population)
            grown = max(needed(variance, limit, population), math.ceil(GROWTH * count))
            count, attempt = population if 2 * grown > population else grown, attempt + 1

    def _value(
        self, position: np.ndarray, values: dict[str, float], stderr: dict[str, float], samples: int, evaluated: int
    ) -> Value:
        """Add what doesn't depend on the samples, and compare with the tolerance."""
        penalty = float(self.oracle.penalty(self.grid.coordinates(position[None]))[0])
        values = {**values, "loss": values["loss"] + penalty}
        reached = math.isfinite(values["loss"]) and stderr["loss"] <= allowed(values["loss"], self.tolerance)
        return Value(values, stderr, samples, evaluated, reached)

    def draw(self, position: np.ndarray, count: int, attempt: int) -> tuple[dict[str, float], dict[str, float]]:
        """One unbiased estimate from so many samples.

        Args:
            position: Place of the point along each axis.
            count: Number n of samples.
            attempt: Draws on one point are independent of each other.

        Returns:
            Values and standard errors of loss and metrics, without the L2 term.
        """
        population = self.control.num_samples
        number = int(np.ravel_multi_index(tuple(position), self.grid.shape))
        index = None if count == population else subset((*self.seed, number, attempt), population, count)
        found = self.oracle.per_sample(self.grid.coordinates(position[None]), index)
        spline, values, stderr = self.grid.spline, {}, {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name, (own,) in found.items():
                own = np.asarray(own, float)
                if index is None:
                    values[name], stderr[name] = float(own.mean()), 0.0
                    continue
                differences = own - spline.at(self.control.rows(name, index), position)
                mean = float(self.control.interpolated[name] @ spline.weights(position))
                values[name] = mean + float(differences.mean())
                jump = self.oracle.discrete.get(name, float(self.control.jumps[name]))
                stderr[name] = standard_error(differences, population, jump)
        return values, stderr

    def pilot(self, cells: slice = slice(None)) -> np.ndarray:
        """The variance of the loss's differences in the middle of cells; NaN where it isn't finite.

        Its samples are of no other use.

        Args:
            cells: Which cells, in C order.

        Returns:
            Shape `(cells,)`.
        """
        population = self.control.num_samples
        count = min(PILOT, population)
        positions = self.probes[cells]
        found = np.zeros(len(positions))
        for place, (position, depth) in enumerate(zip(positions, self.grid.depth(positions), strict=True)):
            if depth > 0 and count < population:
                _, stderr = self.draw(position, count, PILOT_ATTEMPT)
                found[place] = stderr["loss"] ** 2 * count / (1 - count / population) / depth
        return found

    @cached_property
    def probes(self) -> np.ndarray:
        """Where the pilot is evaluated: a position in each cell, shape `(cells, axes)`."""
        return self.grid.probes(np.random.default_rng([*self.seed, PILOT_ATTEMPT + self.grid.level]))

    def plan(self, variances: np.ndarray) -> np.ndarray:
        """How many samples each point of the fine grid begins with; 0 at coarse points.

        Args:
            variances: As `pilot` found them for all cells. Towards the corners, which are exact, they are taken to fall
                as `Nested.depth`.

        Returns:
            Shape of the fine grid.
        """
        grid, population = self.grid, self.control.num_samples
        largest = np.where(np.isfinite(variances), variances, 0.0).reshape(grid.cells)
        for axis, (size, stride) in enumerate(zip(grid.shape, grid.strides, strict=True)):
            place, last = np.arange(size), grid.cells[axis] - 1
            upper = np.minimum(place // stride, last)
            lower = np.maximum(-(-place // stride) - 1, 0) if stride > 1 else upper
            largest = np.maximum(np.take(largest, lower, axis), np.take(largest, upper, axis))
        positions = np.indices(grid.shape).reshape(len(grid.shape), -1).T
        losses = grid.spline.grid(self.control.interpolated["loss"]).ravel()
        losses += self.oracle.penalty(grid.coordinates(positions))
        depths = grid.depth(positions)
        counts = [
            needed(variance * depth, allowed(loss, self.tolerance), population) if depth > 0 else 0
            for variance, depth, loss in zip(largest.ravel(), depths, losses, strict=True)
        ]
        return np.reshape(counts, grid.shape)


def saved(grid: Nested, planned: np.ndarray, population: int) -> float:
    """Sample evaluations that halving the whole coarse grid is expected to save, less what it costs itself.

    Args:
        grid: The coarse grid in the fine one.
        planned: Samples of each point, as `Estimator.plan` found them.
        population: The number N of samples.
    """
    if grid.finest:
        return -math.inf
    halved = grid.halved()
    mask = np.zeros(grid.shape, bool)
    mask[tuple(slice(None, None, stride) for stride in halved.strides)] = True
    rest = planned[~mask].astype(float)
    plain = rest / np.maximum(1 - rest / population, 0.5)  # without the finite population's help
    after = np.maximum(np.minimum(rest, FEWEST), plain / GAIN).sum()
    return float(planned.sum() - after - (halved.num_coarse - grid.num_coarse) * population)
