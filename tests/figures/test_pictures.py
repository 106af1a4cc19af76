"""Every picture of every kind of store: nothing clipped, nothing overlapping, the data as they are."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Text

from landscape.errors import RequestError
from landscape.figures import PICTURES, draw
from landscape.figures.contour import limits
from landscape.figures.style import COLUMN, PAGE

CASES = {
    "page of three planes": ({"num_checkpoints": 3}, {}),
    "two planes, arc length": ({}, {"against": "arc-length"}),
    "one plane": ({"curves": ("linear", "bezier")}, {}),
    "no plane": ({"planes": False}, {}),
    "holes": ({"num_checkpoints": 3, "huge": True}, {"pair": 2, "split": "test"}),
    "regression": ({"regression": True, "splits": ["train"]}, {}),
    "unfinished": ({"done": 35}, {}),
    "nothing yet": ({"done": 0, "planes": False}, {}),
    "column of lines": ({}, {"picture": "curves"}),
    "planes alone": ({"num_checkpoints": 3}, {"picture": "planes"}),
    "matrix": ({"num_checkpoints": 4, "planes": False}, {"picture": "matrix"}),
    "large matrix": (
        {"num_checkpoints": 9, "planes": False, "curves": ("linear",), "names": [f"convnet-s{i}" for i in range(9)]},
        {"picture": "matrix"},
    ),
    "long names": ({"names": ["resnet20-cifar10-augmented-s0", "resnet20-cifar10-augmented-s1"]}, {}),
}


def ticks_outside(axes):
    """Tick labels beyond the limits exist as artists but aren't drawn."""
    hidden = set()
    for axis, limits_ in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not min(limits_) <= tick.get_loc() <= max(limits_):
                hidden |= {id(tick.label1), id(tick.label2)}
    return hidden


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_clipped_and_no_text_overlaps(trees, case):
    settings, options = CASES[case]
    figure = draw(trees.connect_tree(**settings), **options)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert figure.get_figwidth() in (COLUMN, PAGE)
    hidden = set().union(*(ticks_outside(axes) for axes in figure.findobj(Axes)))
    boxes = []
    for text in figure.findobj(Text):
        if not text.get_visible() or id(text) in hidden or not text.get_text().strip():
            continue
        box = text.get_window_extent()
        assert -0.5 <= box.x0 < box.x1 <= width + 0.5, text.get_text()
        assert -0.5 <= box.y0 < box.y1 <= height + 0.5, text.get_text()
        boxes.append((text.get_text(), box.x0 + 0.5, box.x1 - 0.5, box.y0 + 1, box.y1 - 1))
    boxes = list(dict.fromkeys(boxes))
    assert len(boxes) > 8
    for i, (name, x0, x1, y0, y1) in enumerate(boxes):
        for other, a0, a1, b0, b1 in boxes[:i]:
            assert not (x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1), (name, other)


def panels(figure, title):
    """The axes with this title."""
    return [axes for axes in all_axes(figure) if axes.get_title() == title]


def all_axes(figure):
    return [axes for part in [figure, *figure.subfigs] for axes in part.get_axes()]


def test_planes_share_their_height_and_have_equal_aspect(trees):
    figure = draw(trees.connect_tree(3))
    figure.draw_without_rendering()
    found = [panels(figure, title)[0] for title in ("independent optima", "Bézier curve", "polyline")]
    heights = [axes.get_window_extent().height for axes in found]
    assert max(heights) - min(heights) < 1.0
    for axes in found:
        box = axes.get_window_extent()
        units = np.ptp(axes.get_xlim()) / np.ptp(axes.get_ylim())
        assert box.width / box.height == pytest.approx(units, rel=1e-3)
        assert axes.get_xlabel() == "distance in weight space"


@pytest.mark.parametrize(("factor", "bound"), [(0.05, 2.2), (9.0, 0.6)])
def test_flat_and_tall_planes_get_white_margins(trees, factor, bound):
    from landscape.figures.analysis import planes

    tree = trees.connect_tree(2)
    plane = tree["connect/plane/bezier"].to_dataset(inherit=False)
    tree["connect/plane/bezier"].dataset = plane.assign_coords(beta=plane["beta"].values * factor)
    across, upward = limits(planes(tree, None, "train")[0])
    assert np.ptp(across) / np.ptp(upward) == pytest.approx(bound)


def test_lines_are_the_stored_values(trees):
    tree = trees.connect_tree(2)
    figure = draw(tree, "curves")
    loss, error = all_axes(figure)
    connect = tree["connect"].to_dataset().isel(pair=0)
    for axes, variable, factor in ((loss, "loss", 1), (error, "error", 100)):
        drawn = [line.get_ydata() for line in axes.get_lines()]
        stored = [
            connect[variable].sel(curve=curve, split=split).values * factor
            for curve in connect["curve"].values
            for split in connect["split"].values
        ]
        np.testing.assert_allclose(drawn, stored)
    assert loss.get_ylabel() == "loss (nats)"
    assert error.get_ylabel() == "error (%)"


