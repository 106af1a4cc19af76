"""One of two processes that share Muon's work: `python muon_ranks.py RANK FOLDER`; test_muon.py starts both."""

import sys

import torch
import torch.distributed as dist
from torch import nn

import landscape.optimizers.muon as module


def descend(dtype):
    """A few steps of Muon on a tiny network; every process draws the same data."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 5), nn.Linear(5, 5)).double()
    model.append(nn.Linear(5, 2).double())
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    optimizer = module.muon(model, lr=0.05, dtype=dtype)
    for _ in range(4):
        x = torch.randn(16, 2, 5, dtype=torch.float64, generator=generator)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def process(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/meeting", world_size=2, rank=rank)
    computed, polar_factor = [], module.polar_factor

    def counted(matrices, **settings):
        computed.append(len(matrices))
        return polar_factor(matrices, **settings)

    module.polar_factor = counted
    ends = {dtype: descend(dtype) for dtype in ("float64", "bfloat16")}
    torch.save({"ends": ends, "computed": sum(computed)}, f"{folder}/{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
