r"""Lanczos' tridiagonal form of a symmetric operator, and the ends of its spectrum.

Nothing but products :math:`v \mapsto A v` is asked for. The tridiagonal form serves quadrature; eigenpairs come from
`restarted`, which bounds the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.linalg.krylov import Counted, Krylov, Matvec, check_dtype, random_generator
from landscape.linalg.restarted import ENDS, Eigenpairs, Request, solve

__all__ = ["Eigenpairs", "Tridiagonal", "lanczos", "top_eigenpairs"]


@dataclass(frozen=True)
class Tridiagonal:
    r"""The decomposition :math:`A Q^\top = Q^\top T + r e_m^\top`.

    Args:
        alpha: The diagonal of :math:`T`, float64, shape `(m,)`.
        beta: Beside the diagonal, float64, shape `(m - 1,)`; 0 where a fresh vector was taken.
        basis: :math:`Q`, orthonormal rows, shape `(m, D)`.
        residual: :math:`r`, orthogonal to them, shape `(D,)`.
    """

    alpha: Tensor
    beta: Tensor
    basis: Tensor
    residual: Tensor

    def matrix(self) -> Tensor:
        """:math:`T`, float64, shape `(m, m)`."""
        return torch.diag(self.alpha) + torch.diag(self.beta, 1) + torch.diag(self.beta, -1)


def lanczos(matvec: Matvec, start: Tensor, num_steps: int, *, generator: torch.Generator | None = None) -> Tridiagonal:
    r"""Lanczos with full reorthogonalisation.

    Where the Krylov space of the start is invariant, a fresh random vector orthogonal to it goes on (with
    :math:`\beta = 0`): all copies of a multiple eigenvalue are found in the end, and none more often than it is there.

    Args:
        matvec: A symmetric operator, `(D,)` to `(D,)`.
        start: The first vector up to its length, shape `(D,)`.
        num_steps: How many products; at most D are made.
        generator: For fresh vectors; seed 0 by default.

    Returns:
        The decomposition after m = `min(num_steps, D)` steps.

    Raises:
        RequestError: If there are no steps, the start is 0 or not finite, or the dtype is neither float32 nor float64.
        WorkError: If a product isn't finite.
    """
    check_dtype(start.dtype)
    if num_steps < 1:
        raise RequestError(f"Lanczos needs at least one step, got {num_steps}")
    if start.dim() != 1 or not start.isfinite().all() or not start.any():
        raise RequestError("Lanczos needs a start of shape (D,) that is finite and not 0")
    space = Krylov(Counted(matvec, len(start)), start, num_steps, random_generator(generator))
    while not space.full:
        space.grow()
    matrix = torch.from_numpy(space.matrix.copy())
    return Tridiagonal(matrix.diagonal().clone(), matrix.diagonal(1).clone(), space.basis, space.residual)


def top_eigenpairs(
    matvec: Matvec,
    dim: int,
    k: int,
    *,
    which: str = "largest",
    tolerance: float = 1e-3,
    max_products: int = 1000,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    basis_size: int | None = None,
    confidence: float = 0.999,
    start: Tensor | None = None,
) -> Eigenpairs:
    r"""The eigenpairs at the ends of a symmetric operator's spectrum.

    Thick-restart Lanczos with full reorthogonalisation goes on until the estimated residuals

    .. math:: \frac{\|A v - \lambda v\|}{\max(|\lambda|, \sqrt[3]{\epsilon}\, \|A\|)}

    (:math:`\epsilon` the dtype's rounding, :math:`\|A\|` the largest Ritz value met: a residual relative to 0 means
    nothing) reach the tolerance; products with the vectors found then give the true ones. One start sees only
    one vector of each eigenspace. Therefore a second run from a random start, kept orthogonal to what was found, goes
    on until its Lanczos polynomial excludes, with the given confidence, any further eigenvalue beyond the last one
    found by more than 10 tolerances; what it finds is added.

    Args:
        matvec: The operator, `(D,)` to `(D,)`.
        dim: :math:`D`.
        k: How many eigenpairs; with `both` from each end.
        which: `largest` (descending), `smallest` (ascending), `both` (the k largest, then the k smallest, all
            descending) or `magnitude` (:math:`|\lambda|` descending).
        tolerance: For the relative residual of each pair.
        max_products: Stop after this many, converged or not.
        generator: For starts; seed 0 by default. Equal seeds give equal results.
        dtype: float32 or float64: what the operator takes.
        device: Where its vectors lie.
        basis_size: How many basis vectors are held; `max(2 k + 10, 60)` by default (with `both`, k counts double).
        confidence: That nothing was missed; 0 leaves the second run out.
        start: A first vector for the first run, such as the sum of the eigenvectors at a point nearby, shape `(D,)`.

    Returns:
        The pairs with their true residuals.

    Raises:
        RequestError: If k is not from 1 to D (`both`: D / 2), another argument is out of range, or an operator gives
            vectors of another shape or dtype.
        WorkError: If a product isn't finite.

    References:
        Wu & Simon, SIAM J. Matrix Anal. Appl. 22, 2000 (thick restart).
        van Dorsselaer, Hochstenbach & van der Vorst, "Computing probabilistic bounds for extreme eigenvalues of
        symmetric matrices with the Lanczos method", SIAM J. Matrix Anal. Appl. 22, 2000 (what is excluded).
    """
    check_dtype(dtype)
    operator = Counted(matvec, dim)
    if which not in ENDS:
        raise unknown("end of the spectrum", which, ENDS)
    wanted = 2 * k if which == "both" else k
    if not 1 <= k <= wanted <= dim:
        asked = f"{k} eigenvalues" + (" from each end" if which == "both" else "")
        raise RequestError(f"an operator on {dim} parameters has {dim} eigenvalues, but {asked} were asked for")
    if not 0 < tolerance < 1:
        raise RequestError(f"the tolerance of eigenpairs must be between 0 and 1, got {tolerance}")
    if not 0 <= confidence < 1:
        raise RequestError(f"the confidence must be at least 0 and below 1, got {confidence}")
    if max_products < 2 * wanted + 1:
        raise RequestError(
            f"{wanted} eigenpairs need at least {2 * wanted + 1} products, got max_products={max_products}"
        )
    size = max(2 * wanted + 10, 60) if basis_size is None else basis_size
    if size < min(wanted + 2, dim):
        raise RequestError(f"{wanted} eigenpairs need a basis of at least {wanted + 2} vectors, got {size}")
    if start is not None and (start.shape != (dim,) or not start.isfinite().all()):
        raise RequestError(f"the start must be a finite vector of shape ({dim},)")
    request = Request(which, wanted, tolerance, max_products, min(size, dim), confidence)
    return solve(operator, request, random_generator(generator), dtype, device, start)
