r"""Least squares through one singular value decomposition: the minimum-norm solution and the whole ridge path.

With :math:`A = U \operatorname{diag}(s) V^\top` of shape `(n, p)`, the minimiser of
:math:`\|Aw - y\|^2 + \lambda \|w\|^2` is

.. math:: w_\lambda = V \operatorname{diag}\!\left(\frac{s}{s^2 + \lambda}\right) U^\top y,

and its limit for :math:`\lambda \to 0` the solution of least norm among those that fit best. Solving with
:math:`A^\top A + \lambda I` instead would square the condition number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LeastSquares:
    """The singular value decompositions of one or more design matrices, r = min(n, p).

    Args:
        left: :math:`U`, shape `(*, n, r)`.
        singular: :math:`s` in descending order, shape `(*, r)`.
        right: :math:`V`, shape `(*, p, r)`.
        tolerance: Singular values of at most this share of the largest count as zero where there is no ridge.
    """

    left: Tensor
    singular: Tensor
    right: Tensor
    tolerance: float

    @classmethod
    def factor(cls, design: Tensor, tolerance: float | None = None) -> LeastSquares:
        """Decompose design matrices.

        Args:
            design: :math:`A`, shape `(*, n, p)`.
            tolerance: Relative to the largest singular value; max(n, p) times the precision by default.

        Raises:
            ValueError: If there is no row or no column.
        """
        n, p = design.shape[-2:]
        if min(n, p) < 1:
            raise ValueError(f"expected a design matrix with rows and columns, got shape {tuple(design.shape)}")
        if tolerance is None:
            tolerance = max(n, p) * torch.finfo(design.dtype).eps
        if p > 2 * n:  # orthogonal first: the decomposition is then one of (n, n), and as accurate
            basis, triangle = torch.linalg.qr(design.mT)
            right, singular, left = torch.linalg.svd(triangle, full_matrices=False)
            return cls(left.mT, singular, basis @ right, tolerance)
        left, singular, right = torch.linalg.svd(design, full_matrices=False)
        return cls(left, singular, right.mT, tolerance)

    @property
    def rank(self) -> Tensor:
        """How many singular values count, shape `(*)`."""
        return self._counts().sum(-1)

    def _counts(self) -> Tensor:
        """Which singular values count."""
        return self.singular > self.tolerance * self.singular[..., :1]

    def filters(self, ridge: Tensor) -> Tensor:
        r""":math:`s / (s^2 + \lambda)`, shape `(*, r, R)`; for :math:`\lambda = 0`, 0 where s doesn't count.

        Args:
            ridge: :math:`\lambda \ge 0`, shape `(R,)`.
        """
        s, lam = self.singular[..., None], ridge.to(self.singular)
        inverse = torch.where(self._counts()[..., None], 1 / s, 0.0)
        return torch.where(lam > 0, s / (s.square() + lam), inverse)

    def coordinates(self, targets: Tensor, ridge: Tensor) -> Tensor:
        """The solutions in the basis of right singular vectors, in which they are as long.

        Args:
            targets: y, shape `(*, n, k)`.
            ridge: Shape `(R,)`.

        Returns:
            Shape `(*, r, R, k)`.
        """
        return self.filters(ridge)[..., None] * (self.left.mT @ targets)[..., None, :]

    def solve(self, targets: Tensor, ridge: Tensor) -> Tensor:
        """The solutions w for every ridge.

        Args:
            targets: y, shape `(*, n, k)`.
            ridge: Shape `(R,)`; 0 gives the minimum-norm solution.

        Returns:
            Shape `(*, p, R, k)`.
        """
        found = self.coordinates(targets, ridge)
        return (self.right @ found.flatten(-2)).reshape(*self.right.shape[:-1], *found.shape[-2:])
