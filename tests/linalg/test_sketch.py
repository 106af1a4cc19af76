"""Sketches keep lengths in the mean, and are linear."""

import math

import torch

from landscape.linalg.sketch import Sketch


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_sketches_keep_lengths():
    sketches = [Sketch(300, 64, seeded(seed)) for seed in range(400)]
    x, y = torch.randn(2, 300, generator=seeded(9), dtype=torch.float64)
    lengths = torch.stack([sketch(x).square().sum() for sketch in sketches]) / x.square().sum()
    assert abs(float(lengths.mean()) - 1) < 4 * float(lengths.std()) / 20
    assert float(lengths.std()) < 1.15 * math.sqrt(2 / 64)
    torch.testing.assert_close(sketches[0](x - 2 * y), sketches[0](x) - 2 * sketches[0](y))
    assert sketches[0](x.float()).dtype is torch.float32
