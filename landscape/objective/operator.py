r"""What all curvature matrices of an objective share: a sum over microbatches, some of whose graphs are kept.

Each is a symmetric :math:`D \times D` matrix at a point :math:`\theta`, known by its products with vectors over the
whole data set. Batches are weighted by their samples or tokens, BatchNorm statistics are constants (but for the policy
`batch`), and the L2 term adds :math:`\lambda I`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.objective.hvp import Product
from landscape.objective.memory import Strategy, budget_on, check_strategy, measure, room, too_small
from landscape.objective.objective import Objective
from landscape.objective.parameters import Layout
from landscape.objective.samples import Batch, batch_length, leaves
from landscape.objective.standing import Standing

LINEARIZE_FROM = 100
"""Fewer products than this never pay for tracing, which takes the time of tens of gradients."""


@dataclass(frozen=True)
class Piece:
    """One microbatch: products of its summed curvature, its samples or tokens, and bytes beside the graph's."""

    product: Product
    count: float
    held: int = 0


class Curvature(ABC):
    r"""A curvature matrix at one point, by its products.

    Args:
        objective: Model, data and loss; never changed but for where its private model stands.
        theta: The point, shape `(D,)`, always all of the objective's parameters.
        parameters: Regular expression: the diagonal block of the tensors whose names it is found in.
        memory_budget: Bytes that graphs, kept ones and those in work, may take; by default 2 GiB on a CPU, half of what
            is free on a GPU. Where one microbatch doesn't fit it is made smaller (`batch` BatchNorm forbids that).
        strategy: `auto`, or one of `kept`, `linearized` (the Hessian's only), `recomputed`; see `Strategy`.
        expected_products: How many products are wanted, if that is known: past a hundred linearisation is tried.

    Raises:
        RequestError: If theta, parameters, budget or strategy can't be used, or the model is random in evaluation mode.
    """

    _own_convolution = False

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        *,
        parameters: str | None = None,
        memory_budget: float | None = None,
        strategy: str = "auto",
        expected_products: int | None = None,
    ) -> None:
        check_strategy(strategy)
        self.device, self.dtype = objective.device, objective.dtype
        self.products = 0
        self.weight_decay = objective.weight_decay
        self._budget = budget_on(self.device, memory_budget)
        self._standing = Standing(objective, theta, parameters, self._own_convolution)
        self._linearized = strategy == "linearized"
        self._pieces: list[Piece] = []
        with self._standing.context():
            self.strategy = self._choose(strategy, expected_products or 0)

    @property
    def layout(self) -> Layout:
        """Names and shapes of the tensors that vectors consist of."""
        return self._standing.module.layout

    @property
    def dim(self) -> int:
        """The length D of vectors."""
        return self.layout.num_parameters

    def __call__(self, vector: Tensor) -> Tensor:
        """The product with one vector, shape `(D,)`."""
        if vector.shape != (self.dim,):
            raise RequestError(f"expected a vector of shape ({self.dim},), got {tuple(vector.shape)}")
        return self.matmat(vector[None])[0]

    def matmat(self, vectors: Tensor) -> Tensor:
        """The products with several vectors, shape `(k, D)`; a graph that is recomputed serves them all."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise RequestError(f"expected vectors of shape (k, {self.dim}), got {tuple(vectors.shape)}")
        vectors = vectors.detach().to(self.device, self.dtype)
        result = torch.zeros_like(vectors)
        rows = [
            (self.layout.split(vector), list(self.layout.split(row)))
            for vector, row in zip(vectors, result, strict=True)
        ]
        total = 0.0
        with self._standing.context():
            for number in range(len(self._pieces)):
                total += self._add(self._pieces[number], rows)
            if len(self._pieces) < self.strategy.num_batches:
                for number, batch in enumerate(self._standing.batches(self.strategy.batch_size)):
                    if number >= len(self._pieces):
                        total += self._add(self._keep(number, self._build(number, batch)), rows)
        self.products += len(vectors)
        return (result / total).add_(vectors, alpha=self.weight_decay)

    def _keep(self, number: int, piece: Piece) -> Piece:
        if number < self.strategy.num_kept:
            self._pieces.append(piece)
        return piece

    @staticmethod
    def _add(piece: Piece, rows: list[tuple[tuple[Tensor, ...], list[Tensor]]]) -> float:
        for vectors, sums in rows:
            torch._foreach_add_(sums, [part.detach() for part in piece.product(vectors)])
        return piece.count

    def _build(self, number: int, batch: Batch) -> Piece:
        """The graph of one microbatch."""
        inputs, targets = batch
        outputs = self._standing.outputs(inputs)
        loss, count = self._standing.loss(outputs, targets)
        product, held = self._product(number, outputs, targets, loss)
        return Piece(product, count, held)

    @abstractmethod
    def _product(self, number: int, outputs: Any, targets: Any, loss: Tensor) -> tuple[Product, int]:
        """The products of one microbatch, and the bytes that they hold beside what their graph has saved."""

    def _choose(self, strategy: str, expected: int) -> Strategy:
        """Measure the largest microbatch and decide what is kept."""
        size = self._affordable(self._standing.objective.batch_size)
        while True:
            count, largest = self._census(size)
            piece, graph = self._measure(largest)
            kept = room(self._budget, graph, count)
            if kept >= 0:
                break
            length = min(size, batch_length(largest[1]))
            if length == 1 or self._standing.objective.batchnorm == "batch":
                what = f"the graph of one microbatch of {length}, twice,"
                raise too_small(self._budget, graph, 2, what, "take a smaller batch_size")
            size = max(1, min(length - 1, int(0.9 * length * self._budget / (2 * graph))))
        if strategy in ("kept", "linearized") and kept < count:
            what = f"strategy '{strategy}' for {count} microbatches"
            raise too_small(self._budget, graph, count + 1, what, "take strategy='auto'")
        if strategy == "recomputed":
            kept = 0
        reason = f"graphs of {kept} of {count} microbatches of {size} are kept, {graph / 2**20:.3g} MiB each"
        name = "recomputed" if kept == 0 else "kept" if kept == count else "mixed"
        if strategy == "linearized":
            name = strategy
        elif strategy == "auto" and name == "kept" and expected >= LINEARIZE_FROM:
            found, verdict = self._try_linearized(piece, largest, count, expected)
            reason, name, graph = f"{reason}; {verdict}", "linearized" if found else name, found or graph
        return Strategy(name, count, kept, size, graph, self._budget, reason)

    def _affordable(self, size: int) -> int:
        """A size whose graph is no more than the budget can hold, so that measuring it isn't what takes most memory."""
        if self._linearized or self._standing.objective.batchnorm == "batch":
            return size
        batch = self._standing.objective.samples.first(2)
        _, graph = self._measure(batch)
        return max(1, min(size, batch_length(batch[1]) * self._budget // (2 * graph)))

    def _census(self, size: int) -> tuple[int, Batch]:
        """The number of microbatches and the one that holds most."""
        count, largest, most = 0, None, -1
        for batch in self._standing.batches(size):
            count, held = count + 1, sum(tensor.numel() for tensor in leaves(batch))
            if held > most:
                largest, most = batch, held
        assert largest is not None  # Samples refuses empty data
        return count, largest

    def _measure(self, batch: Batch) -> tuple[Piece, int]:
        if self._linearized:  # nothing of it is a graph of autograd's
            piece = self._build(0, batch)
            return piece, max(1, piece.held)
        module = self._standing.module.module
        whole = leaves(getattr(self._standing.objective.samples, "targets", ()))  # batches are views of them
        known = [*module.parameters(), *module.buffers(), *whole]
        piece, graph = measure(lambda: self._build(0, batch), known)
        return piece, max(1, graph + piece.held)

    def _try_linearized(self, piece: Piece, batch: Batch, count: int, expected: int) -> tuple[int, str]:
        """Whether linearisation pays: the bytes that it takes for one microbatch, or 0; and why."""
        return 0, "linearisation: none of its own"
