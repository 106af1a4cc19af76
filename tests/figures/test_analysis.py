"""Barriers against closed forms; what of a store is drawn."""

import numpy as np
import pytest
import xarray as xr

from landscape.errors import RequestError
from landscape.figures import analysis


def test_barrier_of_a_parabola_on_a_slope_is_its_height():
    t = np.linspace(0, 1, 41)
    loss = 0.3 + 0.5 * t + 4 * 0.7 * t * (1 - t)
    ds = xr.Dataset(
        {"loss": (("pair", "curve", "split", "t"), loss[None, None, None], {"units": "nats"})},
        coords={"pair": [0], "curve": ["linear"], "split": ["train"], "t": t},
    )
    found = analysis.barrier(ds)
    assert found.dims == ("pair", "curve", "split")
    assert found.attrs["units"] == "nats"
    np.testing.assert_allclose(found.values, 0.7, rtol=1e-13)


def test_barrier_of_a_valley_is_zero_not_negative():
    t = np.linspace(0, 1, 5)
    ds = xr.Dataset({"loss": (("pair", "curve", "split", "t"), (t * (t - 1))[None, None, None])}, coords={"t": t})
    assert analysis.barrier(ds).item() == 0.0


def test_barrier_equals_the_stored_one(trees):
    connect = analysis.dataset(trees.connect_tree(3), "connect")
    np.testing.assert_allclose(analysis.barrier(connect).values, connect["barrier"].values, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_barrier_leaves_out_points_that_are_not_finite(trees, bad):
    connect = analysis.dataset(trees.connect_tree(2), "connect").copy(deep=True)
    expected = analysis.barrier(connect).values
    connect["loss"][:, :, :, 3] = bad
    np.testing.assert_allclose(analysis.barrier(connect).values, expected)
    connect["loss"][:, :, :, -1] = bad
    assert np.isnan(analysis.barrier(connect).values).all()


def test_matrix_is_symmetric_with_zero_diagonal(trees):
    tree = trees.connect_tree(4)
    matrix = analysis.barrier_matrix(tree)
    assert list(matrix["checkpoint"].values) == ["seed0", "seed1", "seed2", "seed3"]
    np.testing.assert_array_equal(matrix.values, np.swapaxes(matrix.values, -1, -2))
    assert (np.diagonal(matrix.values, axis1=-2, axis2=-1) == 0).all()
    stored = tree["connect"]["barrier"].sel(pair=4, curve="bezier", split="test").item()  # seed1 – seed3
    assert matrix.sel(curve="bezier", split="test", checkpoint="seed1", other="seed3").item() == pytest.approx(stored)


def test_pairs_that_were_not_connected_are_nan(trees):
    connect = analysis.dataset(trees.connect_tree(3), "connect").isel(pair=[0, 1])
    tree = xr.DataTree.from_dict({"/connect": connect})
    matrix = analysis.barrier_matrix(tree)
    assert np.isnan(matrix.sel(checkpoint="seed1", other="seed2").values).all()


def test_planes_come_in_the_order_of_the_figure(trees):
    found = analysis.planes(trees.connect_tree(3), 2, "test")
    assert [plane.name for plane in found] == ["optima", "bezier", "polyline"]
    assert found[0].names == ["seed0", "seed1", "seed2"]
    assert found[0].curve is None
    assert found[1].names == ["seed1", "bend", "seed2"]
    assert found[1].values.dims == ("beta", "alpha")


def test_planes_that_cannot_be_drawn_are_left_out(trees):
    tree = trees.connect_tree(2)
    plane = tree["connect/plane/bezier"].to_dataset(inherit=False)
    tree["connect/plane/bezier"].dataset = plane.assign_coords(alpha=np.zeros(21))  # the same checkpoint twice
    plane = tree["connect/plane/polyline"].to_dataset(inherit=False).copy(deep=True)
    plane["status"][:] = 0
    tree["connect/plane/polyline"].dataset = plane
    assert analysis.planes(tree, None, "train") == []


def test_wrong_requests_are_named(trees):
    tree = trees.connect_tree(3)
    connect = analysis.dataset(tree, "connect")
    with pytest.raises(RequestError, match=r"unknown pair '7'.*0, 1, 2"):
        analysis.select_pair(connect, 7)
    with pytest.raises(RequestError, match="unknown split 'tset': did you mean 'test'"):
        analysis.select_split(connect, "tset")
    with pytest.raises(RequestError, match="no 'surface'"):
        analysis.dataset(tree, "surface")


def test_split_falls_back_to_what_there_is(trees):
    connect = analysis.dataset(trees.connect_tree(2, splits=["test"]), "connect")
    assert analysis.select_split(connect, None) == "test"
