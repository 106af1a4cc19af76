"""When runs memorise and generalise, from records made by hand; the pictures of such a store."""

import numpy as np
import pytest
import xarray as xr

from landscape.errors import RequestError
from landscape.figures import draw, report, summary
from landscape.figures.grokking import milestones, over_seeds

STEPS = np.array([0, 1, 3, 10, 30, 100, 300, 1000])
NAN = np.nan


def node(test, train=None, weight_decay=(1.0,), extra=True):
    """A node `grok`: test accuracies of shape `(seed, weight_decay, step)`; NaN where a run had stopped."""
    test = np.asarray(test, float)
    train = np.where(np.isnan(test), NAN, STEPS >= 10) if train is None else np.asarray(train, float)
    seeds = np.arange(len(test))
    data = xr.Dataset(
        {
            "accuracy": (("seed", "weight_decay", "split", "step"), np.stack([train, test], 2)),
            "collapsed": (("seed", "weight_decay", "step"), 0 * test),
            "status": (("seed", "weight_decay", "step"), np.where(np.isnan(test), 4, 1)),
        },
        coords={"seed": seeds, "weight_decay": list(weight_decay), "split": ["train", "test"], "step": STEPS},
        attrs={"threshold": 0.95, "memorised": 0.99},
    )
    if extra:
        data["weight_norm"], data["gradient_norm"] = 10 + 0 * data["collapsed"], 1 + 0 * data["collapsed"]
        measured = data["collapsed"].isel(step=slice(0, None, 2)).rename(step="measured_step")
        for name in ("hessian_max", "hessian_max_stderr"):
            data[name] = (1 + measured).assign_attrs(units="nats / distance²")
    return data


def rising(at, stop=None):
    """A test accuracy that is 1 from a step on, until the run stops."""
    return np.where((stop < STEPS) if stop else False, NAN, (at <= STEPS).astype(float))


def test_milestones():
    slipping = np.array([0, 0, 0, 0, 0.5, 0.96, 0.8, 0.9])
    found = milestones(node([[rising(100, stop=300)], [rising(2000)], [slipping]])).isel(weight_decay=0)
    assert found["grokked"].values.tolist() == [True, False, True]
    assert found["grokked_step"].values.tolist() == [100, 1000, 100]
    assert found["memorised_step"].values.tolist() == [10, 10, 10]
    assert found["delayed"].values.tolist() == [True, False, True]
    assert found["delay"].values.tolist() == [90, 990, 90]
    assert found["last_step"].values.tolist() == [300, 1000, 1000]
    assert found["final_accuracy"].sel(split="test").values.tolist() == [1, 0, 0.9]
    assert found["lowest_after"].values.tolist() == [1, 0, 0.8]
    assert not any(found[name].isnull().any() for name in found)


def test_a_run_that_is_not_stored_yet_counts_for_nothing():
    found = over_seeds(milestones(node([[rising(100)], [np.full(8, NAN)]])))
    assert int(found["runs"].item()) == int(found["grokked"].item()) == 1
    assert found["grokked_step"].isel(weight_decay=0).values.tolist() == [100, 100, 100]


def test_medians_beyond_the_budget():
    late = [[rising(30)], [rising(100)], [rising(2000)], [rising(2000)], [rising(2000)]]
    found = over_seeds(milestones(node(late))).isel(weight_decay=0)
    assert found["grokked_step_reached"].values.tolist() == [True, False, False]
    assert found["grokked_step"].values.tolist() == [30, 1000, 1000]
    assert found["memorised_step_reached"].all()
    none = over_seeds(milestones(node([[rising(2000)]] * 3))).isel(weight_decay=0)
    assert not none["grokked_step_reached"].any()
    assert (none["grokked_step"] == 1000).all()


def test_bootstrap_intervals_cover_the_median():
    """Of 100 samples of 9 log-normal times, some 95 % of the intervals hold the median of the distribution."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        times = np.exp(5 + generator.normal(size=9))
        events = xr.Dataset(
            {
                **dict.fromkeys(("memorised_step", "grokked_step", "delay"), ("seed", times)),
                **{name: ("seed", np.ones(9, bool)) for name in ("memorised", "grokked", "delayed")},
                "diverged": ("seed", np.zeros(9, bool)),
                "last_step": ("seed", np.full(9, 10**6)),
                "final_accuracy": (("seed", "split"), np.ones((9, 2))),
                "collapsed": ("seed", np.zeros(9)),
            }
        )
        low, _, high = over_seeds(events, resamples=200)["grokked_step"].values
        hits += low <= np.exp(5) <= high
    assert 0.88 <= hits / 100 <= 1  # the percentile interval of a median of 9 covers 93 to 98 %


def tree(data):
    """A store in memory."""
    made = xr.DataTree(children={"grok": xr.DataTree(data)})
    made.attrs = {"kind": "grok", "complete": 1, "recipe": "{}", "recipe_hash": "0" * 64}
    return made


@pytest.mark.parametrize("decays", [1, 3, 6])
@pytest.mark.parametrize("picture", ["all", "milestones"])
def test_pictures(decays, picture):
    at = [30, 100, 300, 2000, 1000, 100][:decays]
    data = node([[rising(step) for step in at]] * 3, weight_decay=np.arange(decays) / 4)
    figure = draw(tree(data), picture)
    figure.draw_without_rendering()
    if picture == "all":
        assert len(figure.axes) == 3 * (decays if decays <= 4 else 1)
        lines = figure.axes[0].get_lines()
        test = next(line for line in lines if line.get_linestyle() == "--")
        assert test.get_xdata().tolist() == STEPS[1:].tolist()  # a log axis has no place for 0
        assert test.get_ydata().tolist() == [100 * value for value in rising(30)[1:]]
    else:
        drawn = np.concatenate([line.get_ydata() for line in figure.axes[0].get_lines()])
        reached = {float(step) for step in at if step <= 1000}
        assert reached <= set(drawn)


def test_bands_end_where_half_of_the_runs_have():
    data = node([[rising(10, stop=30)], [rising(10, stop=30)], [rising(10, stop=300)]])
    line = next(line for line in draw(tree(data)).axes[0].get_lines() if line.get_linestyle() == "--")
    assert line.get_xdata().tolist() == [1, 3, 10, 30]


def test_nothing_to_draw():
    empty = node([[np.full(8, NAN)]])
    with pytest.raises(RequestError, match="no run is stored yet"):
        draw(tree(empty))
    alone = node([[rising(100)]]).isel(weight_decay=0, drop=True)
    with pytest.raises(RequestError, match="no setting was swept"):
        draw(tree(alone), "milestones")
    draw(tree(alone)).draw_without_rendering()


def test_summary_and_report():
    data = node([[rising(2000), rising(100)], [rising(1000), rising(100)]], weight_decay=(0, 1.0))
    data["collapsed"].loc[{"weight_decay": 0, "step": 1000}] = 0.25
    found = summary(tree(data))
    never, late = found["grokking"]
    assert never["settings"] == {"weight_decay": 0.0}
    assert (never["grokked"], never["runs"], late["grokked"]) == (1, 2, 2)
    assert never["grokked_step"] == {"low": 1000.0, "median": None, "high": None}
    assert late["delay"] == {"low": 90.0, "median": 90.0, "high": 90.0}
    assert never["collapsed"] == 0.25
    text = report(found, "g.zarr")
    assert "> budget [1000, >]" in text
    assert "softmax collapse" in text
    assert "softmax collapse" not in report(summary(tree(node([[rising(100)]]))), "g.zarr")
