import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from landscape.cli.main import main
from safetensors.torch import load_file

from landscape.errors import RequestError
from landscape.networks import parallel
from landscape.networks.parallel import ALONE, Ranks, launched
from landscape.sweeps import store

SCRIPT = Path(__file__).with_name("two_ranks.py")
BIN = Path(sys.executable).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TRAIN = [
    *("train", "--data", "stdlib", "--data-set", "size=6000", "--data-set", "context=16", "--model", "gpt-nano"),
    *("--model-set", "layers=1", "--model-set", "width=8", "--optimizer", "sgd", "--set", "lr=0.1"),
    *("--steps", "12", "--batch-size", "31", "--eval-every", "0", "--device", "cpu", "--json"),
]


def call(command, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes computed."""
    folder = tmp_path_factory.mktemp("ranks")
    call([*TORCHRUN, str(SCRIPT), str(folder)], folder)
    return [torch.load(folder / f"rank{number}.pt") for number in range(2)]


@pytest.fixture(scope="module")
def alone():
    """The same module, for what one process computes."""
    spec = importlib.util.spec_from_file_location("two_ranks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("tokens", 1e-5),
        ("single samples", 1e-6),
        ("closures", 1e-4),
        ("mixed precision", 1e-2),  # bf16: 8 bits
        ("micro-batches", 1e-5),
        ("worst points", 1e-5),
    ],
)
def test_two_ranks_are_one_process(together, alone, name, tolerance):
    expected = alone.run(alone.RECIPES[name])
    first, second = (result[name] for result in together)
    assert torch.equal(first["weights"], second["weights"])
    torch.testing.assert_close(first["weights"], expected["weights"], rtol=0, atol=tolerance)
    assert len(first["rows"]) == len(expected["rows"]) == len(second["rows"])
    for row, other in zip(first["rows"], expected["rows"], strict=True):
        for key in ("loss.train", "loss.test"):
            assert row[key] == pytest.approx(other[key], rel=tolerance)
    assert all(set(row) == {"step", "seconds", "learning_rate"} for row in second["rows"])  # rank 0 alone evaluates


def test_all_ranks_see_a_run_diverge(together, alone):
    ends = [result["diverging"]["diverged_at"] for result in together]
    assert ends == [alone.run(alone.RECIPES["diverging"])["diverged_at"]] * 2
    assert ends[0] is not None


def test_gradients_are_added_up(together):
    for total, own, common, nobody in (result["add"] for result in together):
        assert float(total) == 7.0
        assert own.tolist() == [1.0, 1.0]
        assert common.tolist() == [3.0, 3.0]
        assert nobody is None


def test_the_first_rank_decides(together):
    assert together[0]["decide"] == ["said by 0", "ZeroDivisionError: division by zero"]
    assert together[1]["decide"] == ["said by 0", "RequestError: rank 0 stopped: division by zero"]


def test_a_finished_run_is_not_done_again(together):
    assert [result["fresh"] for result in together] == [[True, False]] * 2


def test_parts_make_up_the_batch():
    for batch in (1, 2, 5, 8):
        for size in (1, 2, 3, 8):
            parts = [Ranks(number, size).part(torch.arange(batch)) for number in range(size)]
            assert torch.cat([part for part, weight in parts if weight]).tolist() == list(range(batch))
            assert all(len(part) >= 1 for part, _ in parts)
            sizes = [len(part) for part, weight in parts if weight]
            assert max(sizes) - min(sizes) <= 1


def test_one_alone_needs_no_process_group():
    value, parameter = torch.tensor(2.0), torch.nn.Parameter(torch.ones(1))
    assert ALONE.add(value, [parameter]) is value
    assert parameter.grad is None
    assert ALONE.decide(lambda: "done") == "done"
    assert ALONE.keys(1, 2) == (1, 2)
    assert Ranks(1, 2).keys(1, 2) == (1, 2, 1)
    with launched("cpu") as (ranks, device):
        assert (ranks, device) == (ALONE, "cpu")


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda", "more processes than the 1 GPUs: give --nproc-per-node=1"), ("cuda:0", "a GPU of its own; use --device")],
)
def test_gpus_that_are_not_there(monkeypatch, device, message):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parallel.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RequestError, match=message), launched(device):
        pass


def test_the_command_under_torchrun(tmp_path, capsys):
    """One answer on stdout, the files of one process, and its losses."""
    with pytest.raises(SystemExit):
        main([*TRAIN, "--out", str(tmp_path / "one.safetensors"), "--quiet"])
    single = json.loads(capsys.readouterr().out)
    done = call([*TORCHRUN, "--no-python", str(BIN / "landscape"), *TRAIN, "--out", "two.safetensors"], tmp_path)
    double = json.loads(done.stdout)
    for split, value in single["loss"].items():
        assert double["loss"][split] == pytest.approx(value, rel=1e-5)
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5)
    trees = [store.open(tmp_path / f"{name}.zarr") for name in ("one", "two")]
    assert trees[0].attrs["recipe_hash"] == trees[1].attrs["recipe_hash"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.safetensors",
        "one.zarr",
        "two.safetensors",
        "two.zarr",
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--optimizer", "sdg"), "did you mean 'sgd'"),  # which each process finds out
        (("--out", "x.pt"), "is written as .safetensors"),  # which the first one finds out for all
    ],
)
def test_an_error_under_torchrun_is_said_once(tmp_path, wrong, message):
    command = [*TORCHRUN, "--no-python", str(BIN / "landscape"), *TRAIN, "--out", "x.safetensors", *wrong]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")  # torchrun's own status
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    assert re.search(r"failed \(exitcode: 2\) local_rank: 0", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_process_alone_is_said_as_well(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for rank, expected in (("1", [10.0]), ("0", [])):
        waited.clear()
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as end:
            main(["trian"])
        assert end.value.code == 2
        assert waited == expected
        assert "did you mean 'train'" in capsys.readouterr().err
