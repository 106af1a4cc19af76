"""Surfaces for a browser and for ParaView: every number at its place, holes where nothing is finite."""

import base64
import json
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.figures.export import export
from landscape.figures.scale import Scale
from landscape.figures.surface import choose

surface_tree = runpy.run_path(str(Path(__file__).parent / "test_surface.py"))["surface_tree"]
TYPES = {"Float64": "f8", "Int64": "i8", "UInt8": "u1", "Int8": "i1"}


class Page(HTMLParser):
    """The elements of a page and what they load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads, self.scripts, self.title = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)
        elif self.tags and self.tags[-1] == "title":
            self.title += data.strip()


def parse_page(text):
    """The page, and the data and the layout that plotly is given."""
    page = Page()
    page.feed(text)
    call = text[text.rindex("Plotly.newPlot(") :]
    decoder = json.JSONDecoder()
    data, end = decoder.raw_decode(call, call.index("["))
    layout, _ = decoder.raw_decode(call, call.index("{", end))
    return page, data, layout


def html(tree, folder, **options):
    return parse_page(export(tree, folder / "a.html", overwrite=True, **options).read_text("utf-8"))


def parse_grid(text):
    """Sizes, points and arrays of a structured grid."""
    grid = ElementTree.fromstring(text)
    assert grid.get("type") == "StructuredGrid"
    assert grid.get("byte_order") == f"{sys.byteorder.capitalize()}Endian"
    piece = grid.find("StructuredGrid/Piece")
    assert piece.get("Extent") == grid.find("StructuredGrid").get("WholeExtent")
    sizes = [int(last) + 1 for last in piece.get("Extent").split()[1::2]]

    def read(array):
        content = base64.b64decode(array.text.strip())
        assert int(np.frombuffer(content[:8], np.uint64)[0]) == len(content) - 8
        return np.frombuffer(content[8:], TYPES[array.get("type")])

    points = read(piece.find("Points/DataArray")).reshape(*reversed(sizes), 3)
    data = {array.get("Name"): read(array).reshape(*reversed(sizes)) for array in piece.find("PointData")}
    assert piece.find("PointData").get("Scalars") in data
    return sizes, points, data


def vts(tree, folder, **options):
    return parse_grid(export(tree, folder / "a.vts", overwrite=True, **options).read_text("utf-8"))


def floats(nested):
    return np.array(nested, dtype=float)


def test_a_page_holds_the_values_of_every_place(tmp_path):
    """The grid isn't square and the bowl not symmetric, so that a transposed one would be seen."""
    tree = surface_tree()
    page, data, layout = html(tree, tmp_path, split="test")
    assert page.tags[:3] == ["html", "head", "meta"]
    assert page.loads == []
    assert page.title == "test loss (nats) – flat, sharp"
    assert len("".join(page.scripts)) > 1_000_000  # plotly itself
    stored = tree["surface"].to_dataset().sel(split="test")
    assert [trace["name"] for trace in data] == ["flat", "sharp"]
    scale = choose(tree, None, "test", None).scale
    for trace, (_, one) in zip(data, stored.groupby("checkpoint"), strict=True):
        one = one.squeeze("checkpoint").transpose("beta", "alpha")
        assert trace["x"] == one["alpha"].values.tolist()
        assert trace["y"] == one["beta"].values.tolist()
        assert floats(trace["z"]).shape == (11, 9)
        exact = floats(trace["customdata"])
        assert np.array_equal(exact[..., 0], one["loss"])
        assert np.array_equal(exact[..., 1], one["loss_stderr"])
        assert np.array_equal(floats(trace["z"]), scale.height(np.minimum(one["loss"].values, scale.levels[-1])))
    assert layout["scene"]["xaxis"]["title"]["text"] == "α (filter-normalised direction)"
    assert layout["scene"]["yaxis"]["title"]["text"] == "β (filter-normalised direction)"
    assert layout["scene"]["zaxis"]["title"]["text"] == "test loss (nats)"
    assert layout["coloraxis"]["colorbar"]["title"]["text"] == "test loss (nats)"