def test_the_barrier_is_stated(trees):
    tree = trees.connect_tree(2)
    legend = draw(tree, "curves").legends[0]
    assert legend.get_title().get_text() == "loss barrier (nats), train / test"
    assert legend.get_texts()[1].get_text() == "Bézier curve: 0.020 / 0.017"
    tree["connect"]["loss"][0, 1, :, 7] = np.inf
    assert draw(tree, "curves").legends[0].get_texts()[1].get_text() == "Bézier curve: ≥ 0.020 / ≥ 0.017"


def test_nothing_is_drawn_over_cells_that_are_not_finite(trees):
    tree = trees.connect_tree(2, curves=("linear", "bezier"), huge=True)
    axes = panels(draw(tree), "Bézier curve")[0]
    plane = tree["connect/plane/bezier"].to_dataset().isel(pair=0, split=0)
    bad = ~np.isfinite(plane["loss"].values)
    assert bad.any()
    filled = [c for c in axes.collections if c.get_facecolor().size]
    rows, columns = np.nonzero(bad)
    for beta, alpha in zip(plane["beta"].values[rows], plane["alpha"].values[columns], strict=True):
        assert not any(path.contains_point((alpha, beta)) for c in filled for path in c.get_paths())
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(hatched) == 1
    inside = hatched[0].get_path()
    squares = bad[:-1, :-1] | bad[1:, :-1] | bad[:-1, 1:] | bad[1:, 1:]
    for row, column in np.ndindex(squares.shape):
        centre = [plane[dim].values[i : i + 2].mean() for dim, i in (("alpha", column), ("beta", row))]
        assert inside.contains_point(centre) == squares[row, column]


def test_colours_of_the_panels_come_from_one_scale(trees):
    tree = trees.connect_tree(3)
    figure = draw(tree)
    colours = [
        {to_hex(c) for c in panels(figure, title)[0].collections[0].get_facecolor()}
        for title in ("independent optima", "Bézier curve", "polyline")
    ]
    assert len(set().union(*colours)) <= 9
    assert all(len(a & b) >= 7 for a in colours for b in colours)


def test_wrong_requests_are_named(trees):
    tree = trees.connect_tree(2, planes=False)
    with pytest.raises(RequestError, match="unknown picture 'plane': did you mean 'planes'"):
        draw(tree, "plane")
    with pytest.raises(RequestError, match="no plane to draw"):
        draw(tree, "planes")
    with pytest.raises(RequestError, match="three checkpoints or more"):
        draw(tree, "matrix")
    with pytest.raises(RequestError, match="unknown axis 'arclength': did you mean 'arc-length'"):
        draw(tree, against="arclength")
    with pytest.raises(RequestError, match="unknown split 'valid'"):
        draw(tree, split="valid")
    with pytest.raises(RequestError, match="'matrix' of a connect store has no option 'pair': expected split"):
        draw(trees.connect_tree(3, planes=False), "matrix", pair=1)
    tree.attrs["kind"] = "sketch"
    with pytest.raises(RequestError, match=f"kind 'sketch': expected one of {', '.join(PICTURES)}"):
        draw(tree)


def test_every_kind_has_a_picture_of_its_own():
    assert all("all" in pictures for pictures in PICTURES.values())


def test_the_same_checkpoint_twice_can_be_drawn(trees):
    tree = trees.connect_tree(2, planes=False)
    connect = tree["connect"].to_dataset().copy(deep=True)
    connect["loss"][:] = 0.3
    connect["arc_length"][:] = 0.0
    tree["connect"].dataset = connect
    assert draw(tree, against="arc-length").legends[0].get_texts()[0].get_text() == "straight line: 0 / 0"


def test_matrix_states_each_barrier_once(trees):
    tree = trees.connect_tree(4, planes=False)
    figure = draw(tree, "matrix", split="test")
    straight = panels(figure, "straight line")[0]
    assert len(straight.texts) == 6
    stored = tree["connect"]["barrier"].sel(curve="linear", split="test").values
    assert sorted(float(text.get_text()) for text in straight.texts) == pytest.approx(sorted(stored), abs=0.06)


@pytest.mark.parametrize("settings", [{}, {"regression": True, "steps": 7}, {"test": False, "steps": 1}])
def test_history_shows_what_was_measured(trees, settings):
    tree = trees.train_tree(**settings)
    figure = draw(tree)
    history = tree["train"].to_dataset()
    shown = [variable for variable in ("loss", "error") if variable in history]
    assert len(all_axes(figure)) == len(shown)
    for axes, variable in zip(all_axes(figure), shown, strict=True):
        factor = 100 if variable == "error" else 1
        for line, split in zip(axes.get_lines(), history["split"].values, strict=True):
            np.testing.assert_allclose(line.get_ydata(), history[variable].sel(split=split).values * factor)
    assert all_axes(figure)[-1].get_xlabel() == "step"


def test_history_skips_steps_at_which_a_split_was_not_measured(trees):
    tree = trees.train_tree()
    history = tree["train"].to_dataset().copy(deep=True)
    history["loss"][::2, 1] = np.nan
    tree["train"].dataset = history
    _, test = all_axes(draw(tree))[0].get_lines()
    assert len(test.get_xdata()) == 100
