"""Certified values: unbiased, intervals that hold, exact where they say so, whatever the coarse grid returned."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.geometry.slices import Affine, Bezier
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective
from landscape.studies.surface.certified import FEWEST, Estimator, needed, saved, standard_error, subset
from landscape.studies.surface.control import Control
from landscape.studies.surface.nested import Nested, is_nested
from landscape.studies.surface.oracle import SliceOracle
from landscape.studies.surface.whole import certify, coarse_values


class Synthetic:
    """Bowls of all samples' own: rough and skewed, so that the spline leaves something to correct."""

    def __init__(self, num_samples=400, axes=2, roughness=1.0, seed=0):
        rng = np.random.default_rng(seed)
        self.num_samples, self.discrete = num_samples, {"error": 1.0}
        self.scale = rng.lognormal(0, 1, num_samples)
        self.centers = rng.normal(0, 0.4, (num_samples, axes))
        self.phase = rng.uniform(0, 6, num_samples)
        self.roughness = roughness
        self.calls = 0

    def per_sample(self, coordinates, index):
        index = np.arange(self.num_samples) if index is None else index
        self.calls += len(coordinates) * len(index)
        apart = ((coordinates[:, None] - self.centers[index]) ** 2).sum(-1)
        ripple = np.abs(np.sin(9 * coordinates.sum(-1)[:, None] + self.phase[index]))
        loss = self.scale[index] * (apart + 0.1 * self.roughness * ripple)
        return {"loss": loss, "error": (loss > 1).astype(float)}

    def penalty(self, coordinates):
        return np.full(len(coordinates), 0.25)

    def truth(self, labels):
        grid = np.stack([part.ravel() for part in np.meshgrid(*labels, indexing="ij")], -1)
        shape = [len(axis) for axis in labels]
        found = {name: values.mean(1).reshape(shape) for name, values in self.per_sample(grid, None).items()}
        return {**found, "loss": found["loss"] + 0.25}


def axis(size):
    return np.linspace(-1, 1, size)


def estimator(oracle, size=17, tolerance=0.01, seed=(0,), axes=2):
    grid = Nested((axis(size),) * axes)
    return Estimator(oracle, Control(grid, coarse_values(oracle, grid, None)), tolerance, seed)


def test_grids_are_nested():
    assert [size for size in range(2, 70) if is_nested(size)] == [2, 3, 5, 9, 17, 33, 65]
    grid = Nested((axis(65), axis(33), axis(5)))
    assert grid.coarse_shape == (9, 9, 5)
    finer = grid.halved()
    assert finer.coarse_shape == (17, 17, 5)
    assert len(finer.new()) == 17 * 17 * 5 - 9 * 9 * 5
    old = np.setdiff1d(np.arange(finer.num_coarse), finer.new())
    assert np.array_equal(finer.coarse()[old], grid.coarse())
    for number in (0, 77, grid.num_coarse - 1):
        assert grid.number(grid.coarse()[number]) == number
    assert grid.number((1, 0, 0)) is None
    assert sorted(grid.corners((1, 4, 2))) == [grid.number(p) for p in ((0, 4, 2), (8, 4, 2))]
    probes = grid.probes(np.random.default_rng(0))
    assert len(probes) == math.prod(grid.cells) == 8 * 8 * 5
    depth = grid.depth(probes)
    assert ((depth >= 0.75) & (depth <= 1)).all()
    assert grid.depth(np.array([[0, 4, 1], [4, 2, 0], [4, 0, 4]])).tolist() == [0, 1, 0.5]


def test_unbiased_and_intervals_that_hold():
    """200 independent draws at several points: the mean is the truth's, 95 % intervals hold it at 90 to 99 %."""
    oracle = Synthetic()
    truth = oracle.truth((axis(17), axis(17)))
    for position in ((1, 1), (5, 8), (11, 15)):
        made = estimator(oracle)
        draws = [made.draw(np.array(position), 100, attempt) for attempt in range(200)]
        for name, target in (("loss", truth["loss"][position] - 0.25), ("error", truth["error"][position])):
            values = np.array([values[name] for values, _ in draws])
            errors = np.array([stderr[name] for _, stderr in draws])
            assert abs(values.mean() - target) < 4 * values.std() / math.sqrt(200)
            assert 0.9 <= (np.abs(values - target) < 1.96 * errors).mean() <= (0.99 if name == "loss" else 1)


