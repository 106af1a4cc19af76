"""Precision of the forward pass: rounded where it was asked for, parameters and loss never."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.objective.combination import combine
from landscape.objective.objective import Objective
from landscape.objective.precision import check_precision
from landscape.objective.sliced import SlicedObjective


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 1, 9, 9, generator=generator)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 3)
    )
    return model.eval(), (x, torch.arange(40) % 3)


def test_bf16_rounds_products_and_nothing_else():
    model = nn.Sequential(nn.Linear(64, 3, bias=False))
    x, y = torch.randn(40, 64, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    losses, _ = Objective(model, (x, y), precision="bf16").losses(model[0].weight.detach().flatten())
    rounded = (x.bfloat16().float() @ model[0].weight.bfloat16().float().T).bfloat16()
    expected = nn.functional.cross_entropy(rounded.float(), y, reduction="none")
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, rtol=1e-2, atol=1e-2)
    assert not torch.allclose(losses, Objective(model, (x, y)).losses(model[0].weight.detach().flatten())[0], rtol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10), ("bf16", 2e-2)])
def test_both_paths_have_the_same_precision(precision, tolerance):
    model, data = problem()
    objective = Objective(model, data, precision=precision)
    generator = torch.Generator().manual_seed(1)
    points = torch.stack([objective.theta, 0.1 * torch.randn(len(objective.theta), generator=generator)])
    coefficients = torch.tensor([[1, 0], [1, 0.5], [1, 1], [1, -1], [1, -0.5]], dtype=torch.float64)
    sliced = SlicedObjective(objective, points)
    plain = objective.values(combine(coefficients, sliced.points))["loss"]
    np.testing.assert_allclose(sliced.values(coefficients)["loss"], plain, rtol=tolerance)
    assert sliced.report.fast
    assert (np.abs(plain / Objective(model, data).values(combine(coefficients, points))["loss"] - 1).max() > 1e-5) == (
        precision == "bf16"
    )


def test_names():
    check_precision("tf32", "cuda:1")
    check_precision(None, "cpu")
    with pytest.raises(RequestError, match="mode of CUDA's tensor cores"):
        check_precision("tf32", "cpu")
    with pytest.raises(RequestError, match="unknown precision 'half'"):
        Objective(*problem(), precision="half")
