"""Principal axes of paths of known shape; spectra made by hand; the picture of what happens inside a run."""

import numpy as np
import pytest
import xarray as xr

from landscape.errors import RequestError
from landscape.figures import draw
from landscape.figures.grok_panels import spectrum_shares
from landscape.figures.grokking import chosen
from landscape.figures.principal import principal

STEPS = np.arange(0, 300, 5)
MEASURED = STEPS[::6]
FREQUENCIES = np.arange(7)


def embedded(plane, dims=9, seed=0):
    """Points of a plane in more dimensions, turned and moved, so that no coordinate is special."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(dims, dims)))[0][:2]
    return plane @ turn + 3


def test_a_straight_line_has_one_axis():
    along = np.array([0.0, 1, 3, 4, 7])
    seen = principal(embedded(np.stack([along, 0 * along], 1)))
    np.testing.assert_allclose(seen.share, [1, 0], atol=1e-15)
    np.testing.assert_allclose(seen.coordinates, np.stack([along, 0 * along], 1), atol=1e-12)


def test_a_circle_has_two_equal_axes():
    angle = 2 * np.pi * np.arange(40) / 40
    seen = principal(embedded(2.5 * np.stack([np.cos(angle), np.sin(angle)], 1)))
    np.testing.assert_allclose(seen.share, [0.5, 0.5])
    assert seen.coordinates[0].tolist() == [0, 0]
    np.testing.assert_allclose(np.linalg.norm(seen.coordinates - seen.coordinates.mean(0), axis=1), 2.5)


def test_an_ellipse_on_its_axes():
    """Of a whole turn the variances are a²/2 and b²/2."""
    angle = 2 * np.pi * np.arange(64) / 64
    seen = principal(embedded(np.stack([3 * np.cos(angle), np.sin(angle)], 1)))
    np.testing.assert_allclose(seen.share, [0.9, 0.1])


def test_a_random_walk_in_many_dimensions():
    """Its k-th axis holds 6 / (πk)² of the variance; chance and the walk's finite length move that by a few percent."""
    walk = np.random.default_rng(0).normal(size=(80, 4000)).cumsum(0)
    np.testing.assert_allclose(principal(walk, 3).share, 6 / (np.pi * np.arange(1, 4)) ** 2, rtol=0.07)


def test_axes_that_there_are_not():
    still = principal(np.ones((4, 3)))
    assert still.share.tolist() == [0, 0]
    assert not still.coordinates.any()
    assert principal(np.array([[0.0], [1], [2]]), 2).share.tolist() == [1, 0]


def test_shares_of_a_spectrum_made_by_hand():
    """The constant is left out; without power there are no shares."""
    power = xr.DataArray(
        np.array([[9.0, 9], [3, 0], [1, 0]]), dims=("frequency", "step"), coords={"frequency": [0, 1, 2]}
    )
    shares = spectrum_shares(power)
    assert shares["frequency"].values.tolist() == [1, 2]
    assert shares.isel(step=0).values.tolist() == [0.75, 0.25]
    assert np.isnan(shares.isel(step=1)).all()


def node(decays=(0.0, 1.0), seeds=2, **left_out):
    """A node `grok` of runs that walk straight in the first of eight directions, and later sideways."""
    shape = (seeds, len(decays), len(STEPS))
    dims = ("seed", "weight_decay", "step")
    test = np.broadcast_to(STEPS >= 200, shape) * (np.arange(len(decays)) > 0)[:, None]
    accuracy = np.stack([np.broadcast_to(STEPS >= 20, shape), test], 2).astype(float)
    power = np.ones((seeds, len(decays), len(FREQUENCIES), len(STEPS)))
    power[:, :, 3, STEPS >= 200] = 14  # of 5 + 14 beside the constant
    path = np.zeros((seeds, len(decays), 8, len(STEPS)))
    path[:, :, 2] = 3.0 * STEPS
    path[:, :, 5] = np.maximum(STEPS - 150, 0)
    found = {
        "accuracy": (("seed", "weight_decay", "split", "step"), accuracy),
        "loss": (("seed", "weight_decay", "split", "step"), 2 - accuracy, {"units": "nats"}),
        "collapsed": (dims, np.zeros(shape)),
        "status": (dims, np.ones(shape, np.int8)),
        "restricted_loss": (dims, np.full(shape, 0.5)),
        "excluded_loss": (dims, np.full(shape, 3.0)),
        "embedding_power": (("seed", "weight_decay", "frequency", "step"), power),
        "sketch": (("seed", "weight_decay", "bucket", "step"), path),
    }
    llc = (*dims[:2], "measured_step"), np.broadcast_to(np.arange(len(MEASURED)) + 1.0, (*shape[:2], len(MEASURED)))
    for end, factor in (("", 1.0), ("_stderr", 0.1), ("_r_hat", 0.2)):
        found[f"local_learning_coefficient{end}"] = (llc[0], factor * llc[1])
    return xr.Dataset(
        {name: value for name, value in found.items() if not left_out.get(name.split("_")[0])},
        coords={
            "seed": np.arange(seeds),
            "weight_decay": list(decays),
            "split": ["train", "test"],
            "step": STEPS,
            "measured_step": MEASURED,
            "frequency": FREQUENCIES,
        },
        attrs={"threshold": 0.95, "memorised": 0.99},
    )