def test_without_the_finite_population_intervals_hold_too_much():
    """A third of all samples: the plain standard error is 22 % too large, and more than 97 % of intervals hold."""
    oracle = Synthetic(300)
    position = np.array((5, 8))
    truth = oracle.truth((axis(17), axis(17)))["loss"][5, 8] - 0.25
    made = estimator(oracle)
    held = {"corrected": 0, "plain": 0}
    for attempt in range(1000):
        values, stderr = made.draw(position, 100, attempt)
        held["corrected"] += abs(values["loss"] - truth) < 1.96 * stderr["loss"]
        held["plain"] += abs(values["loss"] - truth) < 1.96 * stderr["loss"] / math.sqrt(1 - 100 / 300)
    assert 920 <= held["corrected"] <= 970
    assert held["plain"] >= held["corrected"] + 15


def test_whole_surfaces_hold_the_truth():
    """Pilots, stops and second draws included: 95 % intervals over all points and several seeds."""
    oracle = Synthetic(1500)
    labels = (axis(17), axis(17))
    truth = oracle.truth(labels)
    held, worst = [], []
    for seed in range(8):
        oracle.calls = 0
        whole = certify(oracle, labels, 0.02, (seed,))
        assert whole.evaluations == oracle.calls
        random = whole.samples < 1500
        assert whole.reached.all()
        assert (whole.stderr["loss"] <= 0.02 * np.maximum(whole.values["loss"], 0.01)).all()
        apart = np.abs(whole.values["loss"] - truth["loss"])
        held += list((apart < 1.96 * whole.stderr["loss"])[random])
        worst.append(np.median((apart / truth["loss"])[random]))
        assert (apart[~random] < 1e-12).all()
    assert len(held) > 1000
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.median(worst) < 0.02


def test_coarse_points_are_exact_and_left_out_of_nothing_else():
    oracle = Synthetic()
    labels = (axis(17), axis(9))
    whole = certify(oracle, labels, 0.05)
    truth = oracle.truth(labels)
    for name in ("loss", "error"):
        np.testing.assert_allclose(whole.values[name][::2], truth[name][::2], rtol=1e-12)
        assert (whole.stderr[name][::2] == 0).all()
    assert (whole.samples[::2] == oracle.num_samples).all()
    random = whole.samples < oracle.num_samples
    assert random.any()
    assert (whole.stderr["loss"][random] > 0).all()


@pytest.mark.parametrize("axes", [1, 3])
def test_lines_and_spaces(axes):
    oracle = Synthetic(800, axes)
    labels = (axis(65),) if axes == 1 else (axis(5), axis(9), axis(17))
    whole = certify(oracle, labels, 0.02)
    truth = oracle.truth(labels)["loss"]
    random = whole.stderr["loss"] > 0
    z = (whole.values["loss"] - truth)[random] / whole.stderr["loss"][random]
    assert np.abs(z).max() < 5
    assert (np.abs(z) < 1.96).mean() > 0.85


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_bad_coarse_values_do_not_poison_the_rest(bad):
    """One corner of the coarse grid is bad for all samples, or for one: elsewhere estimates are as good as before."""

    class Poisoned(Synthetic):
        def per_sample(self, coordinates, index):
            found = super().per_sample(coordinates, index)
            corner = (coordinates == 1).all(1)
            found["loss"][corner] = bad
            return found

    oracle, labels = Poisoned(600), (axis(33), axis(33))
    truth = oracle.truth(labels)["loss"]
    with np.errstate(invalid="ignore"):
        whole = certify(oracle, labels, 0.02)
    assert not np.isfinite(whole.values["loss"][-1, -1]) or bad == 1e30
    values, stderr = whole.values["loss"], whole.stderr["loss"]
    good = np.ones((33, 33), bool)
    good[-1, -1] = False
    assert np.isfinite(values[good]).all()
    assert whole.reached[good].all()
    random = good & (stderr > 0)
    assert 0.9 < (np.abs(values[random] - truth[random]) < 1.96 * stderr[random]).mean() < 0.99


