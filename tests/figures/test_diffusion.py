"""Displacement exponents of paths with known ones, and their intervals."""

import math

import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.figures.diffusion import diffusion, lags_up_to


def walk(count, dim, seed):
    return np.random.default_rng(seed).normal(size=(count, dim)).cumsum(0)


def test_a_random_walk_has_exponent_one():
    found = diffusion(walk(4000, 64, 0))
    assert found.exponent == pytest.approx(1, abs=0.03)
    assert abs(found.exponent - 1) < 4 * found.stderr
    assert found.displacement == pytest.approx(64 * found.lags, rel=0.15)  # forty stretches of the longest lag


def test_straight_motion_has_exponent_two():
    found = diffusion(np.arange(300.0)[:, None] * np.random.default_rng(0).normal(size=5))
    assert found.exponent == pytest.approx(2, abs=1e-12)
    assert found.stderr < 1e-12


def test_a_walk_in_a_bowl_is_held_back():
    """Ornstein-Uhlenbeck, x' = a x + noise: MSD = 2 s² (1 − a^lag), whose slope by logarithms is known."""
    a, random = 0.9, np.random.default_rng(1)
    path = [random.normal(size=32) / math.sqrt(1 - a * a)]
    for step in random.normal(size=(8000, 32)):
        path.append(a * path[-1] + step)
    found = diffusion(np.stack(path), longest=0.01)
    expected = 2 * 32 / (1 - a * a) * (1 - a**found.lags)
    assert found.displacement == pytest.approx(expected, rel=0.05)
    slope = np.polyfit(np.log(found.lags), np.log(expected), 1)[0]
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
    assert math.isnan(diffusion(np.ones((50, 2))).exponent)
    with pytest.raises(RequestError, match="at least 20 points, got 19"):
        diffusion(np.ones((19, 2)))
    assert lags_up_to(3).tolist() == [1, 2, 3]
