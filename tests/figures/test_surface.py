"""Pictures of surfaces: the data as they are, one scale, nothing clipped, nothing drawn where nothing was computed."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Text
from mpl_toolkits.mplot3d import Axes3D

from landscape.errors import RequestError
from landscape.figures import draw, report, summary
from landscape.figures.contour import MISSING
from landscape.figures.style import COLUMN, PAGE

LETTERS = ("alpha", "beta", "gamma")


def bowl(alpha, beta=0.0, gamma=0.0, depth=0.1):
    return depth + 3 * (alpha - 0.1) ** 2 + 1.5 * (beta + 0.2 * alpha) ** 2 + gamma**2


def surface_tree(axes=2, checkpoints=("flat", "sharp"), kind="filter", bad=False, done=None, samples=100):
    """What `landscape surface` stores, of a closed form; the second checkpoint's bowl is ten times as steep."""
    labels = {name: np.linspace(-1, 1 + 0.5 * k, 9 + 2 * k) for k, name in enumerate(LETTERS[:axes])}
    where = xr.Dataset(coords=labels)
    steep = xr.DataArray(10.0 ** np.arange(len(checkpoints)), dims="checkpoint")
    split = xr.DataArray([1.0, 1.3], dims="split")
    loss = bowl(*(where[name] for name in labels)) * steep * split
    order = ("checkpoint", "split", *reversed(labels))
    loss = loss.transpose(*order)
    status = np.ones(loss.isel(split=0).shape, np.int8)
    if bad:
        loss[..., -1] = np.nan
        loss[..., -2] = np.inf
        status[..., -2:] = 2
    if done is not None:
        status.reshape(-1)[done:] = 0
        loss = loss.where(xr.DataArray(status > 0, dims=("checkpoint", *order[2:])))
    loss = loss.transpose(*order)
    node = xr.Dataset(
        {
            "loss": (order, loss.values, {"units": "nats"}),
            "loss_stderr": (order, 0.02 * np.nan_to_num(loss.values, posinf=0), {"units": "nats"}),
            "samples": (order, np.full(loss.shape, samples)),
            "status": (("checkpoint", *order[2:]), status),
            "checkpoint_loss": (("checkpoint", "split"), np.array([[0.1, 0.2], [1.0, 2.0]])[: len(checkpoints)]),
        },
        coords={"checkpoint": list(checkpoints), "split": ["train", "test"], **labels},
        attrs={"directions": kind, "normalize": "filter" if kind == "filter" else "none"},
    )
    names = list(labels)
    along = ("checkpoint", "direction")
    directions = xr.Dataset(
        {
            "norm": (along, np.full((len(checkpoints), axes), 4.9)),
            "angle": ((*along, "other"), np.tile(90 * (1 - np.eye(axes)), (len(checkpoints), 1, 1))),
        },
        coords={"checkpoint": list(checkpoints), "direction": names, "other": names},
    )
    tree = {"/": xr.Dataset(attrs={"kind": "surface", "complete": int(done is None)}), "/surface": node}
    if kind in ("pca", "difference"):
        count = 6 if kind == "pca" else 1 + axes
        if kind == "pca":
            directions["explained_variance"] = ("direction", np.array([0.8, 0.15, 0.02])[:axes])
        points = {f"point_{name}": ("point", 0.9 * np.linspace(1, 0, count) ** (1 + k)) for k, name in enumerate(names)}
        own = np.stack([np.linspace(2, 0.1, count), np.linspace(2.4, 0.3, count)], axis=1)
        marks = xr.Dataset(
            {**points, "residual": ("point", np.linspace(0.3, 0, count)), "loss": (("point", "split"), own)},
            coords={"name": ("point", [f"epoch{k}" for k in range(count)]), "split": ["train", "test"]},
        )
        tree[f"/surface/{'trajectory' if kind == 'pca' else 'points'}"] = marks
    tree["/surface/directions"] = directions
    return xr.DataTree.from_dict(tree)


def ticks_outside(axes):
    """Tick labels beyond the limits exist as artists but aren't drawn."""
    hidden = set()
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not min(limits) <= tick.get_loc() <= max(limits):
                hidden |= {id(tick.label1), id(tick.label2)}
    return hidden


