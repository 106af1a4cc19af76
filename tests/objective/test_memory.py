"""What curvature keeps is bounded by its budget, whatever the number of samples."""

import gc
import subprocess
import sys
import weakref

import pytest
import torch

from landscape.networks.models import build_model
from landscape.objective.curvature import GaussNewton, Hessian
from landscape.objective.memory import MIB, measure, room
from landscape.objective.objective import Objective


def test_saved_tensors_are_counted_once():
    x = torch.randn(100, 10, dtype=torch.float64, requires_grad=True)
    known = torch.randn(100, 10, dtype=torch.float64)

    def build():
        y = x.exp()  # saved as exp's result and as an argument of both products
        return (y * y + y * known).sum()

    _, held = measure(build, [x, known])
    assert held == 8000


@pytest.mark.parametrize(
    ("budget", "graph", "batches", "kept"), [(100, 10, 9, 9), (100, 10, 10, 8), (29, 10, 9, 0), (19, 10, 9, -1)]
)
def test_room(budget, graph, batches, kept):
    assert room(budget, graph, batches) == kept


@pytest.mark.parametrize("operator", [Hessian, GaussNewton])
def test_kept_bytes_do_not_grow_with_the_samples(operator):
    """The graphs that are alive after a product."""
    torch.manual_seed(0)
    model = build_model("convnet", (1, 12, 12), 3, {"width": 4})
    kept = []
    for num_samples in (60, 240):
        data = torch.randn(num_samples, 1, 12, 12), torch.randint(3, (num_samples,))
        objective = Objective(model, data, batch_size=10)
        alone = operator(objective, objective.theta).strategy.graph_bytes
        curvature = operator(objective, objective.theta, memory_budget=5.5 * alone)
        curvature(torch.ones(curvature.dim))
        assert len(curvature._pieces) == curvature.strategy.num_kept < curvature.strategy.num_batches
        kept.append(curvature.strategy.num_kept * alone)
        assert kept[-1] + 2 * alone <= curvature.strategy.memory_budget
    assert kept[0] == kept[1] > 0


PEAK = """
import resource, sys, torch
from landscape.networks.models import build_model
from landscape.objective.curvature import Hessian
from landscape.objective.objective import Objective
torch.set_num_threads(1)
torch.manual_seed(0)
model = build_model("resnet20", (3, 32, 32), 10)
data = torch.randn(2000, 3, 32, 32), torch.randint(10, (2000,))
size, budget = int(sys.argv[1]), float(sys.argv[2])
objective = Objective(model, tuple(part[:size] for part in data), batch_size=32)
operator = Hessian(objective, objective.theta, memory_budget=budget)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    operator(torch.ones(operator.dim))
print(operator.strategy.num_kept, operator.strategy.graph_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_peak_memory_is_that_of_fewer_samples():
    """ResNet-20, 500 and 2,000 images: the same peak of the process to 10 %."""
    budget = 512 * MIB
    runs = []
    for size in (500, 2000):
        command = [sys.executable, "-c", PEAK, str(size), str(budget)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        runs.append([int(word) for word in done.stdout.split()])
    (kept, graph, few), (kept_again, _, many) = runs
    assert 0 < kept == kept_again
    assert kept * graph + 2 * graph <= budget
    assert many == pytest.approx(few, rel=0.1)


def test_a_measured_graph_goes_with_what_was_built():
    """A function that saves its own output isn't kept alive by it."""
    weight, outputs = torch.randn(3, requires_grad=True), []

    def build():
        output = weight.tanh()
        outputs.append(weakref.ref(output))
        return output.sum()

    built, _ = measure(build, [])
    del built
    gc.collect()
    assert outputs[0]() is None
