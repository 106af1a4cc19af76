r"""The polar factor :math:`U V^\top` of a matrix :math:`G = U \Sigma V^\top`, exactly or by matrix products alone.

The iterations apply an odd quintic :math:`p(\sigma) = a\sigma + b\sigma^3 + c\sigma^5` to all singular values,

.. math:: X \leftarrow aX + (bA + cA^2) X, \qquad A = X X^\top,

which drives those in (0, 1] towards 1 and leaves 0 at 0.

References:
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (`newton-schulz`).
    Amsel, Persson, Musco & Gower, "The Polar Express", arXiv 2505.16932 (`polar-express`, for :math:`\ell = 10^{-3}`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from landscape.errors import unknown

Quintic = tuple[float, float, float]
Workspace = dict[str, Tensor]
"""Memory by name, kept from call to call."""

JORDAN: Quintic = (3.4445, -4.7750, 2.0315)
"""Steep at 0; never settles: singular values stay between about 0.7 and 1.2."""

POLAR_EXPRESS: tuple[Quintic, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
"""Minimax quintics for singular values that begin in [0.001, 1], one for each step."""

LIMIT: Quintic = (1.875, -1.25, 0.375)
"""Their limit, which converges cubically."""

SAFETY = 1.01
"""Polar Express shrinks its input and all but its limiting quintics by this, so that rounding can't leave [0, 1]."""

METHODS = ("polar-express", "newton-schulz", "svd")


@torch.no_grad()
def polar_factor(
    matrices: Tensor,
    *,
    method: str = "polar-express",
    steps: int = 5,
    dtype: torch.dtype | None = None,
    workspace: Workspace | None = None,
) -> Tensor:
    r"""The polar factor of each matrix.

    Args:
        matrices: Shape `(*, m, n)`; equal shapes are best stacked, since one batched product serves them all.
        method: `polar-express`, `newton-schulz` (Jordan's quintic) or `svd` (exact).
        steps: Number of iterations; not used by `svd`.
        dtype: In which to compute; the matrices' own by default (for `svd` at least float32).
        workspace: Memory for the iteration, kept from call to call: a dictionary, empty at first. The result may lie in
            it, until the next call.

    Returns:
        :math:`U V^\top` over the singular values that aren't zero, in the matrices' dtype; 0 for 0.

    Raises:
        RequestError: If the method is unknown.
    """
    if method not in METHODS:
        raise unknown("polar method", method, METHODS)
    if matrices.numel() == 0:
        return matrices.clone()
    if method == "svd":
        return _by_svd(matrices, dtype)
    workspace = {} if workspace is None else workspace
    tall = matrices.shape[-2] > matrices.shape[-1]
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    x = _scaled(flat.mT if tall else flat, SAFETY if method == "polar-express" else 1.0, dtype, workspace)
    x = _iterate(x, itertools.islice(quintics(method), steps), workspace)
    if x.dtype != matrices.dtype:
        x = scratch(workspace, "wide", x.shape, matrices.dtype, x.device).copy_(x)
    return (x.mT if tall else x).reshape(matrices.shape)


def scratch(workspace: Workspace, name: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory without values, under a name in a workspace, so that the next call with the name has the same memory.

    Fresh memory costs a page fault for every 4 kB, as much as a tenth of an iteration on small matrices.
    """
    size = math.prod(shape)
    kept = workspace.get(name)
    if kept is None or len(kept) < size or kept.dtype != dtype or kept.device != device:
        kept = workspace[name] = torch.empty(size, dtype=dtype, device=device)
    return kept[:size].view(*shape)


def _scaled(matrices: Tensor, safety: float, dtype: torch.dtype | None, workspace: Workspace) -> Tensor:
    """Each matrix over its Frobenius norm (and a factor), in the working dtype; 0 stays 0."""
    dtype = dtype or matrices.dtype
    wide = torch.promote_types(torch.promote_types(matrices.dtype, torch.float32), dtype)
    lengths = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True, dtype=wide)
    lengths.masked_fill_(lengths == 0, 1.0)
    lengths = lengths if safety == 1 else lengths.mul_(safety)
    x = scratch(workspace, "x", matrices.shape, dtype, matrices.device)
    if wide == dtype:
        return torch.div(matrices, lengths, out=x)
    return x.copy_(torch.div(matrices, lengths, out=scratch(workspace, "wide", x.shape, wide, x.device)))


def _iterate(x: Tensor, coefficients: Iterable[Quintic], workspace: Workspace) -> Tensor:
    """The quintics one after another."""
    single = len(x) == 1  # a product of two matrices is faster than a batch of one
    product, sum_and_product = (torch.mm, torch.addmm) if single else (torch.bmm, torch.baddbmm)
    x = x[0] if single else x
    following = scratch(workspace, "following", x.shape, x.dtype, x.device)
    shape = (*x.shape[:-1], x.shape[-2])
    gram, inner = (scratch(workspace, name, shape, x.dtype, x.device) for name in ("gram", "inner"))
    for a, b, c in coefficients:
        product(x, x.mT, out=gram)
        sum_and_product(gram, gram, gram, beta=b, alpha=c, out=inner)
        sum_and_product(x, inner, x, beta=a, out=following)
        x, following = following, x
    return x.unsqueeze(0) if single else x


def quintics(method: str) -> Iterator[Quintic]:
    """The coefficients (a, b, c) of the iterations, without end."""
    if method == "newton-schulz":
        yield from itertools.repeat(JORDAN)
    for a, b, c in POLAR_EXPRESS[:-1]:
        yield a / SAFETY, b / SAFETY**3, c / SAFETY**5
    yield POLAR_EXPRESS[-1]
    yield from itertools.repeat(LIMIT)


def _by_svd(matrices: Tensor, dtype: torch.dtype | None) -> Tensor:
    working = dtype or torch.promote_types(matrices.dtype, torch.float32)
    u, s, vh = torch.linalg.svd(matrices.to(working), full_matrices=False)
    threshold = s[..., :1] * max(matrices.shape[-2:]) * torch.finfo(working).eps
    factor: Tensor = (u * (s > threshold).unsqueeze(-2)) @ vh
    return factor.to(matrices.dtype)