def test_colours_are_the_bands_of_the_contours(tmp_path):
    tree = surface_tree()
    tree["surface/loss"][0, 0, 2, 3] = 400.0  # above the cap
    _, data, layout = html(tree, tmp_path)
    scale = choose(tree, None, None, None).scale
    axis = layout["coloraxis"]
    steps = np.array([share for share, _ in axis["colorscale"]]) * axis["cmax"]
    colours = [colour for _, colour in axis["colorscale"]][1::2]
    for trace, values in zip(data, choose(tree, None, None, None).values.values, strict=True):
        assert trace["coloraxis"] == "coloraxis"
        bands = np.searchsorted(steps[1::2], floats(trace["surfacecolor"]) * (1 - 1e-12))
        expected = np.digitize(np.minimum(values, scale.boundaries[-1] * (1 - 1e-12)), scale.boundaries) - 1
        assert np.array_equal(bands, expected)
    assert len(set(colours)) == len(scale.boundaries) - 1
    assert axis["colorbar"]["ticktext"][-1].endswith(f"{scale.levels[-1]:g}")
    assert axis["colorbar"]["ticktext"][-1].startswith("&gt; ")
    assert len(axis["colorbar"]["tickvals"]) == len(axis["colorbar"]["ticktext"])
    assert max(floats(data[0]["z"]).ravel()) == pytest.approx(layout["scene"]["zaxis"]["tickvals"][-1])


def test_a_checkpoint_is_chosen_from_a_list(tmp_path):
    _, data, layout = html(surface_tree(), tmp_path)
    assert [trace["visible"] for trace in data] == [True, False]
    buttons = layout["updatemenus"][0]["buttons"]
    assert [button["label"] for button in buttons] == ["flat: loss 0.100", "sharp: loss 1.00"]
    assert [button["args"][0]["visible"] for button in buttons] == [[True, False], [False, True]]
    assert layout["title"]["text"] == buttons[0]["args"][1]["title.text"] == "flat: loss 0.100"
    _, data, layout = html(surface_tree(), tmp_path, checkpoint="sharp")
    assert [trace["name"] for trace in data] == ["sharp"]
    assert "updatemenus" not in layout


def test_holes_and_the_height_itself(tmp_path):
    _, data, layout = html(surface_tree(bad=True), tmp_path, height="linear")
    assert "not finite" in layout["annotations"][0]["text"]
    for trace in data:
        z = floats(trace["z"])
        assert np.isnan(z[:, -2:]).all()
        assert np.array_equal(z[:, :-2], floats(trace["customdata"])[:, :-2, 0].clip(max=50))
    assert "tickvals" not in layout["scene"]["zaxis"]
    assert "annotations" not in html(surface_tree(), tmp_path)[2]


def test_a_path_stands_at_its_own_losses(tmp_path):
    tree = surface_tree(kind="pca", checkpoints=("epoch5",))
    _, data, layout = html(tree, tmp_path)
    marks, path = tree["surface/trajectory"].to_dataset(), data[-1]
    assert (path["type"], path["mode"]) == ("scatter3d", "lines+markers")
    assert path["x"] == marks["point_alpha"].values.tolist()
    own = marks["loss"].sel(split="train").values
    scale = choose(tree, None, None, None).scale
    np.testing.assert_allclose(path["z"], scale.height(own))
    assert layout["scene"]["xaxis"]["title"]["text"] == "α (distance; 80% of the variance)"


def test_names_are_shown_as_they_are(tmp_path):
    """A name is neither a tag nor a formula nor the end of a script."""
    name = "a</script><b>$x$"
    page, data, _ = html(surface_tree(checkpoints=(name,)), tmp_path)
    assert "b" not in page.tags
    assert data[0]["name"] == "a&lt;/script&gt;&lt;b&gt;$x$"
    grid = export(surface_tree(checkpoints=("--<a>",)), tmp_path / "b.vts").read_text("utf-8")
    parse_grid(grid)


