"""Grokking in numbers: when runs memorised and generalised, as an object and as a table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.grokking import BOUNDS, TIMES, milestones, over_seeds, swept_dims
from landscape.figures.tables import Row, indent, json_value, percent, setting, table, words


def grok_summary(tree: xr.DataTree) -> dict[str, Any]:
    """Summarise the node `grok`.

    Args:
        tree: A store.

    Returns:
        `grokking`: an entry for each point of the sweep: its settings, `runs` and how many of them `memorised`,
        `grokked` and `diverged`; `memorised_step`, `grokked_step` and `delay` as `{"low", "median", "high"}`, None
        where that lies beyond the budget; the median `final_train_accuracy` and `final_test_accuracy`; and the largest
        share of training samples whose loss was exactly zero, `collapsed`.
    """
    data = dataset(tree, "grok").load()
    found = over_seeds(milestones(data))
    dims = swept_dims(data)
    rows = []
    for values in itertools.product(*(data[dim].values for dim in dims)):
        settings = dict(zip(dims, values, strict=True))
        one = found.sel(settings)
        row: dict[str, Any] = {"settings": json_value(settings)}
        row |= {name: int(one[name]) for name in ("runs", "memorised", "grokked", "diverged")}
        for name in TIMES:
            row[name] = {
                bound: json_value(one[name].sel(bound=bound).item())
                if bool(one[f"{name}_reached"].sel(bound=bound))
                else None
                for bound in BOUNDS
            }
        row |= {
            f"final_{split}_accuracy": json_value(one["final_accuracy"].sel(split=split).item())
            for split in ("train", "test")
        }
        row["collapsed"] = json_value(one["collapsed"].item())
        rows.append(row)
    return {"grokking": rows}


def grok_lines(found: Mapping[str, Any]) -> list[str]:
    """The table, and a warning where rounding has swallowed the loss."""
    entries = found["grokking"]
    swept = list(entries[0]["settings"])
    head = [
        *map(words, swept),
        "grokked",
        "memorised at",
        "grokked at",
        "delay",
        "final train",
        "final test",
        "collapsed (%)",
    ]
    rows: list[Row] = [head]
    for entry in entries:
        rows.append(
            [
                *map(setting, entry["settings"].values()),
                f"{entry['grokked']}/{entry['runs']}",
                *(_time(entry[name]) for name in TIMES),
                percent(entry["final_train_accuracy"]),
                percent(entry["final_test_accuracy"]),
                percent(entry["collapsed"]),
            ]
        )
    title = "runs (steps: median over seeds with 95 % bootstrap interval; > for beyond the budget)"
    lines = ["", title, *indent(table(rows, right=range(len(swept) + 4, len(head))))]
    if any(entry["collapsed"] for entry in entries):
        lines.append(
            "  softmax collapse: the loss of training samples has rounded to exactly 0, and their gradients with it; "
            "use --loss stablemax-cross-entropy or --precision float64"
        )
    lines += [f"  {entry['diverged']} of {entry['runs']} runs diverged" for entry in entries if entry["diverged"]]
    return lines


def _time(bounds: Mapping[str, float | None]) -> str:
    """A time with its interval."""
    low, median, high = (bounds[name] for name in BOUNDS)
    if median is None:
        return "> budget" if low is None else f"> budget [{low:g}, >]"
    return f"{median:g} [{'>' if low is None else f'{low:g}'}, {'>' if high is None else f'{high:g}'}]"
