"""Ratios of sharpness between moments, their intervals, and exponents of stored sketches."""

import numpy as np
import pytest
import xarray as xr

from landscape.figures.widening import interval, paths, ratios, widths

STEPS = np.arange(0, 1000, 10)


def study(seeds=4, last=0.99, exponent=0.5):
    """Runs that memorise at step 100 and grok at 400; λmax falls by 10, the loss by 10, the weights grow by √2."""
    random = np.random.default_rng(0)
    late = np.clip((STEPS - 100) / 300, 0, 1)
    accuracy = np.stack([np.where(STEPS >= 100, 1.0, 0.1), np.where(STEPS >= 400, last, 0.1)])
    accuracy = np.broadcast_to(accuracy, (seeds, *accuracy.shape))
    loss = np.broadcast_to(10.0**-late, (seeds, 2, len(STEPS)))
    factor = np.exp(0.1 * random.normal(size=(seeds, 1)))
    walk = random.normal(size=(seeds, len(STEPS), 16)).cumsum(1)
    measured = STEPS[::5]
    top = factor * 10.0 ** -late[::5]
    return xr.Dataset(
        {
            "accuracy": (("seed", "split", "step"), accuracy),
            "loss": (("seed", "split", "step"), loss),
            "weight_norm": (("seed", "step"), np.broadcast_to(2.0 ** (late / 2), (seeds, len(STEPS)))),
            "collapsed": (("seed", "step"), np.zeros((seeds, len(STEPS)))),
            "update_cosine": (("seed", "step"), np.full((seeds, len(STEPS)), 0.25)),
            "status": (("seed", "step"), np.ones((seeds, len(STEPS)), np.int8)),
            "sketch": (("seed", "bucket", "step"), walk.transpose(0, 2, 1)),
            "hessian_max": (("seed", "measured_step"), top),
            "sam_sharpness": (("seed", "rho", "measured_step"), top[:, None] ** 2),
        },
        {"seed": np.arange(seeds), "split": ["train", "test"], "step": STEPS, "measured_step": measured, "rho": [0.1]},
        {"threshold": 0.95, "memorised": 0.99},
    )


def test_ratios_of_runs_that_fall_alike():
    found = widths(study())
    expected = {"hessian_max": 0.1, "sam_sharpness": 0.01, "times_norm": 0.2, "over_loss": 1.0}
    for name, value in expected.items():
        assert ratios(found[name]).sel(moment="end").values == pytest.approx([value] * 3)
    assert (found["hessian_max"].sel(moment="grokked") == found["hessian_max"].sel(moment="end")).all()


def test_runs_that_did_not_grok_are_compared_at_the_end_alone():
    found = ratios(widths(study(last=0.5))["hessian_max"])
    assert found.sel(moment="grokked").isnull().all()
    assert found.sel(moment="end").values == pytest.approx([0.1] * 3)


def test_the_way_of_a_random_walk():
    found = paths(study())
    assert found.sizes["seed"] == 4
    assert (abs(found["exponent"] - 1) < 4 * found["exponent_stderr"]).all()
    assert (found["cosine"] == 0.25).all()
    assert found["lag"].values[0] == 10
    assert (found["displacement"].sel(lag=10) == 1).all()


def test_bootstrap_intervals_hold():
    random, held = np.random.default_rng(1), 0
    for _ in range(100):
        low, middle, high = interval(random.normal(size=30), np.mean)
        assert low < middle < high
        held += low <= 0 <= high
    assert 86 <= held <= 100
    assert np.isnan(interval(np.array([1.0]), np.mean)[[0, 2]]).all()
    assert np.isnan(interval(np.array([np.nan]), np.mean)).all()
