"""Directions: norms, angles and projections against their definitions, and what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landscape.errors import RequestError
from landscape.geometry.directions import (
    NORMALIZATIONS,
    angles,
    check,
    difference,
    gaussian,
    normalize,
    orthogonalize,
    orthonormal,
    principal_axes,
    project,
    without_biases,
)
from landscape.objective.parameters import Layout, filter_axes

seeds = st.integers(0, 1000)


def points(num, dims=12, seed=0):
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def network():
    """One of each: convolution, transposed convolution, BatchNorm, LayerNorm over two axes, linear."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (
            nn.Conv2d(2, 3, 3),
            nn.BatchNorm2d(3),
            nn.ConvTranspose2d(3, 4, 2),
            nn.LayerNorm((5, 7)),
            nn.Linear(6, 5),
        )
        module = nn.Sequential(*layers).double()
        for tensor in module.parameters():
            nn.init.normal_(tensor)
    layout = Layout.of(module)
    return layout, filter_axes(module, layout), layout.flatten(dict(module.named_parameters()))


def test_filter_axes(network):
    layout, axes, _ = network
    expected = [0, None, None, None, 1, None, None, None, 0, None]
    assert dict(zip(layout.names, axes, strict=True)) == dict(zip(layout.names, expected, strict=True))


def test_each_filter_gets_the_norm_of_its_weights(network):
    layout, axes, theta = network
    raw = gaussian(2, theta, torch.Generator().manual_seed(1))
    for before, direction in zip(raw, normalize(raw, theta, layout, axes, "filter"), strict=True):
        for old, new, weights, axis in zip(*map(layout.split, (before, direction, theta)), axes, strict=True):
            units = range(new.shape[axis]) if axis is not None else [slice(None)]
            for unit in units:
                o, n, w = (t.select(axis, unit) if axis is not None else t for t in (old, new, weights))
                assert float(n.norm()) == pytest.approx(float(w.norm()), rel=1e-12)
                torch.testing.assert_close(n / n.norm(), o / o.norm())


def test_each_layer_gets_the_norm_of_its_weights(network):
    layout, axes, theta = network
    direction = normalize(gaussian(1, theta, torch.Generator().manual_seed(1)), theta, layout, axes, "layer")[0]
    for new, weights in zip(layout.split(direction), layout.split(theta), strict=True):
        assert float(new.norm()) == pytest.approx(float(weights.norm()), rel=1e-12)


@pytest.mark.parametrize("by", ["filter", "layer"])
def test_normalised_directions_follow_rescaled_weights(network, by):
    """The point of it: scaling a layer up scales the direction with it, whatever the direction's own scale."""
    layout, axes, theta = network
    raw = gaussian(1, theta, torch.Generator().manual_seed(1))
    scale = layout.flatten([torch.full(shape, 2.0**k) for k, shape in enumerate(layout.shapes)]).double()
    torch.testing.assert_close(
        normalize(5 * raw, scale * theta, layout, axes, by), scale * normalize(raw, theta, layout, axes, by)
    )


def test_unit_and_none(network):
    layout, axes, theta = network
    raw = gaussian(3, theta, torch.Generator().manual_seed(1))
    assert torch.equal(normalize(raw, theta, layout, axes, "none"), raw)
    unit = normalize(raw, theta, layout, axes, "unit")
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(3, dtype=torch.float64))
    with pytest.raises(RequestError, match="unknown normalisation 'filtre': did you mean 'filter'"):
        normalize(raw, theta, layout, axes, "filtre")


@pytest.mark.parametrize("by", NORMALIZATIONS)
def test_zero_filters_stay_zero(network, by):
    layout, axes, theta = network
    zero = torch.zeros_like(theta)
    assert not normalize(zero[None], theta, layout, axes, by).any()
    if by in ("filter", "layer"):
        assert not normalize(theta[None], zero, layout, axes, by).any()


def test_biases_and_norm_weights_can_be_left_alone(network):
    layout, axes, theta = network
    kept = layout.split(without_biases(theta[None], layout, axes)[0])
    for part, weights, axis in zip(kept, layout.split(theta), axes, strict=True):
        assert torch.equal(part, weights if axis is not None else torch.zeros_like(weights))