CASES = {
    "two side by side": ({}, {}),
    "one": ({"checkpoints": ("one",)}, {}),
    "holes": ({"bad": True}, {"split": "test"}),
    "unfinished": ({"done": 60}, {}),
    "line": ({"axes": 1}, {}),
    "space": ({"axes": 3, "checkpoints": ("one",)}, {}),
    "path": ({"kind": "pca", "checkpoints": ("epoch5",)}, {}),
    "plane of three": ({"kind": "difference", "checkpoints": ("epoch0",)}, {}),
    "line of two": ({"kind": "difference", "checkpoints": ("epoch0",), "axes": 1}, {}),
    "sections": ({"bad": True}, {"picture": "sections"}),
    "relief": ({"bad": True}, {"picture": "relief"}),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_clipped_and_no_text_overlaps(case):
    settings, options = CASES[case]
    figure = draw(surface_tree(**settings), **options)
    figure.draw_without_rendering()
    assert figure.get_figwidth() in (COLUMN, PAGE)
    width, height = figure.get_size_inches() * figure.dpi
    flat = options.get("picture") != "relief"  # a relief's ticks are laid out when it is projected
    outside = set().union(*(ticks_outside(axes) for axes in figure.findobj(Axes)))
    boxes = []
    for text in figure.findobj(Text):
        axes = text.axes
        hidden = axes is not None and not axes.axison
        if not text.get_visible() or not text.get_text().strip() or hidden or not flat:
            continue
        box = text.get_window_extent()
        if id(text) in outside:
            continue
        assert -0.5 <= box.x0 < box.x1 <= width + 0.5, text.get_text()
        assert -0.5 <= box.y0 < box.y1 <= height + 0.5, text.get_text()
        boxes.append((text.get_text(), box.x0 + 0.5, box.x1 - 0.5, box.y0 + 1, box.y1 - 1))
    boxes = list(dict.fromkeys(boxes))
    assert len(boxes) > 8 or not flat
    for i, (name, x0, x1, y0, y1) in enumerate(boxes):
        for other, a0, a1, b0, b1 in boxes[:i]:
            assert not (x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1), (name, other)


def panels(figure):
    return [axes for axes in figure.get_axes() if axes.get_title()]


def test_panels_share_axes_and_colours():
    first, second = panels(draw(surface_tree()))
    assert first.get_xlim() == second.get_xlim() == (-1, 1)
    assert first.get_ylim() == second.get_ylim() == (-1, 1.5)
    assert (first.get_title(), second.get_title()) == ("flat: loss 0.100", "sharp: loss 1.00")
    colours = [{to_hex(c) for c in axes.collections[0].get_facecolor()} for axes in (first, second)]
    assert colours[0] == colours[1]
    assert 8 <= len(colours[0]) <= 11


def test_alpha_is_horizontal():
    """The lowest band lies where the closed form is least, though the axes have different lengths."""
    tree = surface_tree(checkpoints=("one",))
    axes = panels(draw(tree))[0]
    lowest = axes.collections[0].get_paths()[0]
    assert lowest.contains_point((0.1, -0.02))
    assert not lowest.contains_point((-0.9, 0.9))
    assert axes.get_xlabel().startswith("α")


def test_points_that_are_not_finite_are_hatched():
    axes = panels(draw(surface_tree(bad=True)))[0]
    hatched = [patch for patch in axes.patches if patch.get_hatch() == MISSING["hatch"]]
    assert len(hatched) == 1
    assert hatched[0].get_path().contains_point((0.95, 0.0))
    assert not hatched[0].get_path().contains_point((0.0, 0.0))


def test_a_relief_has_holes_where_nothing_is_finite(monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes3D, "plot_surface", lambda self, x, y, z, **options: drawn.append((x, z)))
    draw(surface_tree(bad=True), "relief")
    assert len(drawn) == 2
    for alpha, heights in drawn:
        assert np.array_equal(np.isfinite(heights), alpha <= 0.5)


def test_the_path_has_its_own_losses_as_colours():
    """Not those of the contour behind it, from which it lies some way off."""
    tree = surface_tree(kind="pca", checkpoints=("epoch5",))
    distance, contour = panels(draw(tree))
    marks = tree["surface/trajectory"]
    dots = contour.collections[-1]
    np.testing.assert_allclose(dots.get_offsets()[:, 0], marks["point_alpha"])
    np.testing.assert_allclose(distance.lines[0].get_ydata(), marks["residual"])
    from landscape.figures.surface import choose

    scale = choose(tree, None, None, None).scale
    expected = scale.mappable.to_rgba(marks["loss"].sel(split="train").values)
    np.testing.assert_allclose(dots.get_facecolor(), expected)
    assert contour.get_xlabel() == "α (distance; 80% of the variance)"


def test_bands_are_95_percent_intervals():
    tree = surface_tree(axes=1, checkpoints=("one",))
    axes = draw(tree).get_axes()[0]
    node = tree["surface"].to_dataset().isel(checkpoint=0).sel(split="train")
    band = axes.collections[0].get_paths()[0].vertices
    top = (node["loss"] + 1.96 * node["loss_stderr"]).max().item()
    assert band[:, 1].max() == pytest.approx(top)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), node["loss"])


def test_summary_says_where_it_is_low_and_high():
    found = summary(surface_tree(bad=True))
    row = next(row for row in found["surfaces"] if row["checkpoint"] == "sharp" and row["split"] == "test")
    assert row["loss"] == 2.0
    assert (row["points"], row["not_finite"]) == (99, 22)
    assert row["lowest_at"] == {"alpha": 0.0, "beta": 0.0}
    assert row["lowest"] == pytest.approx(13 * bowl(0.0, 0.0))
    text = report(found, "s.zarr")
    assert "99/99, 22 not finite" in text
    assert "90.0 to beta" in text
    assert found["directions"][0]["norm"] == 4.9
    marked = report(summary(surface_tree(kind="pca", checkpoints=("epoch5",))), "p.zarr")
    assert "epoch3" in marked
    assert "residual" in marked


def test_wrong_requests_are_named():
    tree = surface_tree()
    for options, message in (
        ({"quantity": "los"}, "unknown quantity 'los': did you mean 'loss'"),
        ({"checkpoint": "shap"}, "unknown checkpoint 'shap': did you mean 'sharp'"),
        ({"split": "valid"}, "unknown split 'valid'"),
        ({"pair": 1}, "has no option 'pair'"),
    ):
        with pytest.raises(RequestError, match=message):
            draw(tree, **options)
    with pytest.raises(RequestError, match="a relief needs a surface with 2 axes, this one has 3"):
        draw(surface_tree(axes=3), "relief")
    with pytest.raises(RequestError, match="no point of the surface has been computed yet"):
        draw(surface_tree(done=0))
