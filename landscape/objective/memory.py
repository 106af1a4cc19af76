"""How much of a curvature is kept between products: what graphs take is measured, and what fits a budget decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown

STRATEGIES = ("auto", "kept", "linearized", "recomputed")
MIB = 2**20
CPU_BUDGET = 2048 * MIB
"""Bytes that may be kept on a CPU where nothing is said: what is free there is other programs' as well."""

Built = TypeVar("Built")


@dataclass(frozen=True)
class Strategy:
    """How products are made, and why.

    Args:
        name: `kept` (graphs of all microbatches are built once and reused), `linearized` (kept as well, traced),
            `recomputed` (built again for each product), or `mixed` (as many as fit are kept, the rest is recomputed).
        num_batches: Number of microbatches.
        num_kept: Those whose graphs are kept.
        batch_size: Samples in a microbatch.
        graph_bytes: Bytes that one microbatch's graph takes, as measured on the first.
        memory_budget: Bytes that all together may take, those in work included.
        reason: Why, in one line.
    """

    name: str
    num_batches: int
    num_kept: int
    batch_size: int
    graph_bytes: int
    memory_budget: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def check_strategy(strategy: str) -> str:
    """Return the strategy's name, or raise naming the nearest one."""
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    return strategy


def budget_on(device: torch.device, memory_budget: float | None) -> int:
    """The bytes that may be used: those asked for, else half of what is free on a GPU, 2 GiB on a CPU.

    Raises:
        RequestError: If the budget isn't positive.
    """
    if memory_budget is not None:
        if not memory_budget > 0:
            raise RequestError(f"memory_budget must be a positive number of bytes, got {memory_budget}")
        return int(min(memory_budget, 2**62))
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else CPU_BUDGET


def measure(build: Callable[[], Built], known: Iterable[Tensor]) -> tuple[Built, int]:
    """Build a graph and count the bytes of all tensors that it saves, each storage once.

    Args:
        build: Builds it.
        known: Tensors that exist anyway, such as parameters.

    Returns:
        What was built, and the bytes.
    """
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage  # held, so that its address isn't given to another
        return tensor.detach()  # an output that a function saved would hold that function: a circle, never freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        built = build()
    for tensor in known:
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    return built, sum(storage.nbytes() for storage in saved.values())


def room(budget: int, graph: int, num_batches: int) -> int:
    """The number of graphs that can be kept; -1 where not even one can be worked on.

    The products' own intermediate values, and a graph that is recomputed, take the room of one graph each.
    """
    if (num_batches + 1) * graph <= budget:
        return num_batches
    return max(-1, budget // graph - 2)


def too_small(budget: int, graph: int, num_graphs: int, what: str, advice: str) -> RequestError:
    """The answer where the budget doesn't hold what was asked for."""
    needed = -(-num_graphs * graph // MIB)
    return RequestError(
        f"memory_budget of {budget / MIB:.4g} MiB is too small: {what} takes {needed} MiB; "
        f"raise it to that, or {advice}"
    )