def tree(data):
    """A store in memory."""
    made = xr.DataTree(children={"grok": xr.DataTree(data)})
    made.attrs = {"kind": "grok"}
    return made


def test_the_picture():
    figure = draw(tree(node()), "progress")
    figure.draw_without_rendering()
    panels = np.array([axes for axes in figure.axes if axes.get_label() != "<colorbar>"]).reshape(5, 2)
    mesh = panels[0, 1].collections[0]
    np.testing.assert_allclose(np.ma.getdata(mesh.get_array())[2, [0, -1]], [100 / 6, 100 * 14 / 19])
    drawn = {line.get_label(): line for line in panels[1, 1].get_lines()}
    assert set(drawn["restricted (test)"].get_ydata()) == {0.5}
    assert set(drawn["excluded (train)"].get_ydata()) == {3.0}
    assert drawn["test"].get_xdata().tolist() == STEPS[1:].tolist()  # a log axis has no place for 0
    marks = [line.get_xdata()[0] for line in panels[1, 1].get_lines() if len(set(line.get_xdata())) == 1]
    assert marks == [20, 200]
    assert len([line for line in panels[1, 0].get_lines() if len(set(line.get_xdata())) == 1]) == 1
    agreeing, others = panels[2, 0].get_lines()[1:3]
    assert agreeing.get_xdata().tolist() == MEASURED[1:5].tolist()  # 0.2 · (1 … 10) < 1.1
    assert others.get_xdata().tolist() == MEASURED[5:].tolist()
    path = np.stack([3.0 * STEPS, np.maximum(STEPS - 150, 0)], 1)
    share = np.linalg.eigvalsh(np.cov(path.T))[::-1]
    assert f"{100 * share[0] / share.sum():.0f} % of the variance" in panels[3, 0].get_xlabel()
    assert panels[4, 0].texts[0].get_text().startswith("exponent 2.0")


def test_a_run_is_chosen():
    figure = draw(tree(node()), "progress", at={"weight_decay": "1", "seed": "1"})
    assert figure.axes[0].get_title() == "weight decay 1"
    data = node(decays=(0.0, 0.3, 1.0, 2.0, 3.0))
    assert chosen(data, {"weight_decay": 0.3, "seed": 1})["accuracy"].shape == (1, 1, 2, len(STEPS))
    with pytest.raises(RequestError, match=r"5 points of the sweep .* choose by --at weight_decay=0$"):
        draw(tree(data), "progress")
    for at, words in (
        ({"lr": 1}, "unknown setting of the sweep 'lr'"),
        ({"seed": 7}, "no run has seed 7: choose 0, 1"),
        ({"weight_decay": "much"}, "no run has weight_decay much: choose 0, 0.3, 1, 2, 3"),
    ):
        with pytest.raises(RequestError, match=words):
            draw(tree(data), "progress", at=at)
        with pytest.raises(RequestError, match=words):
            draw(tree(data), at=at)


@pytest.mark.parametrize(
    ("left_out", "rows"),
    [(("sketch", "local"), 2), (("embedding", "restricted", "excluded", "local"), 3), (("sketch", "embedding"), 2)],
)
def test_rows_of_what_was_recorded(left_out, rows):
    figure = draw(tree(node(decays=(1.0,), **dict.fromkeys(left_out, True))), "progress")
    figure.draw_without_rendering()
    assert len([axes for axes in figure.axes if axes.get_label() != "<colorbar>"]) == rows


def test_a_run_that_stopped_or_broke_off():
    data = node(decays=(1.0,))
    for name in ("accuracy", "loss", "sketch", "embedding_power", "restricted_loss", "excluded_loss"):
        data[name] = data[name].where(data["step"] <= 40)
    figure = draw(tree(data), "progress")
    figure.draw_without_rendering()
    assert "too few records" in figure.axes[-2].texts[0].get_text()
    assert figure.axes[0].get_xlim() == (5, 40)
    none = data.copy()
    none["accuracy"] = none["accuracy"] * np.nan
    with pytest.raises(RequestError, match="no run is stored yet"):
        draw(tree(none), "progress")


def test_nothing_of_it_was_recorded():
    bare = node(**dict.fromkeys(("embedding", "sketch", "local", "restricted", "excluded"), True))
    with pytest.raises(RequestError, match=r"no progress measures are recorded.*--sketch N"):
        draw(tree(bare), "progress")