def test_capped_controls_keep_the_estimate_unbiased():
    """Values that are capped, here half of them, make a poor control and a right estimate."""
    oracle = Synthetic()
    made = estimator(oracle)
    made.control.caps = dict.fromkeys(made.control.names, 0.3)
    truth = oracle.truth((axis(17), axis(17)))["loss"][5, 9] - 0.25
    draws = [made.draw(np.array((5, 9)), 50, attempt) for attempt in range(400)]
    values = np.array([values["loss"] for values, _ in draws])
    assert abs(values.mean() - truth) < 4 * values.std() / 20
    assert made.control.interpolated["loss"].max() <= 0.3


def test_a_divergence_beside_a_point_calls_for_all_samples():
    """One sample of many diverges beyond an edge: no subset may hide it where the coarse grid has seen it."""

    class Diverging(Synthetic):
        def per_sample(self, coordinates, index):
            found = super().per_sample(coordinates, index)
            index = np.arange(self.num_samples) if index is None else index
            found["loss"][(coordinates[:, :1] > 0.6) & (index == 7)] = np.nan
            return found

    whole = certify(Diverging(3000), (axis(17), axis(17)), 0.05)
    assert np.array_equal(np.isnan(whole.values["loss"]), np.broadcast_to(axis(17)[:, None] > 0.6, (17, 17)))


def test_points_are_independent_and_functions_of_seed_and_place_alone():
    seen = [subset((0, number, attempt), 1000, 100) for number in range(20) for attempt in range(2)]
    overlaps = [len(np.intersect1d(a, b)) for i, a in enumerate(seen) for b in seen[:i]]
    assert 9 < np.mean(overlaps) < 11
    assert max(overlaps) < 30
    oracle = Synthetic()
    forwards, backwards = estimator(oracle), estimator(oracle)
    places = [np.array(place) for place in ((1, 1), (3, 7), (8, 9))]
    one = [forwards.at(place, 60) for place in places]
    other = [backwards.at(place, 60) for place in reversed(places)]
    assert one == other[::-1]
    assert estimator(oracle, seed=(1,)).at(places[0], 60) != one[0]


def test_errors_of_neighbours_are_uncorrelated():
    oracle = Synthetic()
    truth = oracle.truth((axis(17), axis(17)))["loss"] - 0.25
    pairs = []
    made = estimator(oracle)
    for seed in range(300):
        made.seed = (seed,)
        pairs.append([made.draw(np.array(p), 40, 0)[0]["loss"] - truth[p] for p in ((5, 8), (5, 9))])
    assert abs(np.corrcoef(np.transpose(pairs))[0, 1]) < 0.2


def test_an_error_that_happens_to_agree_is_not_certain():
    assert standard_error(np.zeros(100), 1000) == 0
    assert standard_error(np.zeros(100), 1000, jump=1.0) == pytest.approx(0.01 * math.sqrt(0.9))
    assert standard_error(np.zeros(100), 100, jump=1.0) == 0
    assert math.isnan(standard_error(np.zeros(1), 100))


def test_the_number_of_samples_follows_from_the_variance():
    assert needed(0.0, 1.0, 10_000) == FEWEST
    assert needed(1.0, 0.1, 10**9) == 130
    assert needed(1.0, 0.01, 10_000) == 10_000
    count = needed(1.0, 0.05, 5000)
    assert math.sqrt(1.3 / count * (1 - count / 5000)) == pytest.approx(0.05, rel=0.01)


def test_the_coarse_grid_is_halved_where_that_is_cheaper():
    grid = Nested((axis(65), axis(65)))
    assert saved(grid, np.full((65, 65), 2000), 4000) > 0
    assert saved(grid, np.full((65, 65), 200), 60_000) < 0
    assert saved(Nested((axis(9),)), np.zeros(9), 100) < 0
    smooth, rough = (certify(Synthetic(200, roughness=r), (axis(65), axis(65)), 0.001) for r in (0.0, 0.3))
    assert smooth.grid.level == 0
    assert rough.grid.level > 0


