r"""Data-parallel training: `torchrun --nproc-per-node=N -m landscape.cli train …`.

Each of the processes, called ranks, holds the whole network and the whole data set, and takes its part of every batch.
The gradients are added up after each backward pass, weighted by samples or tokens, so that a run of several ranks is
that of one but for rounding. What depends on more than one sample isn't: BatchNorm sees each rank's part alone, and
dropout draws other numbers on each rank.

Rank 0 alone evaluates, writes files and shows progress; the others wait for it. An optimizer may share out its work
among the ranks, but rank 0 must hold its whole state, since it alone saves it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from landscape.errors import RequestError, reason
from landscape.objective.losses import mean

PATIENCE = timedelta(hours=12)
"""How long ranks wait for rank 0 to evaluate; torchrun itself ends them where one has died."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train one network together, as seen by one of them.

    Args:
        number: This process.
        size: How many there are; with more than one, torch's default process group is theirs.
    """

    number: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process evaluates, writes and reports."""
        return self.number == 0

    def part(self, indices: Tensor) -> tuple[Tensor, float]:
        """This rank's part of a batch, and its weight.

        Args:
            indices: The sample numbers of the whole batch, shape `(B,)`, the same on all ranks.

        Returns:
            As equal a part as there is, shape `(B',)`, of weight 1; where the batch has fewer samples than there are
            ranks, a sample of weight 0.
        """
        part = indices.tensor_split(self.size)[self.number]
        return (part, 1.0) if len(part) else (indices[:1], 0.0)

    def keys(self, *keys: int) -> tuple[int, ...]:
        """Keys of a seed that is another one on each rank; on the first as they are."""
        return keys if self.first else (*keys, self.number)

    def mean(self, values: Tensor, counts: Tensor | None, weight: float = 1.0) -> Tensor:
        r"""This rank's term of the mean over the whole batch, :math:`\sum_{i \in \text{part}} \ell_i / \sum_i n_i`.

        Args:
            values: Losses, or their sums over tokens, shape `(B',)`.
            counts: Numbers of tokens, shape `(B',)`; None where each sample counts once.
            weight: Of this part.

        Returns:
            A scalar, differentiable; the terms of all ranks add up to the mean.
        """
        if self.size == 1:
            return mean(values, counts)
        total = self.total(weight * (counts.sum() if counts is not None else values.new_tensor(len(values))).double())
        return weight * values.sum() / total.to(values.dtype)

    def total(self, number: Tensor) -> Tensor:
        """The sum of a number, a scalar, over all ranks."""
        if self.size == 1:
            return number
        number = number.clone()
        dist.all_reduce(number)
        return number

    @torch.no_grad()
    def add(self, value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """Add up the ranks' gradients, in place, and their terms of the loss.

        Args:
            value: This rank's term, a scalar.
            parameters: The network's; one that has a gradient on some ranks alone counts as zero on the others.

        Returns:
            The sum of the terms.
        """
        if self.size == 1:
            return value
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        # Which gradients there are must be known to all: one is sent after the other, in one order.
        present = torch.tensor([parameter.grad is not None for parameter in wanted], device=value.device).float()
        dist.all_reduce(present)
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for parameter, ranks in zip(wanted, present.tolist(), strict=True):
            if ranks:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_dtype.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(pieces, gradients, strict=True)])
        return self.total(value)

    def decide(self, prepare: Callable[[], str]) -> str:
        """Let the first rank prepare the work, and tell the others how it came out.

        Args:
            prepare: Called on the first rank alone.

        Returns:
            What it returned there.

        Raises:
            RequestError: On the other ranks if it raised on the first.
        """
        if self.size == 1:
            return prepare()
        box: list[tuple[bool, str] | None] = [None]
        try:
            box = [(True, prepare())] if self.first else box
        except BaseException as error:
            dist.broadcast_object_list([(False, reason(error))], src=0)
            raise
        dist.broadcast_object_list(box, src=0)
        done, text = box[0] or (False, "nothing")
        if not done:
            raise RequestError(f"rank 0 stopped: {text}")
        return text


ALONE = Ranks()


@contextmanager
def launched(device: str) -> Iterator[tuple[Ranks, str]]:
    """The ranks that torchrun launched, connected as long as the context lasts; one alone without torchrun.

    Args:
        device: `cpu`, where they talk by gloo, or `cuda`, by NCCL.

    Yields:
        The ranks, and this one's own device: `cuda:LOCAL_RANK` with CUDA.

    Raises:
        RequestError: If there are more ranks on this machine than GPUs, or all were given one GPU.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if not dist.is_available() or not dist.is_torchelastic_launched() or size == 1:
        yield ALONE, device
        return
    cuda = device.startswith("cuda")
    if cuda:
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        launched_here = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
        if device != "cuda":
            raise RequestError(f"--device {device}: torchrun gives each process a GPU of its own; use --device cuda")
        if launched_here > count:
            raise RequestError(f"torchrun launched more processes than the {count} GPUs: give --nproc-per-node={count}")
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
