"""Work shared between the processes of a data-parallel run: each computes a part and sends it to the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_size() -> tuple[int, int]:
    """The number of this process and how many there are; `(0, 1)` outside `torch.distributed`."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def assign(costs: Sequence[float], size: int) -> list[int]:
    """The process for each piece of work: the dearest first, each to the one with the least to do.

    Args:
        costs: Cost of each piece, alike on all processes.
        size: Number of processes.
    """
    load, owners = [0.0] * size, [0] * len(costs)
    for piece in sorted(range(len(costs)), key=lambda piece: (-costs[piece], piece)):
        owners[piece] = min(range(size), key=lambda process: (load[process], process))
        load[owners[piece]] += costs[piece]
    return owners


def exchange(tensors: Sequence[Tensor], owners: Sequence[int]) -> None:
    """Overwrite each tensor with its owner's, on all processes; one message for each owner, dtype and device.

    Args:
        tensors: Alike in number, shape, dtype and order on all processes.
        owners: The process whose values count, for each tensor.
    """
    parcels: dict[tuple[int, torch.dtype, torch.device], list[Tensor]] = {}
    for tensor, owner in zip(tensors, owners, strict=True):
        parcels.setdefault((owner, tensor.dtype, tensor.device), []).append(tensor)
    for (owner, _, _), parcel in parcels.items():
        message = torch.cat([tensor.reshape(-1) for tensor in parcel])
        dist.broadcast(message, src=owner)
        for tensor, values in zip(parcel, torch.split(message, [tensor.numel() for tensor in parcel]), strict=True):
            tensor.copy_(values.view_as(tensor))
