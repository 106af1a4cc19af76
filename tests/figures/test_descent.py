"""What is read off risk curves, and the figures of double descent."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.text import Text

from landscape.errors import RequestError
from landscape.figures import draw, report, summary
from landscape.figures.descent import THEORY, capacity_axes
from landscape.figures.descent_analysis import descent_data, landmarks, over_repetitions, training_error
from landscape.figures.descent_captions import fall
from landscape.figures.style import COLUMN, PAGE, new_figure

CAPACITY = np.array([1, 2, 4, 8, 16, 32, 64])
DOUBLE = np.array([3.0, 1.0, 2.0, 9.0, 4.0, 0.8, 0.9])


def make(test=DOUBLE, *, bases=(), noises=(0.0,), ridges=(0.0, 1.0), seeds=3, family="features", error=True, done=True):
    """A tree as the command writes it: the same curve everywhere, higher with noise and flat with ridge."""
    dims = {"basis": len(bases), "capacity": len(CAPACITY), "seed": seeds, "noise": len(noises), "ridge": len(ridges)}
    dims = {dim: size for dim, size in dims.items() if size}
    shape = tuple(dims.values())
    curve = np.broadcast_to(test.reshape([-1 if dim == "capacity" else 1 for dim in dims]), shape)
    curve = curve * np.linspace(1, 1.1, seeds).reshape([-1 if dim == "seed" else 1 for dim in dims])
    train = np.broadcast_to(
        np.maximum(0.5 - 0.1 * np.arange(7), 0).reshape([-1 if dim == "capacity" else 1 for dim in dims]), shape
    )
    loss = ((*dims, "split"), np.stack([train, curve], -1))
    data = xr.Dataset(
        {"loss": loss, "norm": (tuple(dims), curve), "status": (("capacity",), np.full(7, int(done), np.int8))},
        {
            "capacity": CAPACITY,
            "seed": np.arange(seeds),
            "noise": list(noises),
            "split": ["train", "test"],
            **({"basis": list(bases)} if bases else {}),
            **({"ridge": list(ridges)} if ridges else {}),
        },
        {
            "family": family,
            "capacity_name": "features",
            "threshold": 8,
            "threshold_name": "features = samples",
            "epsilon": 0.15,
            "target_variance": 2.0,
        },
    )
    if error:
        data["error"] = (loss[0], np.clip(loss[1] / 10, 0, 1))
    attrs = {"kind": "descent", "complete": 1, "recipe": "{}", "recipe_hash": "0" * 64}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/descent": data})


def line(tree, **at):
    data = descent_data(tree)
    return data.isel({dim: at.get(dim, 0) for dim in ("basis", "noise", "ridge")})


def test_the_fall_from_a_peak_to_the_last_capacity():
    seeds = 3
    way, factors = max(DOUBLE) - DOUBLE[-1], np.linspace(1, 1.1, seeds)  # the repetitions are multiples of one curve
    mean, half = fall(line(make(seeds=seeds)), "loss")
    assert mean == pytest.approx(way * factors.mean())
    assert half == pytest.approx(4.302653 * way * factors.std(ddof=1) / np.sqrt(seeds), rel=1e-6)  # t of 2 degrees
    assert np.isnan(fall(line(make(seeds=1)), "loss")[1])
    assert fall(line(make(test=np.linspace(3, 1, 7))), "loss") is None


def test_landmarks_of_double_descent():
    found = landmarks(line(make()))
    assert (found.classical, found.peak, found.modern) == (2, 8, 32)
    assert found.theory == 8
    assert found.measured == 1  # the error's curve is a tenth of the loss': below 0.15 from the start


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ([7.0, 6, 5, 4, 3, 2, 1], (64, None, None)),  # one descent
        ([3.0, 1, 2, 3, 4, 5, 6], (2, None, None)),  # a classical U
        ([3.0, 1, 2, 9, 8, 20, 30], (2, None, None)),  # it never comes down again
        ([3.0, 1, 2, 9, np.nan, 4, np.inf], (2, 8, 32)),  # what isn't finite doesn't count
        ([3.0, 1, 1.05, 1.04, 1, 1, 1], (2, None, None)),  # no more than a wiggle
    ],
)
def test_landmarks_of_other_curves(test, expected):
    found = landmarks(line(make(np.array(test), seeds=1)))
    assert (found.classical, found.peak, found.modern) == expected


def test_the_measured_threshold_of_a_regression_is_in_units_of_the_variance():
    one = line(make(error=False))
    np.testing.assert_allclose(training_error(one), np.maximum(0.5 - 0.1 * np.arange(7), 0) / 2)
    assert landmarks(one).measured == 8  # 0.2 / 2 < 0.15 <= 0.3 / 2
    assert landmarks(line(make(error=False, family="samples"))).measured == 64  # the last, not the first


def test_bands_are_quantiles_over_all_repetitions():
    values = xr.DataArray(np.arange(40.0).reshape(2, 5, 4), dims=("seed", "capacity", "draw"))
    middle, low, high = over_repetitions(values)
    assert middle.shape == (5,)
    column = values.values[:, 1].ravel()
    np.testing.assert_allclose((low[1], middle[1], high[1]), np.quantile(column, (0.1, 0.5, 0.9)))
    assert np.isnan(over_repetitions(values * np.nan)[0]).all()


def test_points_that_are_to_do_are_missing():
    tree = make(done=False)
    assert np.isnan(descent_data(tree)["loss"]).all()
    found = landmarks(line(tree))
    assert (found.classical, found.peak, found.measured) == (None, None, None)
    draw(tree)


def test_summary_and_report():
    found = summary(make(noises=(0.0, 0.2)))
    assert len(found["descents"]) == 4
    assert found["descents"][0]["peak_risk"] == pytest.approx(9 * 1.05)
    text = report(found, "d.zarr")
    assert "8: 9.45" in text
    assert "32: 0.840" in text


CASES = {
    "one column": {},
    "bases": {"bases": ("legendre", "chebyshev", "monomial"), "error": False},
    "noises": {"noises": (0.0, 0.1)},
    "a network": {"ridges": (), "seeds": 1},
    "samples": {"family": "samples"},
    "huge": {"test": DOUBLE * 1e9},
}


@pytest.mark.parametrize("case", CASES)
def test_figures_show_the_medians_and_clip_no_text(case):
    figure = draw(make(**CASES[case]))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert figure.get_figwidth() in (COLUMN, PAGE)
    first = figure.axes[0]
    tree = make(**CASES[case])
    middle = over_repetitions(line(tree)["loss"].sel(split="test"))[0]
    assert any(np.array_equal(drawn.get_ydata(), middle) for drawn in first.lines)
    for legend in figure.legends:
        for text in legend.findobj(Text):
            box = text.get_window_extent()
            assert -0.5 <= box.x0 < box.x1 <= width + 0.5, text.get_text()
            assert -0.5 <= box.y0 < box.y1 <= height + 0.5, text.get_text()


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (DOUBLE, {"best before the peak", "best beyond it"}),
        (np.array([7.0, 6, 5, 4, 3, 2, 1]), {"best"}),  # no peak, so nothing lies beyond it
        (np.full(7, np.nan), set()),
    ],
)
def test_the_legend_explains_only_what_is_drawn(test, expected):
    figure = draw(make(test, ridges=()))
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {label for label in labels if "best" in label} == expected
    stars = {drawn.get_markerfacecolor() for axes in figure.axes for drawn in axes.lines if drawn.get_marker() == "*"}
    assert len(stars) == len(expected)


def test_lines_by_noise_are_marked_each_in_its_colour():
    data = descent_data(make(noises=(0.0, 0.2), ridges=())).isel(basis=0, ridge=0)
    axes = new_figure(COLUMN, 2.0).subplots()
    capacity_axes(axes, data, "loss", "noise")
    colors = {drawn.get_color() for drawn in axes.lines if drawn.get_marker() != "*"} - {THEORY["color"]}
    assert len(colors) == 2
    stars = [drawn for drawn in axes.lines if drawn.get_marker() == "*"]
    assert {drawn.get_markeredgecolor() for drawn in stars} == colors
    assert [drawn.get_xdata()[0] for drawn in stars] == [2, 32, 2, 32]


def test_error_has_landmarks_of_its_own():
    one = line(make()).copy(deep=True)
    one["error"][:] = np.linspace(0.7, 0.1, 7)[:, None, None]
    assert landmarks(one).peak == 8
    assert (landmarks(one, "error").peak, landmarks(one, "error").classical) == (None, 64)


def test_too_many_columns_and_unknown_options_are_refused():
    with pytest.raises(RequestError, match="choose one --basis"):
        draw(make(bases=("a", "b", "c"), noises=(0.0, 0.1), error=False))
    figure = draw(make(bases=("legendre", "fourier"), error=False), basis="fourier")
    assert figure.axes[0].get_title() == "fourier"
    with pytest.raises(RequestError, match="unknown basis"):
        draw(make(), basis="fourier")
