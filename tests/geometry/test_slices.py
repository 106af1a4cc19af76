"""Lines, planes and curves: algebra that holds for all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.geometry.slices import (
    CURVES,
    Affine,
    Bezier,
    Line,
    Polyline,
    combine,
    make_curve,
    straight_control_points,
)

NAMES = ["linear", *CURVES]
DTYPES = [torch.float32, torch.float64]
curves = st.sampled_from(NAMES)
orders = st.integers(1, 6)
seeds = st.integers(0, 1000)
unit = st.floats(0, 1)


def points(num, dims=5, seed=0, dtype=torch.float64):
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def curve_of(name, order, seed=0, dtype=torch.float64):
    return make_curve(name, points(2 if name == "linear" else order + 1, seed=seed, dtype=dtype))


def scalar(t):
    return torch.tensor(t, dtype=torch.float64)


@given(curves, orders, seeds, st.sampled_from(DTYPES), st.sampled_from(DTYPES))
def test_ends_are_exact_bit_for_bit(name, order, seed, dtype, t_dtype):
    curve = curve_of(name, order, seed, dtype)
    ends = curve(torch.tensor([0.0, 1.0], dtype=t_dtype))
    assert ends.dtype == dtype
    assert torch.equal(ends[0], curve.control_points[0])
    assert torch.equal(ends[1], curve.control_points[-1])


def test_ends_are_exact_beside_points_that_are_not_finite():
    for name in CURVES:
        curve = make_curve(name, torch.tensor([[1.0], [torch.inf], [3.0]]))
        assert curve(torch.tensor([0.0, 1.0])).tolist() == [[1.0], [3.0]]


@given(curves, orders, unit)
def test_basis_is_a_partition_of_unity(name, order, t):
    basis = curve_of(name, order).basis(scalar(t))
    assert basis.sum().item() == pytest.approx(1, abs=1e-13)
    assert basis.min() >= 0


@given(curves, orders, st.lists(unit, min_size=1, max_size=4), seeds)
def test_points_are_basis_times_control_points(name, order, t, seed):
    curve = curve_of(name, order, seed)
    t = torch.tensor(t, dtype=torch.float64)
    torch.testing.assert_close(curve(t), curve.basis(t) @ curve.control_points, rtol=1e-12, atol=1e-13)


@given(curves, orders, st.floats(0.01, 0.99))
def test_velocity_basis_is_the_derivative(name, order, t):
    curve = curve_of(name, order)
    step = 1e-6
    if (curve.knots() - t).abs().min() < 2 * step:  # no derivative at a bend
        return
    difference = (curve.basis(scalar(t + step)) - curve.basis(scalar(t - step))) / (2 * step)
    torch.testing.assert_close(curve.velocity_basis(scalar(t)), difference, rtol=1e-7, atol=1e-7)


@given(curves, orders, seeds, unit)
def test_affine_invariance(name, order, seed, t):
    curve = curve_of(name, order, seed)
    matrix, shift = points(5, 3, seed + 1), points(1, 3, seed + 2)[0]
    mapped = make_curve(name, curve.control_points @ matrix + shift)
    torch.testing.assert_close(mapped(scalar(t)), curve(scalar(t)) @ matrix + shift, rtol=1e-11, atol=1e-12)


@given(orders, seeds, unit)
def test_bezier_of_a_degree_more(order, seed, t):
    w = points(order + 1, seed=seed)
    j = torch.arange(order + 2, dtype=torch.float64)[:, None] / (order + 1)
    zero = torch.zeros(1, w.shape[1], dtype=torch.float64)
    raised = j * torch.cat([zero, w]) + (1 - j) * torch.cat([w, zero])
    torch.testing.assert_close(Bezier(raised)(scalar(t)), Bezier(w)(scalar(t)), rtol=1e-11, atol=1e-12)


def test_bezier_of_garipov():
    w = points(3)
    t = scalar(0.3)
    torch.testing.assert_close(Bezier(w)(t), 0.49 * w[0] + 0.42 * w[1] + 0.09 * w[2])


@given(orders, seeds)
def test_polyline_passes_through_its_points(order, seed):
    curve = Polyline(points(order + 1, seed=seed))
    torch.testing.assert_close(curve(curve.knots()), curve.control_points, rtol=1e-12, atol=1e-13)
    middle = (curve.knots()[1:] + curve.knots()[:-1]) / 2
    expected = (curve.control_points[1:] + curve.control_points[:-1]) / 2
    torch.testing.assert_close(curve(middle), expected, rtol=1e-12, atol=1e-13)


def test_one_bend_is_reached_exactly_at_one_half():
    w = points(3, dtype=torch.float32)
    assert torch.equal(Polyline(w)(torch.tensor(0.5)), w[1])


@given(seeds, st.floats(-2, 3))
def test_line(seed, t):
    w = points(2, seed=seed)
    torch.testing.assert_close(Line(w)(scalar(t)), (1 - t) * w[0] + t * w[1], rtol=1e-12, atol=1e-13)


def test_coordinates_of_any_shape():
    for name in NAMES:
        curve = curve_of(name, 3)
        assert curve(scalar(0.2)).shape == (5,)
        assert curve(torch.rand(4, 2)).shape == (4, 2, 5)
        assert curve(torch.rand(0)).shape == (0, 5)


@given(seeds, st.lists(st.floats(-3, 3), min_size=1, max_size=3))
def test_affine_in_one_to_three_directions(seed, where):
    origin, *directions = points(1 + len(where), seed=seed)
    space = Affine(origin, torch.stack(directions))
    found = space(torch.tensor([where, [0.0] * len(where)], dtype=torch.float64))
    expected = origin + sum(x * direction for x, direction in zip(where, directions, strict=True))
    torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(found[1], origin)


@pytest.mark.parametrize("shape", [(5,), (0, 5), (4, 5), (2, 4)])
def test_directions_that_do_not_fit_are_refused(shape):
    with pytest.raises(RequestError, match="don't fit an origin"):
        Affine(torch.zeros(5), torch.zeros(shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_combinations(dtype):
    vectors = points(3, dtype=dtype)
    coefficients = torch.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = combine(coefficients, vectors)
    assert found.dtype == dtype
    torch.testing.assert_close(found, coefficients.to(dtype) @ vectors)
    assert torch.equal(found[1], vectors[1])
    assert not found[2].any()


@given(st.integers(1, 5), seeds, st.sampled_from(DTYPES))
def test_fits_start_on_the_straight_line(bends, seed, dtype):
    start, end = points(2, seed=seed, dtype=dtype)
    control = straight_control_points(start, end, bends)
    assert control.shape == (bends + 2, 5)
    assert control.dtype == dtype
    assert torch.equal(control[0], start)
    assert torch.equal(control[-1], end)
    steps = control.diff(dim=0)
    torch.testing.assert_close(steps, ((end - start) / (bends + 1)).expand_as(steps), rtol=1e-4, atol=1e-6)


def test_gradient_of_a_control_point_is_its_coefficient_times_the_gradient():
    for name in NAMES:
        w = curve_of(name, 3).control_points.requires_grad_()
        t = scalar(0.37)
        theta = make_curve(name, w).basis(t) @ w
        (expected,) = torch.autograd.grad(theta.pow(3).sum(), w)
        gradient = 3 * theta.detach().square()
        torch.testing.assert_close(torch.outer(make_curve(name, w).basis(t), gradient), expected)


def test_bad_curves():
    with pytest.raises(RequestError, match="unknown curve 'bezeir': did you mean 'bezier'"):
        make_curve("bezeir", points(3))
    with pytest.raises(RequestError, match="at least one bend, got 0"):
        straight_control_points(*points(2), 0)
    for wrong in (points(1), points(3)[0]):
        with pytest.raises(ValueError, match="expected control points"):
            Bezier(wrong)
    with pytest.raises(ValueError, match="a line has two ends, got 3"):
        make_curve("linear", points(3))
