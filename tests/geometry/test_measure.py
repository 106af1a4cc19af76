"""Lengths and planes against closed forms and dense least squares."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.geometry.measure import arc_length, fit_plane, gram
from landscape.geometry.slices import Bezier, Line, Polyline

seeds = st.integers(0, 1000)
DTYPES = [torch.float32, torch.float64]


def points(num, dims=7, seed=0, dtype=torch.float64):
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def grid(num=11):
    return torch.linspace(0, 1, num, dtype=torch.float64)


def test_gram():
    vectors = points(3, 50, dtype=torch.float32)
    expected = vectors.double() @ vectors.double().T
    for block in (1, 7, 50, 1000):
        torch.testing.assert_close(gram(vectors, block), expected, rtol=1e-13, atol=1e-13)


@given(seeds, st.sampled_from(DTYPES))
def test_length_of_a_line(seed, dtype):
    w = points(2, seed=seed, dtype=dtype)
    lengths = arc_length(Line(w), grid())
    assert lengths.dtype == torch.float64
    torch.testing.assert_close(
        lengths, grid() * (w[1] - w[0]).double().norm(), rtol=1e-6 if dtype == DTYPES[0] else 1e-12, atol=0
    )
    assert lengths[0] == 0


@given(seeds, st.integers(1, 5))
def test_length_of_a_polyline(seed, order):
    curve = Polyline(points(order + 1, seed=seed))
    segments = curve.control_points.diff(dim=0).norm(dim=1)
    expected = torch.cat([torch.zeros(1, dtype=torch.float64), segments.cumsum(0)])
    torch.testing.assert_close(arc_length(curve, curve.knots()), expected, rtol=1e-12, atol=1e-12)
    assert arc_length(curve, torch.ones(1)).item() == pytest.approx(segments.sum().item())


def test_length_of_a_parabola():
    # (t, t^2) for t in [0, 1] as a Bézier curve: the length is (2 sqrt 5 + asinh 2) / 4.
    curve = Bezier(torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]], dtype=torch.float64))
    t = grid()
    expected = (2 * t * (1 + 4 * t * t).sqrt() + torch.asinh(2 * t)) / 4
    torch.testing.assert_close(arc_length(curve, t), expected, rtol=1e-13, atol=1e-14)
    assert arc_length(curve, t[-1:]).item() == pytest.approx((2 * math.sqrt(5) + math.asinh(2)) / 4, rel=1e-13)


@given(seeds, st.integers(2, 5))
def test_length_of_a_bezier_curve_by_fine_sampling(seed, order):
    curve = Bezier(points(order + 1, seed=seed))
    fine = grid(4001)
    chords = curve.basis(fine).matmul(curve.control_points).diff(dim=0).norm(dim=1)
    assert arc_length(curve, grid(61))[-1].item() == pytest.approx(chords.sum().item(), rel=1e-6)


def test_lengths_far_from_the_origin():
    # The differences of float32 points are what counts, not their size.
    shift = torch.full((7,), 1000.0)
    w = points(3, dtype=torch.float32).round(decimals=2) + shift
    exact = arc_length(Bezier(w.double()), grid())
    torch.testing.assert_close(arc_length(Bezier(w), grid()), exact, rtol=1e-5, atol=1e-6)


def test_lengths_at_any_values_of_t():
    curve = Bezier(points(3))
    t = torch.tensor([0.3, 0.3, 0.7], dtype=torch.float32)
    found = arc_length(curve, t)
    assert found[0] == found[1] < found[2]
    torch.testing.assert_close(found, arc_length(curve, t.double()))


def orthonormal(fitted, tolerance):
    directions = fitted.plane.directions.double()
    torch.testing.assert_close(directions @ directions.T, torch.eye(2).double(), rtol=0, atol=tolerance)


@given(seeds, st.sampled_from(DTYPES))
def test_plane_through_three_points_is_exact(seed, dtype):
    w = points(3, seed=seed, dtype=dtype)
    fitted = fit_plane(w)
    tolerance = 100 * torch.finfo(dtype).eps
    orthonormal(fitted, tolerance)
    coordinates, residuals = fitted.project(torch.eye(3))
    assert residuals.max() < 10 * tolerance
    torch.testing.assert_close(fitted.plane(coordinates.to(dtype)), w, rtol=0, atol=10 * tolerance)
    assert coordinates[0].tolist() == [0, 0]
    span = (w[2] - w[0]).double().norm().item()
    assert coordinates[2].tolist() == pytest.approx([span, 0], abs=10 * tolerance)
    assert coordinates[1, 1] > 0  # the bend is always on the same side
    # Coordinates are distances in weight space.
    torch.testing.assert_close(
        torch.cdist(coordinates, coordinates),
        torch.cdist(w.double(), w.double()),
        rtol=1e-3 if dtype == DTYPES[0] else 1e-6,
        atol=10 * tolerance,
    )


@given(seeds, st.integers(4, 7))
def test_plane_near_more_points_is_the_least_squares_one(seed, num):
    w = points(num, seed=seed)
    fitted = fit_plane(w)
    orthonormal(fitted, 1e-10)
    coordinates, residuals = fitted.project(torch.eye(num))
    # Residuals are distances to the plane.
    directions, differences = fitted.plane.directions, w - w[0]
    solution = torch.linalg.lstsq(directions.T, differences.T).solution.T
    torch.testing.assert_close(coordinates, solution, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(residuals, (differences - solution @ directions).norm(dim=1), rtol=1e-6, atol=1e-7)
    assert residuals[0] == 0
    assert residuals[-1] < 1e-7
    # No plane that holds both ends is nearer: compare with the singular values of the rest.
    axis = differences[-1] / differences[-1].norm()
    rest = differences - torch.outer(differences @ axis, axis)
    singular = torch.linalg.svdvals(rest)
    assert residuals.square().sum().item() == pytest.approx(singular[1:].square().sum().item(), rel=1e-6, abs=1e-10)


@given(seeds, st.integers(3, 5))
def test_curves_are_projected_as_their_points_are(seed, num):
    curve = Bezier(points(num, seed=seed))
    fitted = fit_plane(curve.control_points)
    t = grid(5)
    coordinates, residuals = fitted.project(curve.basis(t))
    away = curve(t) - fitted.plane(coordinates)
    torch.testing.assert_close(residuals, away.norm(dim=1), rtol=1e-6, atol=1e-7)
    if num == 3:
        assert residuals.max() < 1e-7


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_on_one_line(dtype):
    w = Line(points(2, dtype=dtype))(grid(5))
    fitted = fit_plane(w)
    orthonormal(fitted, 1e-5 if dtype == torch.float32 else 1e-12)
    coordinates, residuals = fitted.project(torch.eye(5))
    span = (w[-1] - w[0]).double().norm()
    torch.testing.assert_close(coordinates[:, 0], grid(5) * span, rtol=1e-5, atol=1e-5)
    assert coordinates[:, 1].abs().max() < 1e-5
    assert residuals.max() < 1e-5


def test_two_points():
    w = points(2)
    fitted = fit_plane(w)
    orthonormal(fitted, 1e-12)
    assert fitted.project(torch.eye(2))[1].max() < 1e-12


def test_bends_hardly_off_the_line():
    w = points(2)
    for offset in (1e-2, 1e-4, 1e-6, 1e-9, 0.0):
        away = torch.zeros(7, dtype=torch.float64)
        away[3] = offset
        bent = torch.stack([w[0], w.mean(0) + away, w[1]])
        fitted = fit_plane(bent)
        orthonormal(fitted, 1e-6)
        coordinates, residuals = fitted.project(torch.eye(3))
        torch.testing.assert_close(fitted.plane(coordinates), bent, rtol=0, atol=max(1e-9, 1e-7 * offset))
        assert residuals.max() < 2e-8


def test_no_plane():
    w = points(3)
    for wrong in (w[[0, 1, 0]], w[[0, 0]]):
        with pytest.raises(RequestError, match="the end points coincide"):
            fit_plane(wrong)
    with pytest.raises(RequestError, match="at least two parameters"):
        fit_plane(w[:2, :1])
