"""The loss of a network on a slice, as the estimator of certified surfaces asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch

from landscape.errors import RequestError
from landscape.geometry.slices import Curve, Slice
from landscape.objective.losses import error
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective


class SliceOracle:
    """Per-sample losses and metrics along a slice.

    Args:
        sliced: The loss on it; its data must be tensors, so that samples can be picked.
        where: The slice.
        backwards: Whether coordinates come last axis first, as a store has them.
    """

    def __init__(self, sliced: SlicedObjective, where: Slice, *, backwards: bool = False) -> None:
        self.sliced, self.where, self.backwards = sliced, where, backwards
        self.visits = 0
        """How often weights were placed: each time BatchNorm's statistics are recomputed, where they are."""

    @property
    def objective(self) -> Objective:
        """The loss."""
        return self.sliced.objective

    @property
    def num_samples(self) -> int:
        """The number of samples N."""
        return self.objective.num_samples

    @cached_property
    def scales(self) -> dict[str, float]:
        r"""What a sample's sum is multiplied by so that the mean over all samples is the value.

        It is :math:`N / \sum_i c_i` for the counts :math:`c_i`, 1 for all losses but those over tokens: these counts
        are the targets' and known, so that nothing of the ratio has to be estimated.
        """
        return {name: len(counts) / float(counts.double().sum()) for name, counts in self.sliced.counts().items()}

    @cached_property
    def discrete(self) -> Mapping[str, float]:
        """What one sample changes the 0/1 error by at most."""
        counts = self.sliced.counts()
        return {
            name: float(counts[name].max()) * self.scales[name]
            for name, function in self.objective.metrics.items()
            if function is error
        }

    def per_sample(self, coordinates: np.ndarray, index: np.ndarray | None) -> dict[str, np.ndarray]:
        """Values at points `(P, k)` for some samples by name, each `(P, n)`."""
        chosen = None if index is None else torch.from_numpy(index).to(self.objective.device)
        self.visits += len(coordinates)
        found = self.sliced.per_sample(self._basis(coordinates), chosen)
        return {
            name: values.cpu().numpy() if self.scales[name] == 1 else values.cpu().numpy() * self.scales[name]
            for name, values in found.items()
        }

    def penalty(self, coordinates: np.ndarray) -> np.ndarray:
        """The L2 term at points `(P, k)`, shape `(P,)`."""
        if not self.objective.weight_decay:
            return np.zeros(len(coordinates))
        gram = self.where.points.double() @ self.where.points.double().T
        basis = self._basis(coordinates)
        squares: np.ndarray = torch.einsum("pi,ij,pj->p", basis, gram, basis).numpy()
        return 0.5 * self.objective.weight_decay * squares

    def _basis(self, coordinates: np.ndarray) -> torch.Tensor:
        ordered = torch.from_numpy(np.array(coordinates[:, ::-1] if self.backwards else coordinates, float))
        return self.where.basis(ordered[:, 0] if isinstance(self.where, Curve) else ordered)

    def check(self) -> None:
        """Refuse counts that depend on the weights, of which the total at a point is known only from all samples.

        Raises:
            RequestError: If so.
        """
        here = self.sliced.counts()
        moved = self.objective.on(self.objective.samples.first(8))
        theta = self.where.points[-1] + self.where.points[0]
        for name, (_, counts) in moved.per_sample(theta).items():
            if not torch.equal(counts.double(), here[name][: len(counts)].double()):
                raise RequestError(
                    f"the {name}'s counts depend on the weights, so no subset of samples tells their total: use --exact"
                )
