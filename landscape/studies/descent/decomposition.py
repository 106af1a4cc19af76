r"""The bias–variance decomposition over training sets and feature draws.

Predictions :math:`f_{sd}` of training set s and feature draw d are a two-way table. Analysis of variance gives unbiased
estimates of :math:`\sigma_s^2` (what another training set changes), :math:`\sigma_d^2` (what other features change) and
:math:`\sigma_{sd}^2` (their interaction); the rest of the mean squared error is bias² (and the targets' own noise). The
parts add up to the error, averaged over the table, exactly; being unbiased, each can fall below zero by chance.

References:
    S. d'Ascoli et al., Double trouble in double descent, arXiv 2003.01054.
"""

from __future__ import annotations

import torch
from torch import Tensor

PARTS = ("bias", "training set", "features", "interaction")


def decompose(predictions: Tensor, targets: Tensor) -> Tensor:
    """Decompose the mean squared error.

    Args:
        predictions: Shape `(S, D, m, k)` for S ≥ 2 training sets, D feature draws, m samples and k outputs.
            With a single draw of features, their variance isn't told from that of the training sets.
        targets: Shape `(m, k)`.

    Returns:
        `PARTS`, averaged over samples and outputs, shape `(4,)`.

    Raises:
        ValueError: If there is one training set only.
    """
    sets, draws = predictions.shape[:2]
    if sets < 2:
        raise ValueError("a variance over training sets needs at least two of them")
    mean = predictions.mean((0, 1))
    by_set, by_draw = predictions.mean(1, keepdim=True), predictions.mean(0, keepdim=True)
    if draws == 1:
        of_set = (by_set - mean).square().sum((0, 1)) / (sets - 1)
        bias = (mean - targets).square() - of_set / sets
        zero = torch.zeros_like(bias)
        return torch.stack([bias, of_set, zero, zero]).mean((-2, -1))
    rest = (predictions - by_set - by_draw + mean).square().sum((0, 1)) / ((sets - 1) * (draws - 1))
    of_set = ((by_set - mean).square().sum((0, 1)) * draws / (sets - 1) - rest) / draws
    of_draw = ((by_draw - mean).square().sum((0, 1)) * sets / (draws - 1) - rest) / sets
    bias = (mean - targets).square() - of_set / sets - of_draw / draws - rest / (sets * draws)
    return torch.stack([bias, of_set, of_draw, rest]).mean((-2, -1))
