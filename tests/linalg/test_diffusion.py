"""Displacement exponents of paths with known ones, their intervals, and sketches."""

import math

import pytest
import torch

from landscape.errors import RequestError
from landscape.linalg.diffusion import Sketch, diffusion, lags_up_to


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def walk(count, dim, seed):
    return torch.randn(count, dim, generator=seeded(seed), dtype=torch.float64).cumsum(0)


def test_a_random_walk_has_exponent_one():
    found = diffusion(walk(4000, 64, 0))
    assert found.exponent == pytest.approx(1, abs=0.03)
    assert abs(found.exponent - 1) < 4 * found.stderr
    assert found.displacement == pytest.approx(64 * found.lags.double(), rel=0.15)  # forty stretches of the longest lag


def test_straight_motion_has_exponent_two():
    path = torch.arange(300.0)[:, None] * torch.randn(5, generator=seeded(0))
    found = diffusion(path)
    assert found.exponent == pytest.approx(2, abs=1e-5)
    assert found.stderr < 1e-5


def test_a_walk_in_a_bowl_is_held_back():
    """Ornstein-Uhlenbeck, x' = a x + noise: MSD = 2 s² (1 − a^lag), whose slope by logarithms is known."""
    a, steps = 0.9, torch.randn(8000, 32, generator=seeded(1), dtype=torch.float64)
    path = [torch.randn(32, generator=seeded(2), dtype=torch.float64) / math.sqrt(1 - a * a)]
    for step in steps:
        path.append(a * path[-1] + step)
    found = diffusion(torch.stack(path), longest=0.01)
    expected = 2 * 32 / (1 - a * a) * (1 - a ** found.lags.double())
    assert found.displacement == pytest.approx(expected, rel=0.05)
    x = found.lags.double().log() - found.lags.double().log().mean()
    slope = float((x * expected.log()).sum() / x.square().sum())
    assert slope < 0.6
    assert found.exponent == pytest.approx(slope, abs=0.02)
    assert found.stderr < 0.02


def test_intervals_hold():
    held = 0
    for seed in range(200):
        found = diffusion(walk(200, 32, seed))
        held += abs(found.exponent - 1) <= 1.96 * found.stderr
    assert 176 <= held <= 198  # neighbouring lags share starts, so that it is a little less than 190


def test_paths_that_stand_still_or_are_short():
    assert math.isnan(diffusion(torch.ones(50, 2)).exponent)
    with pytest.raises(RequestError, match="at least 20 points, got 19"):
        diffusion(torch.ones(19, 2))
    assert lags_up_to(3).tolist() == [1, 2, 3]


def test_sketches_keep_lengths():
    sketches = [Sketch(300, 64, seeded(seed)) for seed in range(400)]
    x, y = torch.randn(2, 300, generator=seeded(9), dtype=torch.float64)
    lengths = torch.stack([sketch(x).square().sum() for sketch in sketches]) / x.square().sum()
    assert abs(float(lengths.mean()) - 1) < 4 * float(lengths.std()) / 20
    assert float(lengths.std()) < 1.15 * math.sqrt(2 / 64)
    torch.testing.assert_close(sketches[0](x - 2 * y), sketches[0](x) - 2 * sketches[0](y))


def test_a_sketched_walk_keeps_its_exponent():
    path = walk(1000, 500, 3)
    sketch = Sketch(500, 128, seeded(4))
    whole, small = diffusion(path), diffusion(torch.stack([sketch(x) for x in path]))
    assert small.exponent == pytest.approx(whole.exponent, abs=0.03)
    assert small.displacement == pytest.approx(whole.displacement, rel=0.1)
