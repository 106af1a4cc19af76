"""Splines as matrices: the same as scipy's, nodes to the last bit, several axes at once, means of interpolants."""

import itertools

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from landscape.linalg.splines import TensorSpline, spline_matrix


def test_not_a_knot_as_scipys():
    nodes, points = np.array([-1.0, -0.3, 0.1, 0.5, 2.0, 2.2]), np.linspace(-1, 2.2, 41)
    values = np.sin(3 * nodes)
    expected = CubicSpline(nodes, values, bc_type="not-a-knot")(points)
    np.testing.assert_allclose(spline_matrix(nodes, points) @ values, expected, atol=1e-13)


def test_cubics_are_reproduced_and_rows_add_up():
    nodes, points = np.linspace(-1, 1, 9), np.linspace(-1, 1, 65)
    matrix = spline_matrix(nodes, points)
    np.testing.assert_allclose(matrix @ (nodes**3 - nodes), points**3 - points, atol=1e-14)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-14)
    assert np.array_equal(matrix[::8], np.eye(9))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_nodes_make_a_lower_degree(count):
    nodes, points = np.linspace(0, 1, count), np.linspace(0, 1, 5)
    polynomial = np.arange(1.0, count + 1)
    expected = np.polyval(polynomial, points)
    np.testing.assert_allclose(spline_matrix(nodes, points) @ np.polyval(polynomial, nodes), expected, atol=1e-14)


def test_nodes_must_increase():
    with pytest.raises(ValueError, match="increase"):
        spline_matrix(np.array([0.0, 0.0]), np.zeros(1))
    with pytest.raises(ValueError, match="1 axes of nodes, but 2"):
        TensorSpline([np.arange(4.0)], [np.arange(4.0)] * 2)


def test_the_axes_are_not_exchanged_and_points_agree_with_the_grid():
    labels = np.linspace(-1, 1, 17), np.linspace(0, 1, 9), np.linspace(0, 2, 5)
    nodes = [axis[::step] for axis, step in zip(labels, (4, 2, 1), strict=True)]
    spline = TensorSpline(nodes, labels)
    assert (spline.coarse_shape, spline.fine_shape) == ((5, 5, 5), (17, 9, 5))

    def function(x, y, z):
        return x**3 + 10 * x * y**2 + 100 * y * z**3

    values = function(*np.meshgrid(*nodes, indexing="ij"))
    grid = spline.grid(values)
    np.testing.assert_allclose(grid, function(*np.meshgrid(*labels, indexing="ij")), atol=1e-11)
    samples = np.stack([values.ravel(), 2 * values.ravel()])
    for position in itertools.islice(np.ndindex(spline.fine_shape), 0, None, 37):
        np.testing.assert_allclose(spline.at(samples, position), grid[position] * np.array([1, 2]), atol=1e-11)


def test_the_mean_of_interpolants_is_the_interpolant_of_the_mean():
    rng = np.random.default_rng(0)
    spline = TensorSpline([np.linspace(0, 1, 5)] * 2, [np.linspace(0, 1, 9)] * 2)
    samples = rng.exponential(size=(50, 25))
    assert spline.at(samples, (3, 5)).mean() == pytest.approx(spline.grid(samples.mean(axis=0))[3, 5], rel=1e-12)
