"""A model that draws random numbers in evaluation mode is found out, and the layer named."""

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.objective.determinism import check_deterministic
from landscape.objective.objective import Objective


class Noise(nn.Module):
    def forward(self, inputs):
        return inputs + torch.randn_like(inputs)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, inputs):
        self.calls += 1
        return inputs * self.calls


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return nn.functional.dropout(self.layer(inputs), 0.5, training=True)


def objective(model):
    return Objective(model, (torch.randn(6, 4), torch.arange(6) % 3))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), Noise())), r"'1\.1' \(Noise\)"),
        (nn.Sequential(Counting(), nn.Linear(4, 3)), r"'0' \(Counting\)"),
        (Functional(), r"the model itself \(Functional\)"),
    ],
)
def test_randomness_is_named(model, name):
    made, before = objective(model), torch.random.get_rng_state()
    with pytest.raises(RequestError, match=f"not deterministic in evaluation mode: {name} gives other outputs"):
        check_deterministic(made)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("value", [1.0, 1e30, float("nan")])
def test_deterministic_models_pass(value):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    nn.init.constant_(model[0].bias, value)  # NaN equals NaN here: a diverged network is deterministic
    made = objective(model)
    check_deterministic(made)
    assert not made.module.module._forward_hooks


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(RequestError, match=r"the model is in b?float16, too coarse.*model\.float"):
        objective(nn.Linear(4, 3).to(dtype))
