"""What `connect` stores, against direct computation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray

import landscape
from landscape import ConnectRecipe, CurveRecipe, Objective, connect, load_curve
from landscape.errors import RequestError
from landscape.geometry.slices import Bezier, Line

FIT = CurveRecipe(epochs=None, steps=6, batch_size=16)
RECIPE = ConnectRecipe(("bezier", "polyline"), FIT, points=9, plane=5)


def theta(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def run(networks, path, data, recipe=RECIPE, **options):
    return connect(networks, path, recipe, data=data, progress=False, **options)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_store_against_direct_computation(networks, data, tmp_path, batchnorm, dtype, rtol):
    ends = networks(batchnorm=batchnorm, dtype=dtype)
    tree = run(ends, tmp_path / "c.zarr", data)
    node = tree["connect"].isel(pair=0)
    assert tree.attrs["complete"] == 1
    assert node["curve"].values.tolist() == ["linear", "bezier", "polyline"]
    assert (tree["connect"]["status"] == 1).all()
    for curve in node["curve"].values:
        loaded = load_curve(tmp_path / "c.zarr", curve)
        assert loaded.control_points.dtype == dtype
        for split, samples in data.items():
            objective = Objective(
                ends[0], samples, batchnorm="recompute", batchnorm_data=data["train"], dtype=dtype, batch_size=7
            )
            values = [objective.evaluate(loaded(float(t))) for t in node["t"]]
            for name in ("loss", "error"):
                expected = np.array([value[name] for value in values])
                np.testing.assert_allclose(node[name].sel(curve=curve, split=split), expected, rtol=rtol, atol=rtol)
                along = expected - (1 - node["t"].values) * expected[0] - node["t"].values * expected[-1]
                label = "barrier" if name == "loss" else "barrier_error"
                found = float(node[label].sel(curve=curve, split=split))
                assert found == pytest.approx(max(0.0, along.max()), rel=100 * rtol, abs=100 * rtol)
        assert (node["loss_stderr"] == 0).all()


def test_the_checkpoints_own_statistics(networks, data, tmp_path):
    ends = networks(batchnorm=True)
    node = run(ends, tmp_path / "c.zarr", data, replace(RECIPE, plane=0))["connect"].isel(pair=0)
    for place, network in zip(("start", "end"), ends, strict=True):
        for split, samples in data.items():
            with torch.no_grad():
                own = torch.nn.functional.cross_entropy(network.eval()(samples[0]), samples[1])
            found = float(node["checkpoint_loss"].sel(split=split, endpoint=place))
            assert found == pytest.approx(float(own), rel=1e-12)
            along = node["loss"].sel(curve="linear", split=split, t=0.0 if place == "start" else 1.0)
            assert abs(float(along) - float(own)) > 1e-6  # recomputed statistics are others


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_curves_end_in_the_checkpoints_exactly(networks, data, tmp_path, dtype):
    ends = networks(dtype=dtype)
    run(ends, tmp_path / "c.zarr", data, replace(RECIPE, plane=0, points=2))
    for curve in ("linear", "bezier", "polyline"):
        loaded = load_curve(tmp_path / "c.zarr", curve)
        assert torch.equal(loaded(0.0), theta(ends[0]))
        assert torch.equal(loaded(1.0), theta(ends[1]))
    assert isinstance(load_curve(tmp_path / "c.zarr", "linear"), Line)
    assert isinstance(load_curve(tmp_path / "c.zarr"), Bezier)


def test_arc_length(networks, data, tmp_path):
    ends = networks()
    node = run(ends, tmp_path / "c.zarr", data, replace(RECIPE, plane=0))["connect"].isel(pair=0)
    distance = float((theta(ends[1]) - theta(ends[0])).norm())
    np.testing.assert_allclose(node["arc_length"].sel(curve="linear"), distance * node["t"], rtol=1e-12, atol=1e-12)
    for curve in ("bezier", "polyline"):
        points = load_curve(tmp_path / "c.zarr", curve)(torch.linspace(0, 1, 4001, dtype=torch.float64))
        chords = (points[1:] - points[:-1]).norm(dim=1).sum()
        assert float(node["arc_length"].sel(curve=curve)[-1]) == pytest.approx(float(chords), rel=1e-6)
        assert float(chords) > distance


def test_the_plane_holds_the_curve_and_its_values(networks, data, tmp_path):
    ends = networks()
    tree = run(ends, tmp_path / "c.zarr", data)
    for curve in ("bezier", "polyline"):
        plane = tree[f"connect/plane/{curve}"].isel(pair=0)
        points = load_curve(tmp_path / "c.zarr", curve).control_points
        assert float(plane["residual"].max()) < 1e-6
        axis = points[2] - points[0]
        first = axis / axis.norm()
        second = points[1] - points[0]
        second = second - (second @ first) * first
        second = second / second.norm()
        sign = np.sign(float(plane["point_beta"][1]))
        objective = Objective(ends[0], data["test"])
        for row, column in ((0, 0), (1, 3), (4, 2)):
            alpha, beta = float(plane["alpha"][column]), float(plane["beta"][row])
            there = points[0] + alpha * first + sign * beta * second
            found = float(plane["loss"].sel(split="test").isel(beta=row, alpha=column))
            assert found == pytest.approx(objective.loss(there), rel=1e-9)
        assert float(plane["point_alpha"][2]) == pytest.approx(float(axis.norm()))
        along = load_curve(tmp_path / "c.zarr", curve)(torch.tensor(plane["t"].values)) - points[0]
        np.testing.assert_allclose(plane["curve_alpha"], along @ first, atol=1e-9)
        np.testing.assert_allclose(plane["curve_beta"], sign * (along @ second), atol=1e-9)


def test_two_bends_leave_the_plane(networks, data, tmp_path):
    recipe = ConnectRecipe(("bezier",), replace(FIT, bends=2), points=5, plane=3, splits=("train",))
    tree = run(networks(), tmp_path / "c.zarr", data, recipe)
    assert tree["connect/fit/bezier"].sizes["point"] == 4
    assert float(tree["connect/plane/bezier"]["residual"].max()) > 1e-6


def test_three_checkpoints(networks, data, tmp_path):
    tree = run(networks(3), tmp_path / "c.zarr", data, replace(RECIPE, points=5, plane=3, splits=("train",)))
    node = tree["connect"]
    assert list(zip(node["start"].values, node["end"].values, strict=True)) == [
        ("model 0", "model 1"),
        ("model 0", "model 2"),
        ("model 1", "model 2"),
    ]
    assert tree["connect/plane/optima"]["loss"].dims == ("split", "beta", "alpha")
    assert tree["connect/plane/optima"].sizes["point"] == 3
    matrix = landscape.figures.analysis.barrier_matrix(tree)
    assert matrix.sizes["checkpoint"] == 3
    assert matrix.sel(checkpoint="model 2", other="model 0", curve="linear", split="train") == node["barrier"].isel(
        pair=1
    ).sel(curve="linear", split="train")


def test_equal_ends(networks, data, tmp_path):
    ends = networks(2, batchnorm=True)
    tree = run([ends[0], ends[0], ends[1]], tmp_path / "c.zarr", data, replace(RECIPE, points=7))
    node = tree["connect"].isel(pair=0)
    assert (node["barrier"] == 0).all()
    assert (node["arc_length"] == 0).all()
    assert (tree["connect/fit/bezier"]["status"].values == [4, 1, 1]).all()
    assert (tree["connect/plane/bezier"]["status"].isel(pair=0) == 4).all()
    assert (tree["connect/plane/bezier"]["status"].isel(pair=1) == 1).all()


def test_regression_has_no_error(networks, regression_data, tmp_path):
    ends = networks(outputs=2)
    tree = run(ends, tmp_path / "c.zarr", regression_data, replace(RECIPE, points=5, plane=3))
    assert not [name for node in tree.subtree for name in node.data_vars if "error" in str(name)]
    assert tree["connect"]["loss"].attrs["units"] == "units of the loss"
    line = Line(torch.stack([theta(network) for network in ends]))
    expected = Objective(ends[0], regression_data["test"], "mse").loss(line(0.25))
    found = tree["connect"]["loss"].isel(pair=0).sel(curve="linear", split="test", t=0.25)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_samples_give_standard_errors(networks, data, tmp_path):
    node = run(networks(), tmp_path / "c.zarr", data, replace(RECIPE, samples=20, points=3, plane=0))["connect"]
    assert (node["loss_stderr"] > 0).all()
    assert node["loss_stderr"].shape == node["loss"].shape
    assert (node["checkpoint_loss_stderr"] > 0).all()


def test_splits_in_the_order_asked_for(networks, data, tmp_path):
    both = run(networks(), tmp_path / "a.zarr", data, replace(RECIPE, points=3, plane=0))["connect"]
    recipe = replace(RECIPE, points=3, plane=0, splits=("test", "train", "test"))
    swapped = run(networks(), tmp_path / "b.zarr", data, recipe)["connect"]
    assert swapped["split"].values.tolist() == ["test", "train"]
    xarray.testing.assert_equal(both["loss"].sel(split="test"), swapped["loss"].sel(split="test"))


def test_the_l2_term_counts(networks, data, tmp_path):
    ends = networks()
    node = run(ends, tmp_path / "c.zarr", data, replace(RECIPE, points=3, plane=0, weight_decay=0.1))["connect"]
    plain = run(ends, tmp_path / "d.zarr", data, replace(RECIPE, points=3, plane=0))["connect"]
    line = Line(torch.stack([theta(network) for network in ends]))
    penalty = [0.05 * float(line(t).square().sum()) for t in (0.0, 0.5, 1.0)]
    difference = (node["loss"] - plain["loss"]).isel(pair=0).sel(curve="linear", split="train")
    np.testing.assert_allclose(difference, penalty, rtol=1e-10)


@pytest.mark.slow
def test_processes_store_the_same_bits_as_serial(networks, data, tmp_path):
    recipe = replace(RECIPE, points=9, plane=3)
    first = run(networks(batchnorm=True, dtype=torch.float32), tmp_path / "a.zarr", data, recipe)
    second = run(
        networks(batchnorm=True, dtype=torch.float32), tmp_path / "b.zarr", data, recipe, engine="processes", workers=1
    )
    assert first.attrs["recipe_hash"] == second.attrs["recipe_hash"]
    for node in first.subtree:
        if node.path != "/":  # whose attributes tell the time
            xarray.testing.assert_identical(node.to_dataset(), second[node.path].to_dataset())


def test_the_recipe_covers_contents_and_settings(networks, data, tmp_path):
    base = replace(RECIPE, points=3, plane=0)
    hashes = set()
    variants = [
        (networks(), data, base),
        (networks()[::-1], data, base),
        (networks(), {"train": data["train"]}, base),
        (networks(), data, replace(base, fit=replace(FIT, seed=1))),
        (networks(), data, replace(base, batchnorm="batch")),
        (networks(), data, replace(base, samples=30)),
    ]
    for number, (ends, samples, recipe) in enumerate(variants):
        hashes.add(run(ends, tmp_path / f"{number}.zarr", samples, recipe).attrs["recipe_hash"])
    assert len(hashes) == len(variants)
    again = run(networks(), tmp_path / "elsewhere.zarr", data, base, device="cpu")
    assert again.attrs["recipe_hash"] in hashes
    with torch.no_grad():
        moved = networks()
        next(moved[1].parameters()).view(-1)[0] += 1e-12  # double precision counts
    with pytest.raises(RequestError, match="checkpoints"):
        run(moved, tmp_path / "0.zarr", data, base)


@pytest.mark.parametrize("optimizer", ["gd", "lbfgs"])
def test_curves_are_fitted_by_methods_of_the_full_batch(networks, data, tmp_path, optimizer):
    fit = replace(FIT, steps=20, optimizer=optimizer, hyperparameters={}, nodes="golden")
    assert fit.steps_per_epoch(1000) == 1
    tree = run(networks(), tmp_path / "c.zarr", data, ConnectRecipe(("bezier",), fit, points=9, plane=0))
    loss = tree["connect"]["loss"].sel(split="train").isel(pair=0).mean("t")
    assert float(loss.sel(curve="bezier")) < float(loss.sel(curve="linear"))


def test_a_diverged_fit_is_a_result(networks, regression_data, tmp_path):
    fit = replace(FIT, steps=60, optimizer="sgd", hyperparameters={"lr": 1e9})
    recipe = ConnectRecipe(("bezier",), fit, points=5, plane=3)
    tree = run(networks(outputs=2), tmp_path / "c.zarr", regression_data, recipe)
    assert tree.attrs["complete"] == 1
    assert tree["connect/fit/bezier"]["status"].values.tolist() == [2]
    node = tree["connect"].isel(pair=0)
    assert np.isfinite(node["loss"].sel(curve="linear")).all()
    assert (node["status"].sel(curve="bezier", t=0.5) == 2).all()
    assert "NaN" not in json.dumps(landscape.figures.summary(tree), allow_nan=False)


def test_a_fit_that_ran_far_away_spans_no_plane(networks, data, tmp_path):
    fit = replace(FIT, steps=40, optimizer="sgd", hyperparameters={"lr": 1e300})
    tree = run(networks(), tmp_path / "c.zarr", data, ConnectRecipe(("bezier",), fit, points=5, plane=3))
    assert tree.attrs["complete"] == 1
    assert "plane" not in tree["connect"].children


def test_the_callers_networks_and_random_state_are_untouched(networks, data, tmp_path):
    ends = networks(batchnorm=True)
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in ends]
    state = torch.get_rng_state()
    run(ends, tmp_path / "c.zarr", data, replace(RECIPE, points=3, plane=0))
    assert torch.equal(state, torch.get_rng_state())
    for network, old in zip(ends, before, strict=True):
        assert network.training
        assert all(torch.equal(value, old[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 1}, "at least two"),
        ({"nan": True}, "not finite"),
        ({"other": True}, "different architectures: '0.weight'"),
        ({"data": None}, "data"),
        ({"engine": "processes", "local": True}, "engine 'serial'"),
        ({"engine": "serail"}, "did you mean 'serial'"),
        ({"workers": 0}, "at least 1"),
    ],
)
def test_wrong_requests_write_nothing(networks, data, tmp_path, arguments, message):
    ends = networks(arguments.pop("count", 2))
    if arguments.pop("nan", False):
        with torch.no_grad():
            next(ends[1].parameters())[0, 0] = torch.nan
    if arguments.pop("other", False):
        ends[1] = torch.nn.Sequential(torch.nn.Linear(4, 7), torch.nn.Linear(7, 3)).double()
    if arguments.pop("local", False):
        arguments["loss"] = lambda outputs, targets: (outputs**2).sum(1)
    with pytest.raises(RequestError, match=message):
        run(ends, tmp_path / "c.zarr", arguments.pop("data", data), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_recipes():
    for wrong in ({"points": 1}, {"plane": 1}, {"curves": ("bezir",)}, {"weight_decay": float("nan")}):
        with pytest.raises(RequestError):
            ConnectRecipe(**wrong)
    for wrong in ({"bends": 0}, {"epochs": 0}, {"steps": 3}, {"batch_size": 0}, {"nodes": "randon"}, {"seed": -1}):
        with pytest.raises(RequestError):
            CurveRecipe(**wrong)


def test_load_curve_asks_for_what_there_is(networks, data, tmp_path):
    run(networks(), tmp_path / "c.zarr", data, replace(RECIPE, curves=("bezier",), points=2, plane=0))
    with pytest.raises(RequestError, match="choices: linear, bezier"):
        load_curve(tmp_path / "c.zarr", "polyline")
    with pytest.raises(RequestError, match="pairs 0 to 0, not 1"):
        load_curve(tmp_path / "c.zarr", pair=1)
    with pytest.raises(RequestError, match="does not exist"):
        load_curve(tmp_path / "d.zarr")
