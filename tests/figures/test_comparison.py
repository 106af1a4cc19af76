"""The comparison of ways to fit: which learning rate is best, and how it is drawn."""

import numpy as np
import pytest
import xarray as xr

from landscape.figures.comparison import FLOOR, best_rates, comparison_figure, lowest_in_words, nodes_in_words
from landscape.figures.style import PAGE


@pytest.fixture
def fits():
    """Two ways, three learning rates (one of them untried), three pairs, two budgets."""
    barrier = np.full((1, 2, 3, 3, 2), 0.5)
    barrier[0, 0, :, :, 0] = [[0.3, 0.3, 0.3], [0.1, 0.2, 0.9], [0.05, np.nan, np.nan]]
    barrier[0, 0, :, :, 1] = [[0.0, 0.0, 0.3], [0.0, 0.0, 0.1], [0.0, 0.0, 0.1]]
    barrier[0, 1, 2] = 0.0  # untried: whatever stands there doesn't count
    return xr.Dataset(
        {"barrier": (("curve", "fit", "rate", "pair", "budget"), barrier)},
        coords={
            "curve": ["bezier"],
            "fit": ["adam-cosine-golden", "adam-cosine-uniform"],
            "learning_rate": (("fit", "rate"), [[0.01, 0.02, 0.05], [0.1, 0.3, np.nan]]),
            "optimizer": ("fit", ["adam", "adam"]),
            "schedule": ("fit", ["cosine", "cosine"]),
            "nodes": ("fit", ["golden", "uniform"]),
            "budget": [75, 600],
        },
    )


@pytest.fixture
def tree(fits):
    both = xr.concat([fits, fits], xr.Variable("split", ["train", "test"]))
    both["learning_rate"] = fits["learning_rate"]
    line = xr.Dataset({"barrier": (("pair", "split"), [[0.6, 0.5]] * 3)}, coords={"split": ["train", "test"]})
    return xr.DataTree.from_dict({"/x": both, "/x/linear": line})


def test_the_best_learning_rate_has_the_lowest_median(fits):
    best = best_rates(fits).sel(curve="bezier")
    golden = best.sel(fit="adam-cosine-golden")
    # diverged fits count as infinitely high; of equal medians the lower mean wins, then the smaller rate
    assert golden["learning_rate"].values.tolist() == [0.02, 0.02]
    assert golden["median"].values.tolist() == [0.2, 0.0]
    assert golden["low"].values.tolist() == [0.1, 0.0]
    assert golden["high"].values.tolist() == [0.9, 0.1]
    assert best["learning_rate"].sel(fit="adam-cosine-uniform").values.tolist() == [0.1, 0.1]


def test_numbers_in_words(fits):
    assert lowest_in_words(fits, 2) == "Bézier curve: adam cosine 0.20 / 0 (0.02 / 0.02)"
    tried = fits.isel(rate=[0, 1])
    above = np.array([0.3, 0.3, 0.3, 0.1, 0.2, 0.9, 0.3, 0.1])  # four of twelve are exactly 0
    ratio = np.exp(np.log(above / 0.5).mean())
    assert nodes_in_words(tried).endswith(f"golden 92% of 12 ({ratio:.2f}).")  # all but the 0.9 are lower
    assert nodes_in_words(fits.sel(fit=["adam-cosine-uniform"])) == ""


def test_figure_draws_each_way_once_in_each_panel(tree):
    figure = comparison_figure(tree, "x")
    assert figure.get_size_inches()[0] == PAGE
    rates, budgets = figure.axes
    assert len(rates.lines) == len(budgets.lines) == 2
    lowest = rates.lines[0].get_ydata()
    assert lowest.tolist() == [FLOOR] * 3  # medians of 0 stand on the floor
    assert [label.get_text() for label in figure.legends[0].get_texts()] == [
        "Adam, cosine",
        "t by the golden ratio",
        "",
        "t uniform",
    ]
