"""The experiments on grokking, from their recipes to their figures."""

import numpy as np
import pytest
import xarray as xr
from landscape.experiments import mechanism

from landscape.figures.grokking_progress import halved
from landscape.figures.grokking_sweeps import COMPARED, compared
from landscape.figures.widening import ratios, widths
from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


@pytest.fixture(scope="module", params=["grokking", "grokking_progress", "grokking_sweeps"])
def made(request, tmp_path_factory):
    experiment = mechanism.load(request.param)
    path = tmp_path_factory.mktemp("grokking") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return experiment, store.open(path)


@pytest.mark.slow
def test_runs_grok_and_are_drawn(made):
    experiment, tree = made
    node = tree[experiment.name]
    if experiment.name == "grokking":
        quadratic = node["quadratic_0"].to_dataset().load()
        assert (ratios(widths(quadratic)["hessian_max"]).sel(moment="end") < 1).all()
        assert node["surface"]["loss"].sizes["checkpoint"] == 2
        panels = 11
    elif experiment.name == "grokking_progress":
        power = node["quadratic"]["embedding_power"].isel(step=-1)
        assert (power.sum("frequency") > 0).all()
        assert np.isfinite(node["quadratic"]["local_learning_coefficient"].isel(seed=0)).all()
        panels = 8
    else:
        (decayed,), (undecayed,) = (compared(tree, experiment.name, name) for name in COMPARED)
        assert np.isfinite(decayed.grokked)
        assert decayed.lr in (0.01, 0.03)
        assert np.isinf(undecayed.grokked)
        assert int(decayed.found["runs"]) == 2
        assert not set(node["decayed"]["seed"].values) & set(node["decayed_tuning"]["seed"].values)
        panels = 3
    assert len(experiment.figure(tree).axes) >= panels
    caption = experiment.caption(tree)
    assert "nan" not in caption
    assert ("reproduced" in caption) == (experiment.name != "grokking_progress")


def test_halfway_on_a_log_scale():
    steps = np.arange(9)
    falls = np.exp(-np.array([0.0, 0, 1, 2, 3, 4, 6, 8, 8]))  # half of 8 at step 5
    values = xr.DataArray(np.stack([falls, 1 / falls, np.full(9, 2.0)]), {"step": steps}, ("seed", "step"))
    assert halved(values)[0] == 5
    assert np.isnan(halved(values)[1:]).all()
    assert halved(values, fall=False)[1] == 5
