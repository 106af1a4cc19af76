"""The spectral density of the Hessian."""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.linalg.density import LanczosQuadrature, Spectrum
from landscape.measures.curved import budget
from landscape.measures.measured import Measured, Point, State
from landscape.objective.curvature import Hessian
from landscape.settings import Count, Draws, Positive


def hessian_density(
    point: Point, *, probes: Draws = 10, steps: Count = 80, points: Draws = 1000, memory: Positive | None = None
) -> Measured:
    r"""The density :math:`\frac1D \sum_i g_\sigma(t - \lambda_i)` of the eigenvalues of :math:`\nabla^2 L(\theta)`.

    Per unit of the eigenvalue, of integral 1, smoothed by a Gaussian of 1 % of the spectrum's width; by stochastic
    Lanczos quadrature, with the standard error over probes, a 95 % band (`low`, `high`), and each probe's quadrature
    (`nodes`, `weights`), from which the density follows on any other grid. Goes on between probes.

    Args:
        point: Where.
        probes: Random vectors.
        steps: Lanczos steps for each.
        points: Length of the grid.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.

    References:
        Ghorbani, Krishnan & Xiao, "An investigation into neural net optimization via Hessian eigenvalue density", arXiv
        1901.10159.
    """
    spectrum = find_spectrum(point, probes, steps, memory)
    found = spectrum.density(num_points=points)
    stderr = spread(spectrum, found.grid, found.sigma)
    more = {"low": found.low, "high": found.high, "nodes": spectrum.nodes, "weights": spectrum.weights}
    measured = Measured.of(found.density, stderr, **more)
    return Measured(measured.value, measured.stderr, measured.more, {"eigenvalue": found.grid.numpy()})


def find_spectrum(point: Point, probes: int, steps: int, memory: float | None) -> Spectrum:
    """The quadrature, one probe after the other through the point's journal."""
    hessian = Hessian(point.objective, point.theta, memory_budget=budget(memory), expected_products=probes * steps)
    work = LanczosQuadrature(
        hessian,
        hessian.dim,
        num_probes=probes,
        num_steps=steps,
        generator=point.generator,
        dtype=hessian.dtype,
        device=hessian.device,
    )

    def next_probe() -> State:
        finished = work.finished
        while work.finished == finished:
            work.advance()
        return work.state_dict()

    while not work.done:
        work.load_state_dict(point.journal(next_probe))
    return work.spectrum()


def spread(spectrum: Spectrum, grid: torch.Tensor, sigma: float) -> np.ndarray:
    """The standard error of the density over its probes, shape `(n,)`."""
    each = torch.stack([spectrum.smoothed(probe, grid, sigma) for probe in range(len(spectrum.nodes))])
    found: np.ndarray = (each.std(0) / math.sqrt(len(each))).numpy()
    return found
