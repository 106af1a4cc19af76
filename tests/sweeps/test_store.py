"""Stores: what is refused, what survives, and that xarray reads them without a word."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landscape.errors import RequestError
from landscape.sweeps import store
from landscape.sweeps.node import scratch_folder
from landscape.sweeps.store import Variable

RECIPE = {"scale": 2.0}


def test_a_store_of_the_same_recipe_resumes(path):
    created = store.attributes(path)["created"]
    assert store.create(path, {"scale": np.float64(2)}, kind="grid", attrs={"device": "cuda"})
    found = store.attributes(path)
    assert found["created"] == created
    assert json.loads(found["recipe"]) == RECIPE
    assert (found["kind"], found["complete"]) == ("grid", 0)
    assert not scratch_folder(path).exists() or not list(scratch_folder(path).glob("new"))


def test_another_recipe_or_kind_is_refused_and_kept(path):
    with pytest.raises(RequestError, match=r"scale is 2.0 there, 3.0 here.*--overwrite"):
        store.create(path, {"scale": 3.0}, kind="grid")
    with pytest.raises(RequestError, match="'grid' store"):
        store.create(path, RECIPE, kind="connect")
    assert json.loads(store.attributes(path)["recipe"]) == RECIPE


def test_overwrite_starts_afresh(path):
    store.add_node(path, "grid", {"x": 3}, {"z": Variable(("x",))})
    assert not store.create(path, {"scale": 3.0}, kind="grid", overwrite=True)
    assert not (path / "grid").exists()
    assert not scratch_folder(path).exists()
    assert json.loads(store.attributes(path)["recipe"]) == {"scale": 3.0}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_store_is_never_touched(tmp_path, overwrite):
    folder, file, foreign = tmp_path / "folder", tmp_path / "file", tmp_path / "foreign"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    file.write_text("{}")
    foreign.mkdir()
    (foreign / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    for path in (folder, file, foreign):
        with pytest.raises(RequestError, match="no landscape store"):
            store.create(path, RECIPE, kind="grid", overwrite=overwrite)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder", "foreign"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot write"):
        store.create(tmp_path / "file" / "deep" / "a.zarr", RECIPE, kind="grid")


def test_missing_parents_are_made(tmp_path):
    assert not store.create(tmp_path / "a" / "b.zarr", RECIPE, kind="grid")
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["b.zarr"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"attributes": 3}', '{"attributes": {"kind": "grid"}}'])
def test_open_refuses_what_is_no_store(tmp_path, text):
    if text is not None:
        (tmp_path / "a.zarr").mkdir()
        (tmp_path / "a.zarr" / "zarr.json").write_text(text)
    with pytest.raises(RequestError, match="does not exist" if text is None else "no landscape store"):
        store.open(tmp_path / "a.zarr")


def test_nodes_in_any_order_read_plainly_at_every_stage(path):
    """Also unfinished, xarray reads a store without a warning (they are errors here)."""
    pairs = {"pair": [0, 1], "start": ("pair", ["a", "bc"])}
    assert xarray.open_datatree(path, engine="zarr").attrs["kind"] == "grid"
    store.add_node(path, "connect/plane/bezier", {**pairs, "alpha": [0.0, 1.0]}, {"loss": Variable(("pair", "alpha"))})
    assert np.isnan(xarray.open_datatree(path, engine="zarr")["connect/plane/bezier"].loss).all()
    store.add_node(path, "connect", {**pairs, "t": [0.0]}, {"status": Variable(("pair", "t"), "int8")}, {"seed": 3})
    store.write(path, "connect", "status", np.array([[1], [2]]))
    for _ in range(2):
        tree = xarray.open_datatree(path, engine="zarr")
        assert tree["connect"].status.dtype == np.int8
        assert tree["connect"].status.sel(pair=1).item() == 2
        assert tree["connect/plane/bezier"].start.values.tolist() == ["a", "bc"]
        assert tree["connect"].attrs == {"seed": 3}
        assert set(tree["connect"].coords) == {"pair", "start", "t"}
        store.finish(path)
    assert store.open(path).attrs["complete"] == 1
    assert not scratch_folder(path).exists()
    assert store.read_status(path, "connect").tolist() == [[1], [2]]


def test_adding_again_keeps_values_and_adds_what_is_missing(path):
    coords = {"x": [0.5, 1.5], "curve": ["linear", "bezier"]}
    store.add_node(path, "grid", coords, {"z": Variable(("x", "curve"))})
    store.write_region(path, "grid", {"z": [[1.0, 2.0]]}, {"x": slice(1, 2)})
    store.add_node(path, "grid", coords, {"z": Variable(("x", "curve")), "barrier": Variable(("curve",))}, {"a": 1})
    grid = store.open(path)["grid"]
    assert grid.z.sel(curve="bezier", x=1.5) == 2.0
    assert set(grid.data_vars) == {"z", "barrier"}
    assert grid.attrs == {"a": 1}
    with pytest.raises(RequestError, match="another shape or labels"):
        store.add_node(path, "grid", {**coords, "x": [0.5, 2.5]}, {})
    with pytest.raises(RequestError, match="another shape or labels"):
        store.add_node(path, "grid", {**coords, "y": 2}, {"z": Variable(("x", "y"))})


def test_wrong_layouts_are_refused_before_anything_is_written(path):
    store.add_node(path, "connect", {"pair": [0, 1]}, {})
    for coords, variable, what in [
        ({"pair": [0, 2]}, Variable(("pair",)), "label 'pair' differently"),
        ({}, Variable(("x",)), "coords lack"),
        ({"x": 2}, Variable(("x",), attrs={"units": "seconds"}), "time spans"),
        ({"x": [[1]]}, Variable(("x",)), "one axis"),
    ]:
        with pytest.raises(ValueError, match=what):
            store.add_node(path, "connect/fit", coords, {"z": variable})
    assert not (path / "connect" / "fit").exists()


def test_writing_the_wrong_shape_is_refused(path):
    store.add_node(path, "grid", {"x": 3}, {"z": Variable(("x",))})
    for values, region in [(1.0, None), (np.ones(2), None), (np.ones(1), {"x": slice(0, 2)})]:
        with pytest.raises(ValueError, match="region of shape"):
            store.Node(path, "grid").write({"z": values}, region)


def test_a_second_writer_is_refused(path):
    code = f"""
