r"""Trace and diagonal of a symmetric operator, with an honest standard error.

Hutchinson's estimator averages :math:`g^\top A g` over random probes; its variance :math:`2 \|A\|_F^2` comes from
the few large eigenvalues. Hutch++ projects those away first. Here the projector :math:`P = Q^\top Q` has a Krylov basis
of m Lanczos steps: it costs m products rather than two for each dimension, and with
:math:`A Q^\top = Q^\top T + \beta v e_m^\top`

.. math:: \operatorname{tr} A = \operatorname{tr} T + \operatorname{tr} B, \qquad B = (I - P) A (I - P),

where the first term is exact and the second is averaged over probes, which are drawn independently of the basis.

The variance isn't taken from the scatter of a few probes, which would invite stopping when they agree by chance, but
from

.. math:: \operatorname{Var}(n u^\top B u) = \frac{2}{n + 2} \bigl(n \|B\|_F^2 - (\operatorname{tr} B)^2\bigr),
          \qquad \|B\|_F^2 = \mathbb{E}\, n \|B u\|^2

for u uniform on the unit sphere of the n-dimensional complement; the products give :math:`\|B u\|^2` for free, and it
hardly varies once the large eigenvalues are projected away. Where it does, one standard error of its mean is added.

References:
    Meyer, Musco, Musco & Woodruff, "Hutch++: Optimal stochastic trace estimation", arXiv 2010.09649.
    Chen & Hallman, "Krylov-aware stochastic trace estimation", arXiv 2205.01736.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.linalg.krylov import Counted, Krylov, Matvec, check_dtype, random_generator, random_vector

PILOT = 5
"""Probes kept in memory while the basis grows, and the least number of them."""

QUIET = 3
"""The basis grows until for so many steps the probes have asked for no more: large eigenvalues show late, by chance."""


@dataclass(frozen=True)
class Estimate:
    """An unbiased estimate.

    Args:
        value: float64, shape `()`, or that of the diagonal, `(D,)`.
        stderr: Its standard error, of the same shape; 0 where it is exact.
        products: How many products with the operator it took.
    """

    value: Tensor
    stderr: Tensor
    products: int


@dataclass
class _Probes:
    r"""Quadratic forms of the remainder B, one entry for each probe: :math:`n u^\top B u` and :math:`n \|B u\|^2`."""

    room: int
    forms: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)

    def add(self, norm: float, form: float, square: float) -> None:
        r"""A probe g in the complement: :math:`\|g\|^2`, :math:`g^\top B g` and :math:`\|B g\|^2`."""
        self.forms.append(self.room * form / norm if norm > 0 else 0.0)
        self.squares.append(self.room * square / norm if norm > 0 else 0.0)

    @property
    def mean(self) -> float:
        r"""The estimate of :math:`\operatorname{tr} B`."""
        return sum(self.forms) / len(self.forms)

    @property
    def variance(self) -> float:
        """Of a single probe."""
        numbers = torch.tensor([self.forms, self.squares], dtype=torch.float64)
        return sphere_variance(self.room, numbers[0], numbers[1])


def sphere_variance(dim: int, forms: Tensor, squares: Tensor) -> float:
    r"""The variance of :math:`n u^\top B u` for u uniform on the unit sphere; cautious where the squares scatter.

    Args:
        dim: n.
        forms: :math:`n u^\top B u` of some probes, shape `(R,)`.
        squares: :math:`n \|B u\|^2`, same shape.
    """
    frobenius = float(squares.mean() + squares.std() / math.sqrt(len(squares)))
    return max(0.0, 2 / (dim + 2) * (dim * frobenius - float(forms.mean()) ** 2))


def hutchinson(
    matvec: Matvec,
    dim: int,
    *,
    relative_error: float = 0.02,
    max_products: int = 1000,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Estimate:
    r"""The trace by Hutchinson's estimator with probes on the sphere.

    Args:
        matvec: A symmetric operator, `(D,)` to `(D,)`.
        dim: :math:`D`.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Stop at the latest after this many.
        generator: For the probes; seed 0 by default.
        dtype: float32 or float64: what the operator takes.
        device: Where its vectors lie.

    Raises:
        RequestError: If an argument is out of range or the operator gives vectors of another shape or dtype.
        WorkError: If a product isn't finite.
    """
    return hutch_plus_plus(
        matvec,
        dim,
        relative_error=relative_error,
        max_products=max_products,
        generator=generator,
        dtype=dtype,
        device=device,
        basis_size=0,
    )


def hutch_plus_plus(
    matvec: Matvec,
    dim: int,
    *,
    relative_error: float = 0.02,
    max_products: int = 1000,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    basis_size: int = 40,
) -> Estimate:
    r"""The trace by Hutch++ with a Krylov basis.

    A few probes are multiplied first. They say, as the basis grows, how many probes the remainder needs; it grows until
    that is no more than its own size. It holds `basis_size + 10` vectors in memory.

    Args:
        matvec: A symmetric operator, `(D,)` to `(D,)`.
        dim: :math:`D`.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Stop at the latest after this many.
        generator: For the start and the probes; seed 0 by default.
        dtype: float32 or float64: what the operator takes.
        device: Where its vectors lie.
        basis_size: Most vectors of the basis; 0 is Hutchinson's estimator.

    Raises:
        RequestError: If an argument is out of range or the operator gives vectors of another shape or dtype.
        WorkError: If a product isn't finite.
    """
    _check(relative_error, max_products, dtype, basis_size)
    operator, generator = Counted(matvec, dim), random_generator(generator)

    def fresh() -> Tensor:
        return random_vector(dim, generator, dtype, device)

    pilots = torch.stack([fresh() for _ in range(PILOT)])
    images = torch.stack([operator(g) for g in pilots])
    space = Krylov(operator, fresh(), basis_size, generator) if basis_size else None
    known, quiet, probes = 0.0, 0, _seen(space, pilots, images)
    while space is not None and not space.full and operator.products < max_products / 2 + PILOT:
        enough = _needed(known, probes, relative_error) <= max(PILOT, space.length)
        quiet = quiet + 1 if enough else 0
        if quiet == QUIET:
            break
        space.grow()
        known = float(space.matrix.trace())
        if space.complete:
            return _estimate(known, 0.0, operator)
        probes = _seen(space, pilots, images)
    del pilots, images
    while operator.products < max_products and len(probes.forms) < _needed(known, probes, relative_error):
        probe = fresh()
        more = _seen(space, probe[None], operator(probe)[None])
        probes.forms += more.forms
        probes.squares += more.squares
    return _estimate(known + probes.mean, math.sqrt(probes.variance / len(probes.forms)), operator)


def diagonal(
    matvec: Matvec,
    dim: int,
    *,
    relative_error: float = 0.1,
    max_products: int = 1000,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    basis_size: int = 20,
) -> Estimate:
    r"""The diagonal: exactly for the part that a Krylov basis sees, by random signs for the remainder.

    With signs z the entries of :math:`z \odot B z` have mean :math:`B_{ii}` and variance
    :math:`\sum_{j \ne i} B_{ij}^2`, which their scatter estimates.

    Args:
        matvec: A symmetric operator, `(D,)` to `(D,)`.
        dim: :math:`D`.
        relative_error: Stop when the 2-norm of the standard errors is at most this share of that of the diagonal.
        max_products: Stop at the latest after this many.
        generator: For the start and the signs; seed 0 by default.
        dtype: float32 or float64: what the operator takes.
        device: Where its vectors lie.
        basis_size: Vectors of the basis; 0 for none.

    Raises:
        RequestError: If an argument is out of range or the operator gives vectors of another shape or dtype.
        WorkError: If a product isn't finite.

    References:
        Bekas, Kokiopoulou & Saad, "An estimator for the diagonal of a matrix", Appl. Numer. Math. 57, 2007.
    """
    _check(relative_error, max_products, dtype, basis_size)
    operator, generator = Counted(matvec, dim), random_generator(generator)
    space = None
    known = torch.zeros(dim, dtype=torch.float64, device=device)
    if size := min(basis_size, max_products - 2 * PILOT):
        space = Krylov(operator, random_vector(dim, generator, dtype, device), size, generator)
        while not space.full:
            space.grow()
        turned = torch.from_numpy(space.matrix).to(space.basis) @ space.basis
        known += (space.basis * turned).sum(0) + 2 * space.basis[-1] * space.residual
        if space.complete:
            return Estimate(known, torch.zeros_like(known), operator.products)
    mean, scatter, count = torch.zeros_like(known), torch.zeros_like(known), 0
    stderr = torch.full_like(known, math.inf)
    while operator.products < max_products:
        signs = torch.randint(2, (dim,), generator=generator, device=generator.device).to(device, dtype) * 2 - 1
        found = (signs * _remainder(space, signs[None], operator(signs)[None])[0]).double()
        count += 1
        change = found - mean
        mean += change / count
        scatter += change * (found - mean)
        if count >= 2 * PILOT:
            stderr = (scatter / (count * (count - 1))).sqrt()
            if stderr.norm() <= relative_error * (known + mean).norm():
                break
    return Estimate(known + mean, stderr, operator.products)


def _check(relative_error: float, max_products: int, dtype: torch.dtype, basis_size: int) -> None:
    """Refuse what no estimate can follow."""
    check_dtype(dtype)
    if not relative_error > 0:
        raise RequestError(f"the relative error must be positive, got {relative_error}")
    if max_products < 2 * PILOT:
        raise RequestError(f"an estimate with a standard error needs at least {2 * PILOT} products, got {max_products}")
    if basis_size < 0:
        raise RequestError(f"the basis size must be at least 0, got {basis_size}")


def _estimate(value: float, stderr: float, operator: Counted) -> Estimate:
    """A number as an estimate."""
    numbers = torch.tensor([value, stderr], dtype=torch.float64)
    return Estimate(numbers[0], numbers[1], operator.products)


def _needed(known: float, probes: _Probes, relative_error: float) -> float:
    """How many probes bring the standard error down to its goal."""
    goal = (relative_error * (known + probes.mean)) ** 2
    if probes.variance == 0:
        return 0.0
    return probes.variance / goal if goal > 0 else math.inf


def _remainder(space: Krylov | None, probes: Tensor, images: Tensor) -> Tensor:
    """:math:`B g` for probes g, rows `(R, D)`, from their products with the operator and the basis' decomposition."""
    if space is None or not space.length:
        return images
    last = (probes @ space.basis[-1])[:, None]
    return _outside(space, images - last * space.residual)


def _outside(space: Krylov, rows: Tensor) -> Tensor:
    """The part of some vectors orthogonal to the basis; taken away twice, for the digits."""
    for _ in range(2):
        rows = rows - (rows @ space.basis.T) @ space.basis
    return rows


def _seen(space: Krylov | None, probes: Tensor, images: Tensor) -> _Probes:
    """Some probes, rows `(R, D)`, and their products as they look in the complement of the basis."""
    seen = _Probes(probes.shape[1] - (space.length if space is not None else 0))
    rest = _outside(space, probes) if space is not None and space.length else probes
    for probe, left in zip(rest.double(), _remainder(space, probes, images).double(), strict=True):
        seen.add(float(probe @ probe), float(probe @ left), float(left @ left))
    return seen
