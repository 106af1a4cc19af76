r"""The spectral density of a symmetric operator by stochastic Lanczos quadrature.

The density :math:`\phi(t) = \frac1D \sum_i \delta(t - \lambda_i)` is never asked for itself but smoothed by a Gaussian
:math:`g_\sigma`. For a random unit vector v

.. math:: \mathbb{E}\, v^\top g_\sigma(t - A) v = (\phi * g_\sigma)(t), \qquad
          v^\top g_\sigma(t - A) v \approx \sum_j \omega_j\, g_\sigma(t - \theta_j),

with nodes :math:`\theta_j` the eigenvalues of the tridiagonal matrix of m Lanczos steps from v and weights
:math:`\omega_j` the squares of the first elements of its eigenvectors: a Gauss quadrature, exact for polynomials of
degree 2m − 1. Details narrower than about (largest − smallest eigenvalue) / m are not resolved.

References:
    Ubaru, Chen & Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38,
    2017.
    Ghorbani, Krishnan & Xiao, "An investigation into neural net optimization via Hessian eigenvalue density", arXiv
    1901.10159.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from landscape.errors import RequestError
from landscape.linalg.krylov import Counted, Krylov, Matvec, check_dtype, random_generator, random_vector
from landscape.linalg.trace import Estimate, sphere_variance

WIDTH = 0.01
"""Default width of the Gaussian in units of the distance between the outermost nodes."""


@dataclass(frozen=True)
class Density:
    r"""A smoothed density with its band.

    Args:
        grid: Where, float64, shape `(n,)`.
        density: Mean over the probes per unit of the eigenvalue; its integral is 1. Shape `(n,)`.
        low: Lower end of the pointwise interval (Student's t over the probes) for that mean; at least 0.
        high: Its upper end.
        sigma: Standard deviation :math:`\sigma` of the Gaussian.
    """

    grid: Tensor
    density: Tensor
    low: Tensor
    high: Tensor
    sigma: float


@dataclass(frozen=True)
class Spectrum:
    r"""The quadrature of each probe.

    Args:
        nodes: :math:`\theta`, float64, shape `(probes, steps)`.
        weights: :math:`\omega`, of sum 1 for each probe, same shape; 0 beyond the end of a probe that saw an invariant
            subspace.
        dim: :math:`D`.
        products: How many products with the operator these probes took.
    """

    nodes: Tensor
    weights: Tensor
    dim: int
    products: int

    def density(
        self,
        grid: Tensor | None = None,
        *,
        sigma: float | None = None,
        num_points: int = 1000,
        confidence: float = 0.95,
    ) -> Density:
        r"""Smooth the nodes on a grid.

        Args:
            grid: Where; by default `num_points` from 4 :math:`\sigma` below the lowest node to 4 :math:`\sigma` above
                the highest.
            sigma: Width of the Gaussian; 1 % of the distance between the outermost nodes by default (of their size
                where they coincide).
            num_points: Length of the default grid.
            confidence: Of the band.

        Raises:
            RequestError: If the width isn't positive, the confidence isn't between 0 and 1, or there are fewer than 2
                probes.
        """
        if len(self.nodes) < 2:
            raise RequestError(f"a band needs at least 2 finished probes, got {len(self.nodes)}")
        seen = self.nodes[self.weights > 0]
        low, high = float(seen.min()), float(seen.max())
        span = high - low
        if sigma is None:
            sigma = WIDTH * (span if span > 1e-8 * max(abs(low), abs(high)) else max(abs(low), abs(high)) or 1.0)
        if not 0 < sigma < math.inf:
            raise RequestError(f"the width of the density must be positive, got {sigma}")
        if not 0 < confidence < 1:
            raise RequestError(f"the confidence of a band must be between 0 and 1, got {confidence}")
        if grid is None:
            grid = torch.linspace(low - 4 * sigma, high + 4 * sigma, num_points, dtype=torch.float64)
        each = torch.stack([self.smoothed(probe, grid, sigma) for probe in range(len(self.nodes))])
        mean, count = each.mean(0), len(each)
        half = each.std(0) / math.sqrt(count) * float(stdtrit(count - 1, (1 + confidence) / 2))
        return Density(grid, mean, (mean - half).clamp(min=0), mean + half, sigma)

    def smoothed(self, probe: int, grid: Tensor, sigma: float) -> Tensor:
        """The density as one probe sees it, shape `(n,)`."""
        apart = (grid[:, None] - self.nodes[probe]) / sigma
        kernel = (-apart.square() / 2).exp() / (sigma * math.sqrt(2 * math.pi))
        return kernel @ self.weights[probe]

    def moment(self, power: int) -> Estimate:
        r""":math:`\operatorname{tr} A^p` with its standard error, for p below m.

        The trace is p = 1, the squared Frobenius norm p = 2. The variance comes from moment 2p, as in `trace`.

        Args:
            power: p.

        Raises:
            RequestError: If there are fewer than 2 probes.
        """
        if len(self.nodes) < 2:
            raise RequestError(f"a standard error needs at least 2 finished probes, got {len(self.nodes)}")
        forms = self.dim * (self.weights * self.nodes**power).sum(1)
        squares = self.dim * (self.weights * self.nodes ** (2 * power)).sum(1)
        variance = sphere_variance(self.dim, forms, squares)
        stderr = torch.tensor(math.sqrt(variance / len(forms)), dtype=torch.float64)
        return Estimate(forms.mean(), stderr, self.products)


class LanczosQuadrature:
    """Stochastic Lanczos quadrature, one product at a time, which can stop and go on anywhere with the same bits.

    Args:
        matvec: A symmetric operator, `(D,)` to `(D,)`.
        dim: :math:`D`.
        num_probes: How many random unit vectors.
        num_steps: Lanczos steps for each; memory is as many vectors.
        generator: For the probes; seed 0 by default.
        dtype: float32 or float64: what the operator takes.
        device: Where its vectors lie.

    Raises:
        RequestError: If there are fewer than 2 probes or no steps, or the operator gives vectors of another shape or
            dtype.
        WorkError: If a product isn't finite.
    """

    def __init__(
        self,
        matvec: Matvec,
        dim: int,
        *,
        num_probes: int = 10,
        num_steps: int = 80,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        check_dtype(dtype)
        if num_probes < 2:
            raise RequestError(f"a density with a band needs at least 2 probes, got {num_probes}")
        if num_steps < 1:
            raise RequestError(f"a density needs at least 1 Lanczos step, got {num_steps}")
        self._operator = Counted(matvec, dim)
        self._steps = min(num_steps, dim)
        self._dtype, self._device = dtype, device
        generator = random_generator(generator)
        self._origin = generator.device
        self._seeds = torch.randint(2**62, (num_probes,), generator=generator, device=self._origin).cpu()
        self._nodes = torch.zeros(num_probes, self._steps, dtype=torch.float64)
        self._weights = torch.zeros_like(self._nodes)
        self._finished = 0
        self._space: Krylov | None = None

    @property
    def finished(self) -> int:
        """How many probes are done."""
        return self._finished

    @property
    def done(self) -> bool:
        """Whether all of them are."""
        return self._finished == len(self._seeds)

    def advance(self) -> None:
        """Make one product; nothing where all is done."""
        if self.done:
            return
        space = self._space = self._space or self._begin()
        space.grow()
        if space.full or space.beta == 0:  # beyond an invariant subspace all weights are 0
            values, vectors = space.ritz()
            self._nodes[self._finished, : space.length] = torch.from_numpy(values)
            self._weights[self._finished, : space.length] = torch.from_numpy(np.square(vectors[0]))
            self._finished += 1
            self._space = None

    def run(self) -> Spectrum:
        """Make all products that remain."""
        while not self.done:
            self.advance()
        return self.spectrum()

    def spectrum(self) -> Spectrum:
        """The quadrature of the probes that are done."""
        within = self._space.length if self._space is not None else 0
        done = slice(self._finished)
        products = self._operator.products - within
        return Spectrum(self._nodes[done].clone(), self._weights[done].clone(), self._operator.dim, products)

    def state_dict(self) -> dict[str, Tensor]:
        """All that goes on, as plain tensors; within a probe the basis belongs to it, so it is smallest between two."""
        numbers = [self._operator.dim, self._steps, self._finished, self._operator.products]
        state = {
            "numbers": torch.tensor(numbers),
            "seeds": self._seeds.clone(),
            "nodes": self._nodes.clone(),
            "weights": self._weights.clone(),
        }
        if self._space is not None:
            state |= {f"krylov.{name}": tensor for name, tensor in self._space.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of a quadrature with the same settings; the operator is the caller's to keep the same.

        Raises:
            RequestError: If its dimension, probes or steps are others.
        """
        dim, steps, finished, products = state["numbers"].tolist()
        theirs, ours = (dim, len(state["seeds"]), steps), (self._operator.dim, len(self._seeds), self._steps)
        if theirs != ours:
            raise RequestError(f"the state is of another density: (parameters, probes, steps) are {theirs}, not {ours}")
        self._seeds, self._finished, self._operator.products = state["seeds"].clone(), finished, products
        self._nodes, self._weights = state["nodes"].clone(), state["weights"].clone()
        inside = {name.removeprefix("krylov."): value for name, value in state.items() if name.startswith("krylov.")}
        self._space = self._begin() if inside else None
        if self._space is not None:
            self._space.load_state_dict(inside)

    def _begin(self) -> Krylov:
        """The basis of the probe whose turn it is, from its own seed."""
        generator = torch.Generator(self._origin).manual_seed(int(self._seeds[self._finished]))
        start = random_vector(self._operator.dim, generator, self._dtype, self._device)
        return Krylov(self._operator, start, self._steps, generator)