@pytest.mark.parametrize("height", ["log", "linear"])
def test_a_grid_holds_the_values_of_every_place(tmp_path, height):
    tree = surface_tree(bad=True)
    sizes, points, data = vts(tree, tmp_path, checkpoint="sharp", split="test", height=height)
    assert sizes == [9, 11, 1]
    one = tree["surface"].to_dataset().sel(checkpoint="sharp", split="test").transpose("beta", "alpha")
    assert np.array_equal(points[0, :, :, 0], np.broadcast_to(one["alpha"].values, (11, 9)))
    assert np.array_equal(points[0, :, :, 1], np.broadcast_to(one["beta"].values[:, None], (11, 9)))
    assert set(data) == {"loss", "loss_stderr", "samples", "vtkGhostType"}
    for name in ("loss", "loss_stderr", "samples"):
        assert np.array_equal(data[name][0], one[name], equal_nan=True)
    assert np.isfinite(points).all()
    assert np.array_equal(data["vtkGhostType"][0] == 2, np.broadcast_to(one["alpha"].values > 0.5, (11, 9)))
    shown = data["vtkGhostType"][0] == 0
    heights, losses = points[0, :, :, 2][shown], one["loss"].values[shown]
    scale = choose(tree, None, "test", None).scale
    expected = scale.relief(losses, height) - scale.relief(scale.levels[:1], height)
    assert heights.min() >= 0
    assert heights.max() <= 0.5 * 2.5 * (1 + 1e-12)  # half the longer side
    np.testing.assert_allclose(heights / heights.max(), expected / expected.max())


def test_a_space_is_a_volume(tmp_path):
    tree = surface_tree(axes=3, checkpoints=("one",))
    sizes, points, data = vts(tree, tmp_path)
    assert sizes == [9, 11, 13]
    one = tree["surface"].to_dataset().isel(checkpoint=0).sel(split="train").transpose("gamma", "beta", "alpha")
    assert np.array_equal(data["loss"], one["loss"])
    gamma, beta, alpha = np.meshgrid(one["gamma"], one["beta"], one["alpha"], indexing="ij")
    assert np.array_equal(points, np.stack([alpha, beta, gamma], axis=-1))


def test_heights_end_at_the_last_level():
    scale = Scale(np.array([1.0, 2.0, 5.0]))
    values = np.array([1.0, 2.0, 9.0, np.inf, np.nan])
    np.testing.assert_array_equal(scale.relief(values, "linear"), [1, 2, 5, np.nan, np.nan])
    np.testing.assert_allclose(scale.relief(values), [0, np.log(2), np.log(5), np.nan, np.nan])


@pytest.mark.parametrize(
    ("settings", "name", "options", "message"),
    [
        ({"axes": 1}, "a.html", {}, "needs a surface with 2 axes, this one has 1: name a .pdf"),
        ({"axes": 3}, "a.html", {}, "this one has 3: name a .vts, .pdf, .png or .svg file"),
        ({"axes": 1}, "a.vts", {}, "needs a surface with 2 or 3 axes"),
        ({}, "a.vts", {}, r"choose one with --checkpoint \(flat, sharp\)"),
        ({}, "a.vts", {"checkpoint": "shap"}, "did you mean 'sharp'"),
        ({}, "a.html", {"checkpoint": "shap"}, "did you mean 'sharp'"),
        ({}, "a.html", {"height": "lin"}, "unknown height 'lin': did you mean 'linear'"),
        ({}, "a.html", {"picture": "relief"}, ".html files have no option 'picture'"),
        ({"done": 0}, "a.html", {}, "no point of the surface has been computed yet"),
        ({}, "a.stl", {}, "ends in .html, .vts"),
        ({}, "a.gif", {}, ".gif files hold fits by degree, this is a store of kind 'surface'"),
        ({}, "missing/a.vts", {}, "doesn't exist"),
    ],
)
def test_wrong_requests_are_named_and_write_nothing(tmp_path, settings, name, options, message):
    with pytest.raises(RequestError, match=message):
        export(surface_tree(**settings), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_plotly_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(RequestError, match=r"pip install 'torch-landscape\[interactive\]'"):
        export(surface_tree(), tmp_path / "a.html")
    export(surface_tree(), tmp_path / "a.vts", checkpoint="flat")


def test_the_same_data_give_the_same_file(tmp_path):
    first, second = (export(surface_tree(), tmp_path / name) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()
