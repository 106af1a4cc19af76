r"""A Krylov basis that grows by one product at a time and stays orthonormal.

After :math:`m` products with a symmetric operator the rows of :math:`Q` (shape `(m, D)`) are orthonormal and

.. math:: A Q^\top = Q^\top T + v\, \beta e_m^\top, \qquad Q v = 0, \quad \|v\| = 1,

so that an eigenpair :math:`(\theta, y)` of the small matrix :math:`T` gives a vector :math:`Q^\top y` whose residual
:math:`\|A Q^\top y - \theta Q^\top y\| = \beta |y_m|` costs nothing. Every new vector is made orthogonal to *all*
earlier ones, twice: without it rounding brings converged eigenvectors back and their eigenvalues come again as ghosts.

References:
    Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, section 6.9 (twice is enough).
    Wu & Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix Anal. Appl. 22,
    2000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import RequestError, WorkError

Matvec = Callable[[Tensor], Tensor]
"""A symmetric operator: a vector `(D,)` to its product `(D,)`."""

Array = NDArray[np.float64]

BREAKDOWN = 10.0
"""A residual of this many rounding errors of the operator's norm is 0: the basis spans an invariant subspace."""

CANCELLED = 0.1
"""A residual this much shorter than its product has lost digits and is orthogonalised once more."""


class Counted:
    """An operator that counts its products and checks each of them.

    Args:
        matvec: A symmetric operator on vectors `(dim,)`.
        dim: :math:`D`.

    Raises:
        RequestError: If there is no dimension, or a product has another shape or dtype than its vector.
        WorkError: If a product isn't finite.
    """

    def __init__(self, matvec: Matvec, dim: int) -> None:
        if dim < 1:
            raise RequestError(f"an operator needs at least one dimension, got {dim}: are all parameters frozen?")
        self._matvec = matvec
        self.dim = dim
        self.products = 0

    def __call__(self, vector: Tensor) -> Tensor:
        """One product, shape `(D,)`."""
        self.products += 1
        with torch.no_grad():
            product = self._matvec(vector).detach()
        if product.shape != vector.shape or product.dtype != vector.dtype:
            raise RequestError(
                f"the operator must give a {vector.dtype} vector of shape {tuple(vector.shape)}, "
                f"got {product.dtype} of shape {tuple(product.shape)}"
            )
        if not length(product) < float("inf"):
            raise WorkError(f"product {self.products} with the operator is not finite: did the network diverge?")
        return product


def length(vector: Tensor) -> float:
    """The 2-norm, summed in float64."""
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))