def test_a_seed_gives_the_same_direction_in_every_precision(network):
    theta = network[2]
    draw = {
        dtype: gaussian(2, theta.to(dtype), torch.Generator().manual_seed(3))
        for dtype in (torch.float32, torch.float64)
    }
    assert torch.equal(draw[torch.float32].double(), draw[torch.float64])
    assert not torch.equal(draw[torch.float64][0], draw[torch.float64][1])


def test_differences():
    thetas = points(3)
    assert torch.equal(difference(thetas), torch.stack([thetas[1] - thetas[0], thetas[2] - thetas[0]]))


@given(seeds, st.integers(1, 3))
def test_principal_axes_are_those_of_the_covariance(seed, count):
    thetas = points(6, dims=9, seed=seed)
    found = principal_axes(thetas, count)
    values, vectors = torch.linalg.eigh(torch.cov(thetas.T))
    values, vectors = values.flip(0), vectors.flip(1)
    torch.testing.assert_close(found.explained, values[:count] / values.sum())
    torch.testing.assert_close((found.directions @ vectors[:, :count]).abs(), torch.eye(count, dtype=torch.float64))
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(count, dtype=torch.float64))
    rebuilt = thetas[-1] + found.coordinates @ found.directions
    torch.testing.assert_close((thetas - rebuilt).norm(dim=1), found.residuals, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.coordinates, (thetas - thetas[-1]) @ found.directions.T)


def test_points_of_a_plane_have_no_residual():
    basis = orthonormal(points(2, dims=40))
    thetas = points(1, dims=40, seed=5) + points(5, dims=2, seed=6) @ basis
    found = principal_axes(thetas, 2)
    assert float(found.explained.sum()) == pytest.approx(1)
    assert float(found.residuals.max()) < 1e-12
    with pytest.raises(RequestError, match="5 checkpoints vary along 2 directions, too few for 3 axes"):
        principal_axes(thetas, 3)


def test_equal_checkpoints_have_no_principal_axes():
    with pytest.raises(RequestError, match="vary along 0 directions"):
        principal_axes(torch.ones(4, 7), 1)


def test_projection_on_oblique_directions_is_least_squares():
    directions, differences = points(2), points(5, seed=1)
    coordinates, residuals = project(differences, directions)
    expected = torch.linalg.lstsq(directions.T, differences.T)
    torch.testing.assert_close(coordinates, expected.solution.T)
    torch.testing.assert_close(residuals, (differences.T - directions.T @ expected.solution).norm(dim=0))


@given(seeds, st.integers(2, 3), st.sampled_from([torch.float32, torch.float64]))
def test_orthogonalising_keeps_lengths_and_the_first(seed, count, dtype):
    directions = points(count, seed=seed).to(dtype)
    directions[1] += 3 * directions[0]
    made = orthogonalize(directions)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.equal(made[0], directions[0])
    torch.testing.assert_close(made.norm(dim=1), directions.norm(dim=1), rtol=tolerance, atol=0)
    right = torch.full((count, count), 90.0, dtype=torch.float64).fill_diagonal_(0)
    torch.testing.assert_close(angles(made), right, atol=100 * tolerance, rtol=0)


def test_angles():
    directions = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, 45, 90], [45, 0, 135], [90, 135, 0]], dtype=torch.float64)
    torch.testing.assert_close(angles(directions), expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 0, 0], [0, 0, 0]], "direction 'beta' is zero"),
        ([[1.0, math.nan, 0], [0, 1, 0]], "direction 'alpha' holds values that are not finite"),
        ([[1.0, 2, 3], [-2, -4, -6]], "'alpha' and 'beta' are parallel"),
        ([[1.0, 2, 3], [1, 2, 3.00001]], "'alpha' and 'beta' are parallel"),
        ([[1.0, 0, 0], [0, 1, 0], [2, -3, 0]], "'gamma' lies in a plane with those before it"),
    ],
)
def test_what_spans_no_slice_is_refused(rows, message):
    with pytest.raises(RequestError, match=message):
        check(torch.tensor(rows, dtype=torch.float64), ["alpha", "beta", "gamma"][: len(rows)])


def test_independent_directions_pass():
    directions = torch.tensor([[1.0, 2, 3], [1, 2, 3.1]], dtype=torch.float32)
    assert check(directions, ["alpha", "beta"]) is directions
