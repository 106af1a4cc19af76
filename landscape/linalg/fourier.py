r"""Fourier analysis on the integers modulo P, as networks that learn modular arithmetic call for it.

A function of :math:`u \in \mathbb{Z}_P` is a sum of a constant and of :math:`\cos(2\pi k u / P)` and
:math:`\sin(2\pi k u / P)` for the frequencies :math:`k = 1, \dots, \lfloor P/2 \rfloor`. A network that has learned
:math:`a + b` rather than a table has logits :math:`\sum_k c_k \cos(2\pi k (a + b - c) / P)` with a few frequencies: its
key frequencies.

Other functions need no other formulas. u is what the logits should be a function of: the answer, or where the operation
is a product its discrete logarithm, whose order P is one less than the modulus (`powers`).

References:
    Nanda, Chan, Lieberum, Smith & Steinhardt, "Progress measures for grokking via mechanistic interpretability",
    arXiv 2301.05217, section 5 (restricted and excluded loss).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.errors import RequestError


def power_spectrum(table: Tensor) -> Tensor:
    r"""The power of each frequency in functions on :math:`\mathbb{Z}_P`.

    Args:
        table: One function for each column, such as an embedding: shape `(P, *)`.

    Returns:
        For the constant and the frequencies :math:`1, \dots, \lfloor P/2 \rfloor` the squared length of the functions'
        component, float64, shape `(P // 2 + 1,)`; together the squared length of the table (Parseval).
    """
    order = len(table)
    power: Tensor = torch.fft.rfft(table.double().reshape(order, -1), dim=0).abs().square().sum(1) / order
    power[1 : (order + 1) // 2] *= 2  # cosine and sine; the constant, and P/2 where P is even, have but one
    return power


def key_frequencies(power: Tensor, share: float = 0.9) -> list[int]:
    """The fewest frequencies that hold a share of the power beside the constant's.

    Args:
        power: Power by frequency, the constant's first, shape `(P // 2 + 1,)`.
        share: In (0, 1].

    Returns:
        Frequencies, the strongest first; none where there is no power.

    Raises:
        RequestError: If the share is out of range.
    """
    if not 0 < share <= 1:
        raise RequestError(f"the share of the power must be more than 0 and at most 1, got {share}")
    values, order = power[1:].double().sort(descending=True, stable=True)
    total = float(values.sum())
    if not total > 0:
        return []
    held = values.cumsum(0) < share * total * (1 - 1e-12)
    return [int(place) + 1 for place in order[: int(held.sum()) + 1]]


def periodic_part(values: Tensor, positions: Tensor, order: int, frequencies: Sequence[int]) -> Tensor:
    r"""The component of logits along :math:`\cos(2\pi k u / P)` and :math:`\sin(2\pi k u / P)`.

    The least-squares one, without the constant's share where positions are not spread evenly.

    Args:
        values: Logits of some samples, shape `(N, C)`; together they should cover a whole table.
        positions: u of each sample, integers, shape `(N,)`.
        order: P.
        frequencies: k of the component.

    Returns:
        The component, float64, shape `(N, C)`.

    Raises:
        RequestError: If a frequency is none of :math:`1, \dots, \lfloor P/2 \rfloor`.
    """
    if not all(1 <= k <= order // 2 for k in frequencies):
        raise RequestError(f"frequencies modulo {order} are 1 to {order // 2}, got {list(frequencies)}")
    values = values.double()
    if not frequencies:
        return torch.zeros_like(values)
    # samples with one u share a row of the basis, so that the least squares are those of their means
    counts = torch.bincount(positions, minlength=order).double()
    sums = values.new_zeros(order, values.shape[1]).index_add_(0, positions, values)
    root, means = counts.sqrt()[:, None], sums / counts.clamp(min=1)[:, None]
    # in integers, since a large product would cost the angle its last digits
    turns = torch.outer(torch.arange(order), torch.tensor(list(frequencies))) % order
    angles = turns.to(values) * (2 * math.pi / order)
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    basis, scales, _ = torch.linalg.svd(root * (waves - counts @ waves / counts.sum()), full_matrices=False)
    basis = basis[:, scales > 1e-9 * scales[0]]  # the sine of P/2 is zero
    rows: Tensor = basis @ (basis.T @ (root * means)) / root.clamp(min=1)
    return rows[positions]


def restricted(values: Tensor, positions: Tensor, order: int, frequencies: Sequence[int]) -> Tensor:
    """Logits of which only the constant and the key frequencies are left; see `periodic_part`.

    Their loss is the restricted loss: low as soon as the periodic solution is there, whatever else is.
    """
    return values.double().mean(0) + periodic_part(values, positions, order, frequencies)


def excluded(values: Tensor, positions: Tensor, order: int, frequencies: Sequence[int]) -> Tensor:
    """Logits without the key frequencies; see `periodic_part`.

    Their loss is the excluded loss: on training data low as long as the samples are known by heart, and that of
    guessing, log C, once the periodic solution is all there is.
    """
    return values.double() - periodic_part(values, positions, order, frequencies)


def powers(modulus: int) -> list[int]:
    r"""The powers :math:`g^0, \dots, g^{p-2}` of the smallest primitive root of a prime: each of 1 to p − 1 once.

    Rows of an embedding in this order are functions of the discrete logarithm, for which a product is a sum.

    Args:
        modulus: p.

    Raises:
        RequestError: If p is not prime.
    """
    for root in range(1, modulus):
        found = [1]
        while (following := found[-1] * root % modulus) > 1 and len(found) < modulus:
            found.append(following)
        if following == 1 and len(found) == modulus - 1:
            return found
    raise RequestError(f"expected a prime modulus, got {modulus}")
