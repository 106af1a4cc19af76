"""Sketches: vectors of a large space in few numbers."""

from __future__ import annotations

import torch
from torch import Tensor


class Sketch:
    r"""A random linear map to few dimensions that keeps squared lengths in the mean, :math:`E\|Sx\|^2 = \|x\|^2`.

    Each coordinate is added, with a random sign, to one random entry; the squared length has a relative standard
    deviation of at most :math:`\sqrt{2 / k}`. A path of a large network is kept by its sketches.

    Args:
        dim: Dimension of the vectors.
        size: k.
        generator: Randomness, on the CPU.

    References:
        Charikar, Chen & Farach-Colton, "Finding frequent items in data streams", ICALP 2002 (the count sketch).
    """

    def __init__(self, dim: int, size: int, generator: torch.Generator) -> None:
        self.size = size
        self._places = torch.randint(size, (dim,), generator=generator)
        self._signs = torch.randint(2, (dim,), generator=generator, dtype=torch.int8) * 2 - 1

    def __call__(self, vector: Tensor) -> Tensor:
        """The sketch of a vector, shape `(D,)` to `(k,)`."""
        places, signs = self._places.to(vector.device), self._signs.to(vector.device)
        return vector.new_zeros(self.size).index_add_(0, places, vector * signs)