from pathlib import Path
from landscape.sweeps import store
with store.claim(Path({str(path)!r})):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RequestError, match="written by another process"):
            store.create(path, RECIPE, kind="grid")
        holder.kill()
    assert store.create(path, RECIPE, kind="grid")


def test_leftovers_of_a_killed_process_are_swept_up(path):
    store.add_node(path, "grid", {"x": 3}, {"z": Variable(("x",))})
    leftovers = [
        path / "grid" / "z" / "c" / "0.1f.partial",
        path / "zarr.1f.partial",
        scratch_folder(path) / "tmp" / "a",
    ]
    for leftover in leftovers:
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.write_text("half")
    assert store.create(path, RECIPE, kind="grid")
    assert not any(leftover.exists() for leftover in leftovers)


@settings(max_examples=25)
@given(st.data())
def test_round_trip(data):
    """Any labels and values come back as they were."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    dims = tuple("xyz"[: len(shape)])
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    labels = {
        dim: data.draw(
            st.lists(st.integers(-9, 9), min_size=n, max_size=n, unique=True)
            | st.lists(st.floats(-9, 9), min_size=n, max_size=n, unique=True)
            | st.lists(text, min_size=n, max_size=n, unique=True)
        )
        for dim, n in zip(dims, shape, strict=True)
    }
    dtype = data.draw(st.sampled_from(["float32", "float64", "int8", "int64", "bool"]))
    values = data.draw(hnp.arrays(dtype, shape))
    chunks = {dim: data.draw(st.integers(1, 5)) for dim in dims}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zarr")
        store.create(path, {}, kind="test")
        store.add_node(path, "a/b", labels, {"v": Variable(dims, dtype, {"units": "nats"}, chunks)})
        store.write(path, "a/b", "v", values)
        store.finish(path)
        found = store.open(path)["a/b"].v.load()
    assert found.dims == dims
    assert found.dtype == dtype
    assert found.attrs == {"units": "nats"}
    np.testing.assert_array_equal(found.values, values)
    for dim in dims:
        assert found[dim].values.tolist() == labels[dim]
