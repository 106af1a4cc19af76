"""What is recorded of the way of the weights, and of the frequencies of a network built by hand."""

import math

import numpy as np
import pytest
import torch

from landscape.networks.problem import Problem
from landscape.networks.zoo.symbols import Quadratic
from landscape.objective.objective import Objective
from landscape.studies.grok import GrokRecipe, grok
from landscape.studies.grok.probes import Look
from landscape.studies.grok.progress import Progress
from landscape.studies.grok.walk import Walk

P, K = 13, 5


class Place:
    """A look at some weights alone."""

    def __init__(self, theta):
        self.theta = theta


def test_the_way_of_the_weights():
    points = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probe = Walk(size=8)
    found = [probe.record(Place(point)) for point in points]
    steps = points.diff(dim=0)
    assert [one["distance_start"] for one in found] == pytest.approx((points - points[0]).norm(dim=1).tolist())
    assert [one["distance_record"] for one in found] == pytest.approx([0, *steps.norm(dim=1).tolist()])
    cosines = torch.cosine_similarity(steps[1:], steps[:-1], dim=1)
    assert [one["update_cosine"] for one in found] == pytest.approx([0, 0, *cosines.tolist()])
    resumed = Walk(size=8)
    half = Walk(size=8)
    for point in points[:2]:
        half.record(Place(point))
    resumed.load_state_dict(half.state_dict())
    for point, expected in zip(points[2:], found[2:], strict=True):
        again = resumed.record(Place(point))
        assert {key: np.asarray(value).tolist() for key, value in again.items()} == {
            key: np.asarray(value).tolist() for key, value in expected.items()
        }


def quadratic(rows, scale=300.0, units=6):
    """Weights for logits of scale cos(2πK (u + v − w) / order), u and v the places of a and b among some rows."""
    order = len(rows)
    phases = 2 * math.pi * torch.arange(units).double() / units
    angles = 2 * math.pi * K * torch.arange(order).double()[:, None] / order
    once, twice = torch.zeros(P, units).double(), torch.zeros(P, units).double()
    once[rows], twice[rows] = (angles + phases).cos(), (angles + 2 * phases).cos()
    model = Quadratic(2, P, 2 * units, 1.0).double()
    with torch.no_grad():
        model.embedding.weight.copy_(torch.cat([torch.cat([once, once], 1), torch.cat([once, -once], 1)]))
        model.head.weight.copy_(scale / units * torch.cat([twice, -twice], 1))
    return model


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_a_network_built_by_hand_has_one_frequency(operation):
    data = Problem("quadratic", "modular", data_settings={"modulus": P, "operation": operation, "encoding": "symbols"})
    splits = data.load_data(None)
    rows = list(range(P)) if operation == "add" else [2**k % P for k in range(P - 1)]
    model = quadratic(torch.tensor(rows))
    train = Objective(model, splits.train)
    probe = Progress(P, operation, "cross-entropy")
    found = probe.record(Look(0, model, {"train": train, "test": train.on(splits.test)}))
    power = found["embedding_power"]
    assert power.shape == (len(probe.coords()["frequency"]),) == (P // 2 + 1,)
    assert power.argmax() == K
    assert power[K] == pytest.approx(power.sum(), rel=1e-9)
    assert (found["key_frequencies"], found["strongest_share"]) == (1, pytest.approx(1))
    assert found["restricted_loss"] < 1e-2
    assert found["excluded_loss"] == pytest.approx(math.log(P), rel=1e-9)


def test_frequencies_are_those_of_the_answers_not_of_wrong_labels():
    """The periodic network gives right answers whatever the labels, so that its restricted loss stays."""
    settings = {"modulus": P, "operation": "divide", "encoding": "symbols"}
    clean = Problem("quadratic", "modular", data_settings=settings).load_data(None)
    noisy = Problem("quadratic", "modular", data_settings=settings, label_noise=0.3).load_data(None)
    rows = torch.tensor([2**k % P for k in range(P - 1)])
    model = quadratic(rows)
    with torch.no_grad():  # a quotient's logarithm is the difference
        second = model.embedding.weight.view(2, P, -1)[1]
        second[rows] = second[rows.flip(0).roll(1)]
    train = Objective(model, noisy.train)
    found = Progress(P, "divide", "cross-entropy").record(
        Look(0, model, {"train": train, "test": train.on(clean.test)})
    )
    assert not torch.equal(noisy.train.targets, clean.train.targets)
    assert found["restricted_loss"] < 1e-2
    assert found["excluded_loss"] == pytest.approx(math.log(P), rel=1e-9)


def test_they_are_stored_along_the_runs(tmp_path):
    recipe = GrokRecipe(
        Problem("quadratic", "modular", model_settings={"width": 8}, data_settings={"modulus": 7}),
        seeds=(0, 1),
        steps=40,
        every=20,
        sketch=4,
        hold=0,
    )
    found = grok(recipe, tmp_path / "a.zarr", engine="serial", progress=False)["grok"].to_dataset().load()
    assert found["embedding_power"].dims == ("seed", "frequency", "step")
    assert found["sketch"].shape == (2, 4, 3)
    assert (found["status"] == 1).all()
    assert all(bool(np.isfinite(found[name]).all()) for name in ("distance_start", "restricted_loss", "excluded_loss"))
    assert (found["distance_start"].isel(step=0) == 0).all()


@pytest.mark.parametrize(
    ("data", "sweep"),
    [({"modulus": 9, "operation": "multiply"}, {}), ({"modulus": 7}, {"encoding": ("symbols",)}), (None, {})],
)
def test_runs_without_common_frequencies_go_without(data, sweep, tmp_path):
    problem = Problem("quadratic", "modular" if data else "parity", data_settings=data or {"bits": 6})
    if data is None:
        problem = Problem("mlp", "parity", data_settings={"bits": 6})
    recipe = GrokRecipe(problem, steps=2, every=1, sweep=sweep)
    found = grok(recipe, tmp_path / "a.zarr", engine="serial", progress=False)["grok"].to_dataset()
    assert "embedding_power" not in found
    assert "distance_start" in found
