"""A program on fixed memory gives what the program gives; a graph where there is a GPU."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape.objective import captured
from landscape.objective.captured import LAUNCH_BYTES, POINTS, Captured, is_launch_bound
from landscape.objective.objective import Objective
from landscape.objective.probe import Prepared
from landscape.objective.sliced import SlicedObjective


def imitation(forward):
    """What a graph does, with no graph: outputs stay in the same memory, and are written anew from the same memory."""
    outputs = forward()
    return outputs, lambda: outputs.copy_(forward())


def convnet():
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(100, 3))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(81, 16), nn.ReLU(), nn.Linear(16, 3))


def problem(make, device="cpu", num=150):
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
    objective = Objective(model, (torch.randn(num, 1, 9, 9, generator=generator), torch.arange(num) % 3), device=device)
    theta = objective.theta.cpu()
    points = torch.stack([theta, *(0.1 * torch.randn(2, len(theta), generator=generator))])
    grid = torch.rand(20, 2, generator=generator, dtype=torch.float64)
    return objective, points, torch.cat([torch.ones(20, 1), grid], dim=1)


@pytest.mark.parametrize("make", [convnet, mlp])
def test_fixed_memory_gives_the_same_bits(monkeypatch, make):
    objective, points, coefficients = problem(make)
    monkeypatch.setattr(
        "landscape.objective.probe.CACHE_BYTES", {"cpu": 1 << 16}
    )  # several batches, the last one short
    expected = SlicedObjective(objective, points).values(coefficients)["loss"]
    made = []

    def runner(self, program, samples, points):
        made.append(self._captured.setdefault(program, Captured(program, imitation)))
        return made[-1]

    monkeypatch.setattr(Prepared, "runner", runner)
    sliced = SlicedObjective(objective, points)
    assert sliced.report.batch_size < 150
    np.testing.assert_array_equal(sliced.values(coefficients)["loss"], expected)
    np.testing.assert_allclose(sliced.values(coefficients.flip(0))["loss"], expected[::-1], rtol=1e-6)
    assert made
    assert not any(one.failed for one in made)


def test_what_cannot_be_captured_runs_without(monkeypatch):
    objective, points, coefficients = problem(convnet)
    expected = SlicedObjective(objective, points).values(coefficients)["loss"]

    def refuses(forward):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Prepared, "runner", lambda self, program, *_: Captured(program, refuses))
    np.testing.assert_array_equal(SlicedObjective(objective, points).values(coefficients)["loss"], expected)


def test_only_small_layers_on_a_gpu_are_launch_bound():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert is_launch_bound(gpu, LAUNCH_BYTES, POINTS)
    assert not is_launch_bound(cpu, LAUNCH_BYTES, POINTS)
    assert not is_launch_bound(gpu, LAUNCH_BYTES + 1, POINTS)
    assert not is_launch_bound(gpu, LAUNCH_BYTES, POINTS - 1)


@pytest.mark.gpu
@pytest.mark.parametrize("make", [convnet, mlp])
def test_graphs_give_the_plain_paths_numbers(monkeypatch, make):
    objective, points, coefficients = problem(make, "cuda")
    sliced = SlicedObjective(objective, points)
    found = sliced.values(coefficients)["loss"]
    graphs = list(sliced._prepared._captured.values())
    assert graphs
    assert not any(graph.failed for graph in graphs)
    monkeypatch.setattr(captured, "LAUNCH_BYTES", 0)
    plain = SlicedObjective(objective, points)
    np.testing.assert_allclose(found, plain.values(coefficients)["loss"], rtol=1e-6)
    assert not plain._prepared._captured
