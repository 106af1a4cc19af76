"""The colour scale: levels grow from the minimum, labels are true, colours fall evenly in grey."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.figures.scale import CAP, Scale, palette, scale_of, steps_of

finite = st.lists(st.floats(0, 1e8), min_size=2, max_size=40)


@given(finite)
def test_levels_grow_from_the_minimum_and_hold_every_value(values):
    values = np.array(values)
    scale = scale_of([values])
    widths = np.diff(scale.levels)
    assert (widths > 0).all()
    assert scale.levels[0] <= values.min()
    assert scale.capped == (values.max() > scale.levels[-1])


@given(finite)
def test_height_keeps_the_order(values):
    values = np.sort(np.array(values))
    assert (np.diff(scale_of([values]).height(values)) >= 0).all()


def test_levels_are_geometric_in_the_distance_from_the_minimum():
    values = 0.5 + np.geomspace(1e-4, 4, 2001)
    scale = scale_of([values])
    ratios = (scale.levels[2:] - 0.5) / (scale.levels[1:-1] - 0.5)
    assert not scale.capped
    # levels are rounded to one digit, so that the ratio of neighbours is only roughly constant
    assert ratios.max() < 1.5 * ratios.min()


def test_large_losses_share_the_last_colour():
    scale = scale_of([np.geomspace(0.01, 1e6, 100)])
    places, names = scale.ticks()
    assert scale.levels[-1] == CAP
    assert names[-1] == "> 5"
    assert scale.boundaries[-2] < places[-1] < scale.boundaries[-1]


def test_a_minimum_above_the_cap_raises_it():
    scale = scale_of([np.linspace(8, 100, 50)])
    assert scale.levels[-1] > 8
    assert len(scale.levels) > 4


def test_numbers_on_the_colour_bar_are_the_levels():
    scale = scale_of([0.4932 + np.geomspace(0.001, 30, 300)])
    _, names = scale.ticks()
    assert [float(name) for name in names[:-1]] == list(scale.levels[:-1])


@pytest.mark.parametrize("values", [[0.7, 0.7], [np.nan, np.inf], [0.0, 0.0]])
def test_constant_or_absent_values_still_have_a_scale(values):
    scale = scale_of([np.array(values)])
    assert (np.diff(scale.levels) > 0).all()
    assert np.isfinite(scale.levels).all()


def test_values_that_are_not_finite_are_masked():
    heights = scale_of([np.array([0.1, 2.0])]).height(np.array([0.1, np.nan, np.inf, -np.inf, 2.0]))
    assert list(np.ma.getmaskarray(heights)) == [False, True, True, True, False]


def test_steps_begin_at_zero_and_are_round():
    scale = steps_of(np.array([0.0, 0.012, 2.4, np.nan]))
    np.testing.assert_allclose(scale.levels, [0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5])
    np.testing.assert_allclose(steps_of(np.array([0.3])).levels, [0, 0.2, 0.5])
    assert steps_of(np.zeros(3)).levels[0] == 0


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=20))
def test_steps_hold_every_value(values):
    scale = steps_of(np.array(values))
    assert scale.levels[-1] >= max(values)
    assert len(scale.levels) <= 9
    assert (np.diff(scale.levels) > 0).all()


def test_colours_fall_evenly_in_grey():
    grey = palette(9)(np.arange(9))[:, :3] @ [0.299, 0.587, 0.114]
    steps = -np.diff(grey)
    assert (steps > 0.05).all()
    assert grey[0] > 0.95


def test_mappable_gives_each_band_its_own_colour():
    scale = Scale(np.array([0.0, 1.0, 2.0, 4.0]))
    colours = scale.mappable.to_rgba(np.array([0.5, 1.5, 3.0, 5.0]))
    assert len(np.unique(colours, axis=0)) == 4
