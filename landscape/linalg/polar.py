r"""The polar factor :math:`U V^\top` of a matrix :math:`G = U \Sigma V^\top`, exactly or by matrix products alone.

The iterations apply an odd quintic :math:`p(\sigma) = a\sigma + b\sigma^3 + c\sigma^5` to all singular values,

.. math:: X \leftarrow aX + (bA + cA^2) X, \qquad A = X X^\top,

which drives those in (0, 1] towards 1 and leaves 0 at 0. They are computed on :math:`Y = X / s`, since with
:math:`s_k = (s_{k+1} / c_k)^{1/5}` no product but the last needs a factor, and that one on one term alone:

.. math:: Y \leftarrow \frac{a}{c s^4} Y + N Y, \qquad N = B^2 + \frac{b}{c s^2} B, \qquad B = Y Y^\top.

References:
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (`newton-schulz`).
    Amsel, Persson, Musco & Gower, "The Polar Express", arXiv 2505.16932 (`polar-express`, for :math:`\ell = 10^{-3}`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from landscape.errors import unknown
from landscape.linalg.workspace import Workspace

Quintic = tuple[float, float, float]

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
    scale: float = 1.0,
    workspace: Workspace | None = None,
) -> Tensor:
    r"""The polar factor of each matrix, times a number.

    Args:
        matrices: Shape `(*, m, n)`; equal shapes are best stacked, since one batched product serves them all.
        method: `polar-express`, `newton-schulz` (Jordan's quintic) or `svd` (exact).
        steps: Number of iterations; not used by `svd`.
        dtype: In which to compute; the matrices' own by default (for `svd` at least float32).
        scale: :math:`\alpha`, not 0; costs nothing.
        workspace: Memory for the iteration, kept from call to call. The result may lie in it, until the next call.

    Returns:
        :math:`\alpha U V^\top` over the singular values that aren't zero, in the matrices' dtype; 0 for 0.

    Raises:
        RequestError: If the method is unknown.
    """
    if method not in METHODS:
        raise unknown("polar method", method, METHODS)
    if matrices.numel() == 0:
        return matrices.clone()
    if method == "svd":
        factor = _by_svd(matrices, dtype)
        return factor if scale == 1 else factor.mul_(scale)
    workspace = workspace or Workspace()
    tall = matrices.shape[-2] > matrices.shape[-1]
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    divisor, coefficients = _rescaled(method, steps, 1 / scale)
    x = _scaled(flat.mT if tall else flat, divisor, dtype, workspace)
    x = _iterate(x, coefficients, workspace)
    if x.dtype != matrices.dtype:
        x = workspace.take("wide", x.shape, matrices.dtype, x.device).copy_(x)
    x = x.mT if tall else x
    return x if x.shape == matrices.shape else x.reshape(matrices.shape)


@functools.lru_cache(maxsize=64)
def _rescaled(method: str, steps: int, last: float) -> tuple[float, list[tuple[float, float]]]:
    r"""What to divide by first for :math:`s` to end at `last`, and :math:`(b / c s^2, a / c s^4)` for each step."""
    found, s = [], last
    for a, b, c in reversed(list(itertools.islice(quintics(method), steps))):
        s = math.copysign(abs(s / c) ** 0.2, s)
        found.append((b / (c * s**2), a / (c * s**4)))
    return (s * SAFETY if method == "polar-express" else s), found[::-1]


def _scaled(matrices: Tensor, divisor: float, dtype: torch.dtype | None, workspace: Workspace) -> Tensor:
    """Each matrix over its Frobenius norm and a number, in the working dtype; 0 stays 0."""
    dtype = dtype or matrices.dtype
    wide = torch.promote_types(torch.promote_types(matrices.dtype, torch.float32), dtype)
    lengths = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True, dtype=wide)
    # below this, squares lose digits or are 0, and the norm says nothing
    lengths.clamp_(min=math.sqrt(torch.finfo(wide).tiny)).mul_(divisor)
    x = workspace.take("x", matrices.shape, dtype, matrices.device)
    if wide == dtype:
        return torch.div(matrices, lengths, out=x)
    return x.copy_(torch.div(matrices, lengths, out=workspace.take("wide", x.shape, wide, x.device)))


def _iterate(x: Tensor, coefficients: Iterable[tuple[float, float]], workspace: Workspace) -> Tensor:
    """The rescaled quintics one after another."""
    following = workspace.take("following", x.shape, x.dtype, x.device)
    shape = (*x.shape[:-1], x.shape[-2])
    gram, inner = (workspace.take(name, shape, x.dtype, x.device) for name in ("gram", "inner"))
    single = len(x) == 1  # a product of two matrices is faster than a batch of one
    product, sum_and_product = (torch.mm, torch.addmm) if single else (torch.bmm, torch.baddbmm)
    if single:
        x, following, gram, inner = x[0], following[0], gram[0], inner[0]
    here, there = (x, x.mT), (following, following.mT)
    for of_gram, of_x in coefficients:
        product(*here, out=gram)
        sum_and_product(gram, gram, gram, beta=of_gram, out=inner)
        sum_and_product(here[0], inner, here[0], beta=of_x, out=there[0])
        here, there = there, here
    return here[0].unsqueeze(0) if single else here[0]


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
