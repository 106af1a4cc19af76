"""Which learning rate is best, and what is said of methods, from records made by hand."""

import numpy as np
import pytest
import xarray as xr

from landscape.figures.grokking import best_place
from landscape.figures.grokking_claims import claims, said
from landscape.figures.grokking_sweeps import Tuned, tuned

STEPS = np.array([0, 1, 10, 100, 1000])
RATES = [0.01, 0.03, 0.1]


def runs(first, dims, final=1.0):
    """Runs whose test accuracy is `final` from a step on; `first` is of the shape of `dims`."""
    first = np.asarray(first, float)
    test = np.where(first[..., None] <= STEPS, final, 0.0)
    accuracy = np.stack([np.ones_like(test), test], -2)
    return xr.Dataset(
        {
            "accuracy": ((*dims, "split", "step"), accuracy),
            "collapsed": ((*dims, "step"), 0.25 * test),
            "status": ((*dims, "step"), np.ones(test.shape, int)),
        },
        coords={"split": ["train", "test"], "step": STEPS},
        attrs={"threshold": 0.95, "memorised": 0.99},
    )


@pytest.mark.parametrize(
    ("first", "place"),
    [
        ([[100, 10], [100, 10], [10, 10]], 2),
        ([[10, 9999], [100, 1000], [1000, 1000]], 1),  # two seeds late before one early
        ([[1000, 1000], [100, 1000], [100, 1000]], 1),  # of equal ones the first
    ],
)
def test_most_seeds_come_first_then_the_earliest(first, place):
    assert best_place(runs(first, ("rate", "seed")), "rate") == place


def test_where_nothing_groks_the_most_accurate_is_the_best():
    found = runs([[1, 1]] * 3, ("rate", "seed"), np.array([0.2, 0.6, 0.4])[:, None, None])
    assert best_place(found, "rate") == 1


def compare(tried, further, finals=1.0):
    """Methods with the steps at which their tuning and their further runs grok."""
    names = [f"m{number}" for number in range(len(tried))]
    lrs = np.array([RATES] * len(names))
    tuning = runs(tried, ("method", "rate", "seed")).assign_coords(method=names, lr=(("method", "rate"), lrs))
    measured = runs(further, ("method", "seed"), finals)
    best = [best_place(tuning.isel(method=one).drop_vars("lr"), "rate") for one in range(len(names))]
    lr = lrs[np.arange(len(names)), best]
    return tuned(tuning, measured.assign_coords(method=names, lr=("method", lr)))


def test_the_fastest_comes_first_with_the_rate_that_was_chosen_and_where_it_lies():
    tried = [[[1000], [100], [1000]], [[9999], [100], [10]], [[9999], [9999], [9999]]]
    chosen = compare(tried, [[100, 100, 1000], [10, 10, 10], [9999, 9999, 9999]])
    assert [one.name for one in chosen] == ["m1", "m0", "m2"]
    assert [one.lr for one in chosen] == [0.1, 0.03, 0.01]
    assert [one.settled for one in chosen] == [False, True, False]
    assert [one.grokked for one in chosen] == [10, 100, np.inf]
    assert said(chosen) == "m1 10; m0 100; m2 not within the budget (0 % at the end)"


def test_those_that_do_not_grok_follow_by_their_accuracy():
    finals = np.array([0.5, 0.9])[:, None, None]
    chosen = compare([[[9999]] * 3] * 2, [[1, 1, 1]] * 2, finals)
    assert [one.name for one in chosen] == ["m1", "m0"]
    assert [one.test for one in chosen] == [0.9, 0.5]
    assert [one.collapsed for one in chosen] == [0.225, 0.125]


def one(name, step, *, memorised=10, collapsed=0.0):
    """A method that groks at a step, or never."""
    bounds, grokked = ["low", "median", "high"], np.isfinite(step)
    found = xr.Dataset(coords={"bound": bounds})
    found["grokked_step"] = ("bound", [step if grokked else 1000.0] * 3)
    found["grokked_step_reached"] = ("bound", [grokked] * 3)
    found["memorised_step"] = ("bound", [memorised] * 3)
    found["collapsed"] = collapsed
    return Tuned(name, 0.01, True, found)


def claim(*undecayed, decayed=()):
    return " ".join(claims({method.name: method for method in decayed}, {method.name: method for method in undecayed}))


def test_claims_are_borne_out_or_not():
    softmax, stable = one("Adam, softmax", np.inf, collapsed=0.9), one("Adam, StableMax", 500)
    assert claim(softmax) == (
        "Prieto et al. report that without decay Adam's softmax collapses in float32 and never groks (reproduced: up "
        "to 90 % of the samples with a loss of exactly 0)."
    )
    assert "(not reproduced" in claim(one("Adam, softmax", np.inf, collapsed=0.1))
    assert "(not reproduced" in claim(one("Adam, softmax", 100, collapsed=0.9))
    assert "but float64, with 0 %, doesn't grok" in claim(softmax, one("Adam, softmax in float64", np.inf))
    assert "float64" not in claim(softmax, one("Adam, softmax in float64", 200))
    assert "StableMax groks (reproduced)" in claim(softmax, stable)
    assert "StableMax groks (not reproduced)" in claim(one("Adam, StableMax", np.inf))
    assert "at once (reproduced: 30 steps, memorised at 10)" in claim(one("⊥ Adam, softmax", 30))
    assert "at once (not reproduced: 31 steps, memorised at 10)" in claim(one("⊥ Adam, softmax", 31))
    assert "at once (not reproduced: inf" not in claim(one("⊥ Adam, softmax", np.inf))
    assert claim() == ""


def test_grokfast_is_compared_at_equal_decay():
    slow = (one("AdamW", 100), one("Grokfast AdamW", 150))
    fast = (one("Adam, StableMax", 100), one("Grokfast Adam, StableMax", 40))
    assert "1.5 times the steps at equal decay (a speed-up: not reproduced)" in claim(decayed=slow)
    assert "0.4 times the steps without (a speed-up: reproduced)" in claim(*fast, decayed=slow)
    assert "more than the budget without" in claim(fast[0], one("Grokfast Adam, StableMax", np.inf))
