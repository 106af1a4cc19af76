"""Direct labels cover nothing and stay inside; names are shortened and stay distinct."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.figures.labels import Label, place_labels, settle, shorten, spread
from landscape.figures.style import new_figure, styled


def test_labels_keep_clear_of_lines_of_each_other_and_of_the_frame():
    x = np.linspace(0, 1, 50)
    lines = [np.stack([x, y], axis=-1) for y in (4 * x * (1 - x), 0.2 + 0 * x, 0.2 + 0.02 * x)]
    with styled():
        figure = new_figure(3.3, 2)
        axes = figure.subplots()
        for line in lines:
            axes.plot(*line.T)
        settle(axes)
        place_labels(axes, [Label(f"line {i}", line) for i, line in enumerate(lines)], lines)
        figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 3
    frame = axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
        for line in lines:
            dense = np.stack([np.interp(np.linspace(0, 49, 2000), np.arange(50), c) for c in line.T], axis=-1)
            points = axes.transData.transform(dense)
            assert not ((points > box.min) & (points < box.max)).all(axis=1).any()


def test_a_label_without_a_place_is_left_out():
    with styled():
        figure = new_figure(2, 2)
        axes = figure.subplots()
        place_labels(axes, [Label("nowhere", np.full((3, 2), np.nan))], [])
    assert not axes.texts


def test_names_lose_what_they_have_in_common():
    assert shorten(["resnet20-cifar10-seed0", "resnet20-cifar10-seed1"]) == ["seed0", "seed1"]
    assert shorten(["seed0", "seed1"]) == ["seed0", "seed1"]
    assert shorten(["a_very_long_name_indeed"]) == ["a_very…_indeed"]
    assert shorten([]) == []


@given(st.lists(st.text("ab-_.", min_size=1, max_size=30), min_size=1, max_size=6, unique=True))
def test_shortened_names_are_short_and_distinct(names):
    short = shorten(names)
    assert len(set(short)) == len(names)
    assert all(0 < len(name) <= 14 for name in short)


@pytest.mark.parametrize("seed", range(5))
def test_spread_places_keep_their_gap_and_order(seed):
    rng = np.random.default_rng(seed)
    places = np.sort(rng.random(12))
    moved = spread(places, 0.06, 0.0, 1.0)
    assert (np.diff(moved) >= 0.06 - 1e-12).all()
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-12
    np.testing.assert_allclose(spread(places, 0.0), places)


def test_spread_moves_as_little_as_possible():
    np.testing.assert_allclose(spread(np.array([0.0, 0.5, 0.5, 1.0]), 0.1), [0.0, 0.45, 0.55, 1.0])
    np.testing.assert_allclose(spread(np.array([0.0, 0.0]), 0.5, low=0.0), [0.0, 0.5])
    np.testing.assert_allclose(spread(np.array([0.0, 0.5, 1.0]), 0.7, 0.0, 1.0), [0.0, 0.7, 1.4])  # no room
