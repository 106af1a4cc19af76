"""The benchmarks run and print what they measured; how fast this machine is, is no matter of tests."""

import importlib
import json

import pytest
from click.testing import CliRunner

BENCHMARKS = {
    "certified": ["--data", "digits", "--epochs", "1", "--samples", "150", "--size", "17", "--points", "6"],
    "curve_step": ["--repetitions", "2", "--steps", "1"],
    "descent": ["--repetitions", "1", "--functions", "5", "--steps", "1"],
    "eigenpairs": ["--samples", "40", "--batch-size", "20", "--k", "1"],
    "grok_runs": ["--seeds", "1", "--steps", "10", "--turns", "0"],
    "grok_step": ["--repetitions", "1", "--steps", "1", "--batch-size", "8"],
    "hvp": ["--repetitions", "1", "--products", "2", "--samples", "40", "--batch-size", "20"],
    "memory": ["--model", "mlp", "--pixels", "4", "--images", "20", "40", "--sizes", "2", "3"],
    "muon": ["--repetitions", "1", "--seconds", "0.001", "--size", "12 of 64x64"],
    "sam": ["--repetitions", "1", "--steps", "1", "--batch-size", "8"],
    "shampoo": ["--repetitions", "1", "--width", "16"],
    "startup": ["--repetitions", "1"],
    "trace": ["--samples", "40", "--batch-size", "20", "--products", "20"],
}


SLOW = {"descent", "memory"}  # many processes of their own


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in BENCHMARKS]
)
def test_a_table_or_an_object(name):
    command = importlib.import_module(f"landscape.experiments.benchmarks.{name}").main
    table = CliRunner().invoke(command, BENCHMARKS[name], catch_exceptions=False)
    assert table.exit_code == 0
    assert "limit" in table.output
    found = CliRunner().invoke(command, [*BENCHMARKS[name], "--json"], catch_exceptions=False)
    result = json.loads(found.output)
    assert result["benchmark"] == name
    assert result["limit"] > 0


def test_turns_are_taken_in_order():
    from landscape.experiments.benchmarks.harness import take_turns

    calls = []
    functions = {name: lambda number, name=name: calls.append((name, number)) for name in "ab"}
    times = take_turns(functions, repetitions=2, calls=2, warm_up=1)
    assert calls == [(name, 2 * turn + k) for turn in range(3) for name in "ab" for k in range(2)]
    assert times["a"].wall.shape == times["b"].processor.shape == (2,)
