"""One of two processes that share Shampoo's work: `python two_ranks.py RANK FOLDER`; test_ranks.py starts both."""

import sys

import torch
import torch.distributed as dist
from torch import nn

import landscape.optimizers.shampoo as module
from landscape.optimizers.ranks import exchange


def descend():
    """A few steps of Shampoo on a tiny network; every process draws the same data."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    optimizer = module.shampoo(model, lr=0.05, every=2)
    for _ in range(5):
        x = torch.randn(16, 5, dtype=torch.float64, generator=generator)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def process(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/meeting", world_size=2, rank=rank)
    computed, inverse_root = [], module.inverse_root

    def counted(matrices, *args, **kwargs):
        computed.append(len(matrices))
        return inverse_root(matrices, *args, **kwargs)

    module.inverse_root = counted
    values = [torch.full((2, 3), float(rank)), torch.full((4,), rank + 10, dtype=torch.int64)]
    exchange(values, [1, 0])
    torch.save({"end": descend(), "computed": sum(computed), "exchanged": values}, f"{folder}/{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
