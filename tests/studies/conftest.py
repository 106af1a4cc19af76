"""Small networks with and without BatchNorm, and a problem to put them to."""

import pytest
import torch
from torch import nn


def make_mlp(outputs=3, batchnorm=False, dtype=torch.float64):
    layers = [nn.Linear(4, 5), *([nn.BatchNorm1d(5)] if batchnorm else []), nn.Tanh(), nn.Linear(5, outputs)]
    return nn.Sequential(*layers).to(dtype)


@pytest.fixture
def networks():
    """Several small networks; those with BatchNorm have statistics of their own."""

    def make(count=2, batchnorm=False, dtype=torch.float64, outputs=3):
        made = []
        with torch.random.fork_rng():
            for seed in range(count):
                torch.manual_seed(seed)
                made.append(make_mlp(outputs, batchnorm, dtype))
                made[-1](torch.randn(20, 4, dtype=dtype))
        return made

    return make


@pytest.fixture
def data():
    """Three classes in two splits."""
    generator = torch.Generator().manual_seed(9)

    def split(count):
        labels = torch.arange(count) % 3
        return torch.randn(count, 4, generator=generator, dtype=torch.float64) + nn.functional.one_hot(
            labels, 4
        ), labels

    return {"train": split(48), "test": split(21)}


@pytest.fixture
def regression_data():
    generator = torch.Generator().manual_seed(9)
    inputs = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    return {"train": (inputs, inputs[:, :2].sin()), "test": (inputs[:9] + 1, inputs[:9, :2].cos())}
