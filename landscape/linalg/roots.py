r"""Inverse roots :math:`A^{-1/r}` of symmetric positive semidefinite matrices, by their eigendecomposition."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.errors import RequestError, WorkError


def inverse_root(matrices: Tensor, order: int, *, eps: float = 0.0, relative: bool = False) -> Tensor:
    r"""The inverse root :math:`(A + \epsilon I)^{-1/r}` of each matrix.

    With :math:`A = Q \Lambda Q^\top` it is :math:`Q (\Lambda + \epsilon)^{-1/r} Q^\top`; eigenvalues that rounding made
    negative count as 0. Computed in the matrices' dtype (at least float32), and once more in float64 where that fails.

    Args:
        matrices: Symmetric positive semidefinite matrices, shape `(*, n, n)`; equal shapes are best stacked.
        order: :math:`r`, at least 1.
        eps: :math:`\epsilon`, in units of the eigenvalues; for 0 the root is taken on the range of :math:`A` alone
            (eigenvalues up to `n` rounding errors of the largest stay 0, as in a pseudo-inverse).
        relative: Take `eps` in units of each matrix' largest eigenvalue instead.

    Returns:
        Shape and dtype of the matrices; 0 for a matrix 0 with `eps` 0 or relative.

    Raises:
        RequestError: If the matrices aren't square or not finite, the order is below 1, or eps is negative.
        WorkError: If the eigendecomposition fails in float64 too.
    """
    if matrices.dim() < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise RequestError(f"inverse roots need square matrices of shape (*, n, n), got {tuple(matrices.shape)}")
    if not matrices.isfinite().all():
        raise RequestError("inverse roots need finite matrices: squares overflowed; scale what they are made of down")
    if matrices.numel() == 0:
        _check(order, eps)
        return matrices.clone()
    values, vectors = _eigh(matrices.to(torch.promote_types(matrices.dtype, torch.float32)))
    roots = inverse_power(values.clamp(min=0), order, eps=eps, relative=relative)
    return ((vectors * roots.unsqueeze(-2)) @ vectors.mT).to(matrices.dtype)


def inverse_power(values: Tensor, order: int, *, eps: float = 0.0, relative: bool = False) -> Tensor:
    r"""The inverse roots :math:`(\lambda + \epsilon)^{-1/r}` of eigenvalues, or of diagonal matrices.

    Args:
        values: :math:`\lambda \ge 0`, shape `(*, n)`: the eigenvalues of one matrix in each row.
        order: :math:`r`, as for `inverse_root`.
        eps: :math:`\epsilon`, as for `inverse_root`.
        relative: As for `inverse_root`.

    Returns:
        Shape `(*, n)`.

    Raises:
        RequestError: If the order is below 1 or eps is negative.
    """
    _check(order, eps)
    largest = values.amax(-1, keepdim=True)
    shifted = values + (eps * largest if relative else eps)
    floor = values.shape[-1] * torch.finfo(values.dtype).eps * largest if eps == 0 else torch.zeros_like(largest)
    kept = shifted > floor
    return torch.where(kept, torch.where(kept, shifted, 1.0).pow(-1 / order), 0.0)


def _check(order: int, eps: float) -> None:
    """Refuse what is no inverse root."""
    if order < 1:
        raise RequestError(f"the order of an inverse root must be at least 1, got {order}")
    if not eps >= 0:
        raise RequestError(f"eps of an inverse root must be at least 0, got {eps}")


def _eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors in the matrices' dtype; computed in float64 where that fails."""
    for dtype in dict.fromkeys((matrices.dtype, torch.float64)):
        try:
            values, vectors = torch.linalg.eigh(matrices.to(dtype))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
        if values.isfinite().all() and vectors.isfinite().all():
            return values.to(matrices.dtype), vectors.to(matrices.dtype)
    raise WorkError(f"the eigendecomposition of matrices of shape {tuple(matrices.shape)} failed, in float64 too")