def test_memory_does_not_grow_with_the_points():
    """All per-sample values of 129² points would take 266 MB; what is held beside the coarse grid is a few."""
    peaks = []
    for size in (33, 129):
        made = estimator(Synthetic(2000, roughness=0.0), size)
        _ = made.control.means, made.control.interpolated
        tracemalloc.start()
        planned = made.plan(made.pilot())
        for place in range(0, size, 3):
            made.at(np.array((place, place // 2)), int(planned[place, place // 2]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 12e6


def test_halving_stops_at_the_memory_budget():
    rough = certify(Synthetic(200), (axis(33), axis(33)), 0.01, memory_budget=1)
    assert rough.grid.level == 0
    assert rough.reached.all()


def test_a_small_network(networks, data):
    """A real per-sample loss: coarse points as `Objective` has them, intervals that hold."""
    (model,) = networks(1, batchnorm=True)
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(900, 4, generator=rng, dtype=torch.float64)
    targets = torch.randint(3, (900,), generator=rng)
    objective = Objective(model, (inputs, targets), weight_decay=0.1)
    where = Affine(objective.theta, torch.randn(2, objective.num_parameters, generator=rng, dtype=torch.float64))
    oracle = SliceOracle(SlicedObjective(objective, where.points), where)
    labels = axis(17), axis(17)
    coordinates = np.stack([part.ravel() for part in np.meshgrid(*labels, indexing="ij")], -1)
    exact = [objective.evaluate(where(torch.from_numpy(row))) for row in coordinates]
    held = []
    for seed in range(4):
        whole = certify(oracle, labels, 0.01, (seed,))
        for name in ("loss", "error"):
            truth = np.array([row[name] for row in exact]).reshape(17, 17)
            coarse = whole.samples == 900
            np.testing.assert_allclose(whole.values[name][coarse], truth[coarse], rtol=1e-10)
            if name == "loss":
                random = whole.stderr[name] > 0
                held += list((np.abs(whole.values[name] - truth) < 1.96 * whole.stderr[name])[random])
    assert len(held) > 500
    assert 0.9 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("batchnorm", ["checkpoint", "recompute"])
def test_along_a_curve(networks, batchnorm):
    (model,) = networks(1, batchnorm=True)
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(600, 4, generator=rng, dtype=torch.float64)
    objective = Objective(model, (inputs, torch.randint(3, (600,), generator=rng)), batchnorm=batchnorm)
    points = objective.theta + torch.randn(3, objective.num_parameters, generator=rng, dtype=torch.float64)
    curve = Bezier(points)
    t = np.linspace(0, 1, 65)
    whole = certify(SliceOracle(SlicedObjective(objective, points), curve), (t,), 0.01)
    truth = np.array([objective.evaluate(curve(x))["loss"] for x in t])
    random = whole.stderr["loss"] > 0
    assert random.any()
    np.testing.assert_allclose(whole.values["loss"][~random], truth[~random], rtol=1e-10)
    assert (np.abs(whole.values["loss"] - truth)[random] < 1.96 * whole.stderr["loss"][random]).mean() > 0.85


def test_token_losses_count_tokens():
    """Samples of different lengths: the estimate is of the mean over tokens, whose number is known."""
    rng = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(5, 7, dtype=torch.float64)
    inputs = torch.randn(500, 6, 5, generator=rng, dtype=torch.float64)
    targets = torch.randint(7, (500, 6), generator=rng)
    targets[torch.arange(6) >= torch.randint(1, 7, (500, 1), generator=rng)] = -100
    objective = Objective(model, (inputs, targets))
    directions = torch.randn(1, objective.num_parameters, generator=rng, dtype=torch.float64)
    where = Affine(objective.theta, directions)
    oracle = SliceOracle(SlicedObjective(objective, where.points), where)
    oracle.check()
    assert oracle.discrete["error"] > 1
    whole = certify(oracle, (axis(33),), 0.002)
    random = whole.stderr["loss"] > 0
    assert random.any()
    truth = [objective.evaluate(oracle.where(torch.tensor([x])))["loss"] for x in axis(33)]
    np.testing.assert_allclose(whole.values["loss"][~random], np.array(truth)[~random], rtol=1e-12)
    assert (np.abs(whole.values["loss"] - truth)[random] < 4.5 * whole.stderr["loss"][random]).all()


@pytest.mark.parametrize(
    ("labels", "tolerance", "message"),
    [
        ((axis(5),), 0.0, "tolerance must lie between 0 and 1, got 0"),
        ((axis(5),), -1.0, "tolerance must lie between 0 and 1"),
        ((axis(5),), math.nan, "tolerance must lie between 0 and 1, got nan"),
        ((axis(33), axis(40)), 0.01, r"sides of 2\^k \+ 1 points, got 40: choose 33 or 65"),
    ],
)
def test_wrong_requests(labels, tolerance, message):
    with pytest.raises(RequestError, match=message):
        certify(Synthetic(50, len(labels)), labels, tolerance)
