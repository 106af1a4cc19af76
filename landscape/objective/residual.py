r"""What the Hessian has beside the Gauss-Newton matrix: the curvature of the network itself.

.. math:: \nabla^2 L = G + R, \qquad R = \frac1n \sum_i \sum_c \frac{\partial \ell_i}{\partial z_{ic}} \nabla^2 z_{ic}

It is the Hessian of :math:`\theta \mapsto \frac1n \sum_i \langle c_i, z_i(\theta) \rangle` with the slopes
:math:`c_i = \nabla_z \ell_i` held constant. Its trace is that of its diagonal blocks, one for each tensor, and these
vanish where the outputs are linear in each tensor while the others stand still: in every piecewise linear network in
which no tensor is used twice.

References:
    Botev, Ritter & Barber, "Practical Gauss-Newton optimisation for deep learning", arXiv 1706.03662 (equal blocks).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.objective.fisher import slopes
from landscape.objective.metric_roots import random_signs
from landscape.objective.samples import Batch
from landscape.objective.standing import Standing


class ResidualForms:
    r"""Quadratic forms :math:`v^\top R_b v` with the summed residual curvature of one microbatch; its graph is kept.

    Args:
        standing: The objective at its point; its context is the caller's to enter.
        batch: The microbatch.
    """

    def __init__(self, standing: Standing, batch: Batch) -> None:
        inputs, targets = batch
        self._tensors = standing.tensors
        outputs = standing.outputs(inputs)
        slope = slopes(standing.objective.loss_function, outputs, targets)
        value = (outputs * slope).sum()
        self._gradients: Sequence[Tensor | None] = [None] * len(self._tensors)
        if value.requires_grad:
            self._gradients = torch.autograd.grad(value, self._tensors, create_graph=True, allow_unused=True)

    def form(self, generator: torch.Generator, blocks: Sequence[int] | None = None) -> float:
        """One form for signs drawn for all tensors at once, or the sum of one for each of some tensors alone."""
        numbers = range(len(self._tensors)) if blocks is None else blocks
        signs = {number: random_signs(self._tensors[number], generator) for number in numbers}
        if blocks is None:
            return self._along(signs)
        return sum(self._along({number: vector}) for number, vector in signs.items())

    def _along(self, vectors: dict[int, Tensor]) -> float:
        """The form for a vector by its tensors; the others are 0."""
        pairs = [(self._gradients[number], vector) for number, vector in vectors.items()]
        live = [(gradient, vector) for gradient, vector in pairs if gradient is not None and gradient.requires_grad]
        if not live:
            return 0.0
        gradients, starts = zip(*live, strict=True)
        own = [self._tensors[number] for number in vectors]
        found = torch.autograd.grad(gradients, own, starts, retain_graph=True, allow_unused=True)
        terms = [
            (product.double() * vector).sum()
            for product, vector in zip(found, vectors.values(), strict=True)
            if product is not None
        ]
        return float(torch.stack(terms).sum()) if terms else 0.0
