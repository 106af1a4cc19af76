"""The summary of a store as an object and as text."""

import json
import re

import numpy as np
import pytest

from landscape.figures import report, summary


def test_summary_of_a_finished_store(trees):
    tree = trees.connect_tree(3)
    found = summary(tree)
    assert (found["kind"], found["complete"]) == ("connect", True)
    assert found["recipe"]["model"] == "convnet"
    assert [entry["name"] for entry in found["checkpoints"]] == ["seed0", "seed1", "seed2"]
    assert len(found["curves"]) == 3 * 3 * 2
    assert found["progress"]["connect"] == {"points": 549, "done": 549, "not_finite": 0, "failed": 0}
    row = next(r for r in found["curves"] if (r["pair"], r["curve"], r["split"]) == (1, "polyline", "test"))
    line = tree["connect"].to_dataset().sel(pair=1, curve="polyline", split="test")
    assert (row["start"], row["end"]) == ("seed0", "seed2")
    assert row["barrier"] == pytest.approx(line["barrier"].item(), rel=1e-12)
    place = int(line["loss"].argmax("t"))
    assert row["max_loss"] == line["loss"].values[place]
    assert row["t"] == line["t"].values[place]
    assert row["error"] == line["error"].values[place]
    assert row["arc_length"] == line["arc_length"].values[-1]
    assert row["residual"] == pytest.approx(1e-6)


def test_each_checkpoint_has_its_own_values(trees):
    tree = trees.connect_tree(3)
    connect = tree["connect"].to_dataset()
    last = summary(tree)["checkpoints"][2]
    assert last["test_loss"] == connect["checkpoint_loss"].sel(pair=1, split="test", endpoint="end").item()
    assert last["train_error"] == connect["checkpoint_error"].sel(pair=1, split="train", endpoint="end").item()


@pytest.mark.parametrize("settings", [{}, {"done": 35}, {"done": 0}, {"regression": True}, {"huge": True}])
def test_summary_is_json_without_nan(trees, settings):
    tree = trees.connect_tree(2, **settings)
    tree["connect"]["loss"][0, 0, 0, 4] = np.inf
    found = summary(tree)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert report(found, "x.zarr")


def test_report_states_what_matters(trees):
    text = report(summary(trees.connect_tree(3)), "c.zarr")
    assert text.startswith("c.zarr: connect store, finished\n")
    for part in ("2026-11-23T06:30:00+00:00", "4f" * 32, "batch_size", "549 of 549 points done", "seed2"):
        assert part in text
    lines = text.splitlines()
    assert all(line == line.rstrip() for line in lines)
    place = lines.index("  pair 0: seed0 – seed1")
    head, *rows = lines[place + 1 : place + 8]
    titles = ["curve", "split", "barrier", "max loss", "at t", "error there", "arc length", "off plane", "points"]
    assert re.split("  +", head.strip()) == titles
    assert rows[0].split()[:5] == ["linear", "train", "1.69", "1.71", "0.500"]
    assert rows[2].split()[:3] == ["bezier", "train", "0.0200"]
    assert len({len(line) for line in rows}) == 1
    assert max(map(len, lines)) <= 110


def test_report_of_an_unfinished_store(trees):
    tree = trees.connect_tree(2, done=35)
    text = report(summary(tree), "c.zarr")
    assert text.startswith("c.zarr: connect store, unfinished\n")
    assert "105 of 183 points done" in text
    assert "35/61" in text


def test_a_barrier_with_points_missing_is_a_lower_bound(trees):
    tree = trees.connect_tree(2)
    tree["connect"]["loss"][0, 1, :, 7] = np.nan
    tree["connect"]["status"][0, 1, 7] = 2
    text = report(summary(tree), "c.zarr")
    assert "≥ 0.0200" in text
    assert "61/61, 1 not finite" in text
    assert "183 of 183 points done, 1 not finite" in text


def test_regression_has_no_error(trees):
    found = summary(trees.connect_tree(2, regression=True))
    assert "error" not in found["curves"][0]
    assert "error" not in report({**found, "recipe": None}, "c.zarr").replace("errors in %", "")


def test_history(trees):
    tree = trees.train_tree()
    found = summary(tree)
    train, test = found["history"]
    assert train["step"] == 2000
    assert train["loss"] == tree["train"]["loss"].values[-1, 0]
    assert test["lowest_error"] == tree["train"]["error"].values[:, 1].min()
    assert train["seconds"] == 600
    assert "lowest error (%)" in report(found, "t.zarr")


def test_a_store_of_another_kind_still_has_a_summary(trees):
    tree = trees.train_tree()
    tree.attrs |= {"kind": "sketch", "recipe": "not json"}
    found = summary(tree.filter(lambda node: node.path == "/"))
    assert found["kind"] == "sketch"
    assert found["recipe"] == "not json"
    assert "sketch store" in report(found, "s.zarr")
