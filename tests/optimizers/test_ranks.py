"""Work shared between processes: who does what, and two of them end where one does."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from landscape.optimizers.ranks import assign, rank_and_size


def test_every_piece_has_one_owner_and_the_load_is_even():
    assert assign([], 2) == []
    assert assign([1.0, 8.0, 1.0, 1.0, 5.0], 1) == [0] * 5
    owners = assign([1.0, 8.0, 1.0, 1.0, 5.0], 2)
    assert owners == [1, 0, 1, 1, 1]
    costs = [float(n % 7 + 1) for n in range(50)]
    owners = assign(costs, 4)
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == process) for process in range(4)]
    assert max(loads) - min(loads) <= max(costs)


def test_alone_outside_a_distributed_run():
    assert rank_and_size() == (0, 1)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, str(Path(__file__).with_name("two_ranks.py"))]
    processes = [subprocess.Popen([*command, str(rank), str(folder)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [torch.load(folder / str(rank)) for rank in range(2)]


def test_two_processes_end_where_one_does(results):
    alone = runpy.run_path(str(Path(__file__).with_name("two_ranks.py")))["descend"]()
    for result in results:
        torch.testing.assert_close(result["end"], alone, rtol=1e-12, atol=1e-12)
    assert torch.equal(results[0]["end"], results[1]["end"])


def test_no_root_is_computed_twice(results):
    """Six parameters have nine factors; roots are computed at steps 1, 3 and 5."""
    assert sum(result["computed"] for result in results) == 3 * 9
    assert min(result["computed"] for result in results) > 0


def test_tensors_become_their_owners(results):
    for result in results:
        first, second = result["exchanged"]
        assert torch.equal(first, torch.ones(2, 3))
        assert torch.equal(second, torch.full((4,), 10))