def random_vector(dim: int, generator: torch.Generator, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Independent standard normal elements, shape `(dim,)`, drawn on the generator's own device."""
    return torch.randn(dim, generator=generator, dtype=dtype, device=generator.device).to(device)


def random_generator(generator: torch.Generator | None) -> torch.Generator:
    """The caller's generator, or a fresh one of seed 0."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse numbers in which a basis can't be kept orthogonal.

    Raises:
        RequestError: If the dtype isn't float32 or float64.
    """
    if dtype not in (torch.float32, torch.float64):
        raise RequestError(f"curvature is computed in float32 or float64, got {dtype}: convert the model first")


def orthogonalise(vector: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Take a vector's part in the span of some orthonormal rows away, twice.

    Args:
        vector: Shape `(D,)`.
        basis: Orthonormal rows, shape `(m, D)`.

    Returns:
        What remains, shape `(D,)`, and the coefficients that were taken away, float64 on the CPU, shape `(m,)`.
    """
    taken = torch.zeros(len(basis), dtype=torch.float64)
    for _ in range(2):
        overlap = basis @ vector
        vector = torch.addmv(vector, basis.T, overlap, alpha=-1)
        taken += overlap.double().cpu()
    return vector, taken


def orthogonal_unit(vector: Tensor, basis: Tensor, generator: torch.Generator) -> Tensor:
    """A unit vector orthogonal to some rows: along a vector where that is possible, a random one otherwise.

    Args:
        vector: Shape `(D,)`.
        basis: Fewer than D orthonormal rows, shape `(m, D)`.
        generator: For the random one.
    """
    floor = BREAKDOWN * len(vector) ** 0.5 * torch.finfo(vector.dtype).eps
    while True:
        scale = length(vector)
        if scale > 0:
            rest, _ = orthogonalise(vector / scale, basis)
            left = length(rest)
            if left > floor:  # orthogonalised again once it has length 1: cancellation has magnified the errors
                rest, _ = orthogonalise(rest / left, basis)
                return rest / length(rest)
        vector = random_vector(len(vector), generator, vector.dtype, vector.device)


class Krylov:
    r"""Grow :math:`Q`, :math:`T`, :math:`\beta` and :math:`v`, restart them, and read their Ritz pairs.

    Args:
        matvec: The symmetric operator :math:`A`.
        start: The first vector, not 0, shape `(D,)`.
        size: How many vectors :math:`Q` may have; memory is `size + 1` vectors and those of `locked`.
        generator: For a fresh vector where the residual vanishes.
        locked: Orthonormal rows, shape `(l, D)`, to which all vectors are kept orthogonal: the operator is
            then :math:`(I - P) A (I - P)` with their projector :math:`P`.
    """

    def __init__(
        self, matvec: Matvec, start: Tensor, size: int, generator: torch.Generator, locked: Tensor | None = None
    ) -> None:
        self._matvec = matvec
        self._generator = generator
        self._first = 0 if locked is None else len(locked)
        self._kept = 0
        self.scale = 0.0
        """The largest Ritz value met: an estimate of the operator's norm, from below."""
        self.room = len(start) - self._first
        """How many vectors are orthogonal to the locked ones."""
        self.size = min(size, self.room)
        self._rows = start.new_zeros(self._first + self.size + (self.size < self.room), len(start))
        if locked is not None:
            self._rows[: self._first] = locked
        self._rows[self._first] = orthogonal_unit(start, self._rows[: self._first], generator)
        self.projected: Array = np.zeros((self.size, self.size))
        self.length = 0
        self.beta = 0.0

    @property
    def full(self) -> bool:
        """Whether the next product needs a restart first."""
        return self.length == self.size

    @property
    def complete(self) -> bool:
        """Whether the basis spans all there is, so that its Ritz pairs are the eigenpairs."""
        return self.length == self.room

    @property
    def basis(self) -> Tensor:
        """:math:`Q`, shape `(m, D)`; a view."""
        return self._rows[self._first : self._first + self.length]

    @property
    def residual(self) -> Tensor:
        r""":math:`\beta v`, shape `(D,)`; 0 where the basis is complete."""
        if self.complete:
            return torch.zeros_like(self._rows[0])
        return self.beta * self._rows[self._first + self.length]

    @property
    def matrix(self) -> Array:
        """:math:`T`, shape `(m, m)`; a view."""
        return self.projected[: self.length, : self.length]

    def grow(self) -> None:
        """Multiply the last vector and add the next."""
        m, end = self.length, self._first + self.length + 1
        product = self._matvec(self._rows[end - 1])
        remainder, taken = orthogonalise(product, self._rows[:end])
        column = taken[self._first :].numpy()
        self.projected[m, m] = column[m]
        if m and m == self._kept:  # the first vector after a restart couples with all that were kept
            self.projected[:m, m] = self.projected[m, :m] = column[:m]
        elif m:
            self.projected[m - 1, m] = self.projected[m, m - 1] = self.beta
        self.length += 1
        self.beta = length(remainder)
        self.scale = max(self.scale, float(np.abs(column).max()), self.beta)
        if self.complete:
            self.beta = 0.0
            return
        if self.beta <= BREAKDOWN * torch.finfo(remainder.dtype).eps * self.scale:
            self.beta = 0.0
            remainder = random_vector(len(remainder), self._generator, remainder.dtype, remainder.device)
        if self.beta > CANCELLED * length(product):
            self._rows[end] = remainder / self.beta
        else:
            self._rows[end] = orthogonal_unit(remainder, self._rows[:end], self._generator)

    def restart(self, values: Array, vectors: Array) -> None:
        r"""Keep some Ritz vectors and :math:`v` alone.

        Args:
            values: Ritz values, shape `(r,)` with r < m.
            vectors: Their vectors in coordinates of :math:`Q`, orthonormal columns of shape `(m, r)`.
        """
        count = len(values)
        kept = self.lift(vectors)
        self._rows[self._first + count] = self._rows[self._first + self.length]
        self._rows[self._first : self._first + count] = kept
        self.projected[:] = 0
        self.projected[range(count), range(count)] = values
        self.length = self._kept = count

    def ritz(self) -> tuple[Array, Array]:
        """Eigenvalues of :math:`T`, ascending, and its orthonormal eigenvectors as columns."""
        values, vectors = np.linalg.eigh(self.matrix)
        self.scale = max(self.scale, float(np.abs(values).max()))
        return values, vectors

    def lift(self, vectors: Array) -> Tensor:
        """Columns in coordinates of :math:`Q`, shape `(m, r)`, as vectors: rows of shape `(r, D)`."""
        return torch.from_numpy(vectors.T.copy()).to(self._rows) @ self.basis

    def state_dict(self) -> dict[str, Tensor]:
        """All that goes on, as plain tensors; the generator is the caller's."""
        return {
            "rows": self._rows[: self._first + self.length + (not self.complete)].clone(),
            "projected": torch.from_numpy(self.matrix.copy()),
            "numbers": torch.tensor([self.length, self._kept, self.beta, self.scale], dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the operator, the size and the locked vectors are those of the constructor."""
        length, kept, self.beta, self.scale = state["numbers"].tolist()
        self.length, self._kept = int(length), int(kept)
        self._rows[: len(state["rows"])] = state["rows"].to(self._rows)
        self.projected[: self.length, : self.length] = state["projected"].numpy()
