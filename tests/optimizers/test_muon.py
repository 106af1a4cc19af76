"""Muon against its formula in NumPy, float64, 20 steps, to 1e-12; and what it does with shapes, dtypes and ranks."""

import copy
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.linalg.polar import JORDAN, POLAR_EXPRESS, SAFETY, polar_factor
from landscape.optimizers import muon as module
from landscape.optimizers.muon import SCALES, Muon
from landscape.optimizers.precision import multiplies_bfloat16_fast, working_dtype
from landscape.optimizers.registry import make_optimizer

SHAPES = {"0.weight": (4, 6), "0.bias": (4,), "1.weight": (7, 4), "2.weight": (4, 6), "3.weight": (2, 4)}
STEPS = 20


class Network(nn.Module):
    """Three hidden matrices, two of one shape, a vector, and a head."""

    def __init__(self):
        super().__init__()
        for k in range(4):
            self.add_module(str(k), nn.Module())
        for i, (name, shape) in enumerate(SHAPES.items()):
            value = torch.from_numpy(np.random.default_rng([9, i]).normal(size=shape))
            self.get_submodule(name[0]).register_parameter(name[2:], nn.Parameter(value))


def polar(g, method):
    """The polar factor, by the iterations written out."""
    if method == "svd":
        u, _, vt = np.linalg.svd(g, full_matrices=False)
        return u @ vt
    x = g / np.linalg.norm(g)
    coefficients = [JORDAN] * 5
    if method == "polar-express":
        x = x / SAFETY
        coefficients = [(a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in POLAR_EXPRESS[:5]]
    for a, b, c in coefficients:
        x = a * x + b * (x @ x.T) @ x + c * (x @ x.T) @ (x @ x.T) @ x
    return x


def scaled(g, scale):
    rows, columns = g.shape
    return {"none": 1, "spectral": max(1, rows / columns) ** 0.5, "match_rms_adamw": 0.2 * max(rows, columns) ** 0.5}[
        scale
    ]


def follow(method, scale, lr, momentum, nesterov, weight_decay, adamw_lr, adamw_weight_decay):
    """The iterates by the formula; AdamW on the vector and the head."""
    xs = {name: p.detach().numpy().copy() for name, p in Network().named_parameters()}
    state = dict.fromkeys(xs, (0, 0))
    for k in range(1, STEPS + 1):
        gs = gradients(xs, k)
        for name, g in gs.items():
            first, second = state[name]
            if name in ("0.bias", "3.weight"):
                first, second = 0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g**2
                step = (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.95**k)) + 1e-8)
                xs[name] = xs[name] - adamw_lr * (step + adamw_weight_decay * xs[name])
            else:
                first = momentum * first + g
                factor = polar(g + momentum * first if nesterov else first, method)
                xs[name] = (1 - lr * weight_decay) * xs[name] - lr * scaled(g, scale) * factor
            state[name] = first, second
        yield xs


def gradients(xs, k):
    return {
        name: 0.7 * x + np.random.default_rng([k, i]).normal(size=x.shape) for i, (name, x) in enumerate(xs.items())
    }


@pytest.mark.parametrize("method", ["svd", "newton-schulz", "polar-express"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("nesterov", "weight_decay"), [(True, 0.0), (False, 0.3), (True, 0.3)])
def test_twenty_steps(method, scale, nesterov, weight_decay):
    model = Network()
    settings = {"method": method, "scale": scale, "nesterov": nesterov, "weight_decay": weight_decay}
    settings |= {"lr": 0.03, "momentum": 0.8, "adamw_lr": 0.01, "adamw_weight_decay": 0.2}
    optimizer = make_optimizer("muon", model, **settings)
    for k, expected in enumerate(follow(**settings), 1):
        found = dict(model.named_parameters())
        for name, g in gradients({name: p.detach().numpy() for name, p in found.items()}, k).items():
            found[name].grad = torch.from_numpy(g)
        optimizer.step()
        for name, x in expected.items():
            assert np.abs(found[name].detach().numpy() - x).max() <= 1e-12 * np.abs(x).max(), name


def step_of(parameter, gradient, **settings):
    """The step that Muon makes from 0 with a learning rate of 1."""
    optimizer = Muon([{"params": [parameter], "parts": settings.pop("parts", 1)}], lr=1.0, method="svd", **settings)
    before, parameter.grad = parameter.detach().clone(), gradient
    optimizer.step()
    return parameter.detach() - before


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_one_matrix_with_that_matrix_scale(memory):
    weight = nn.Parameter(torch.zeros(40, 3, 2, 2, dtype=torch.float64).to(memory_format=memory))
    g = draw(40, 3, 2, 2)
    step = step_of(weight, g.to(memory_format=memory))
    expected = -((40 / 12) ** 0.5) * polar_factor(g.reshape(40, 12), method="svd")
    torch.testing.assert_close(step.reshape(40, 12), expected)
    assert weight.is_contiguous(memory_format=memory)


def test_fused_weights_are_three_matrices():
    g = draw(12, 4)
    step = step_of(nn.Parameter(torch.zeros(12, 4, dtype=torch.float64)), g, parts=3)
    expected = torch.cat([-polar_factor(part, method="svd") for part in g.split(4)])  # each is square: scale 1
    torch.testing.assert_close(step, expected)
    attention = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 2))
    groups = make_optimizer("muon", attention).param_groups
    assert [(g["parts"], g["param_names"]) for g in groups if g["norm"] == "spectral"] == [
        (1, ["0.out_proj.weight"]),
        (3, ["0.in_proj_weight"]),
    ]
    groups = make_optimizer("muon", attention, qkv="none").param_groups
    assert [g["parts"] for g in groups if g["norm"] == "spectral"] == [1]


def test_match_rms_adamw():
    for shape in ((8, 8), (8, 32), (32, 8)):
        step = step_of(nn.Parameter(torch.zeros(shape, dtype=torch.float64)), draw(*shape), scale="match_rms_adamw")
        assert float(step.square().mean().sqrt()) == pytest.approx(0.2)


def test_equal_shapes_share_a_product(monkeypatch):
    shapes, original = [], module.polar_factor
    monkeypatch.setattr(module, "polar_factor", lambda m, **k: shapes.append(tuple(m.shape)) or original(m, **k))
    tensors = [nn.Parameter(torch.randn(shape)) for shape in ((4, 4), (4, 6), (4, 4), (600, 600), (600, 600), (4, 4))]
    for tensor in tensors:
        tensor.grad = torch.randn_like(tensor)
    Muon(tensors).step()
    assert sorted(shapes) == [(1, 4, 6), (1, 600, 600), (1, 600, 600), (3, 4, 4)]  # large ones gain nothing


def test_momentum_survives_new_company():
    """Buffers are views of one tensor while they're stepped together; a pause or a copy changes nothing."""

    def run(interrupted):
        tensors = [nn.Parameter(torch.ones(3, 4, dtype=torch.float64)) for _ in range(3)]
        optimizer = Muon(tensors, lr=0.1)
        for k in range(6):
            if interrupted and k in (2, 4):
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = Muon(tensors, lr=0.1)
                optimizer.load_state_dict(state)
            if interrupted and k == 5:
                tensors, optimizer = copy.deepcopy((tensors, optimizer))
            for i, tensor in enumerate(tensors):
                tensor.grad = None if (k == 3 and i == 1) else draw(3, 4, seed=10 * k + i)
            optimizer.step()
        return torch.stack([tensor.detach() for tensor in tensors])

    assert torch.equal(run(True), run(False))


def test_working_dtype():
    def of(dtype, method="polar-express", given="auto"):
        return working_dtype({"dtype": given, "method": method}, torch.zeros(1, 2, 2, dtype=dtype))

    fast = multiplies_bfloat16_fast(torch.device("cpu"))
    assert of(torch.float32) == (torch.bfloat16 if fast else torch.float32)
    assert of(torch.float64) == torch.float64
    assert of(torch.float32, "svd") == of(torch.bfloat16, "svd") == torch.float32
    assert of(torch.float32, given="float64") == torch.float64
    assert not multiplies_bfloat16_fast(torch.device("mps"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_every_working_dtype(dtype):
    """Five steps of Polar Express leave singular values within 0.13 of 1; bfloat16 adds its rounding."""
    weight = nn.Parameter(torch.zeros(32, 48))
    optimizer = Muon([weight], lr=1.0, dtype=dtype)
    weight.grad = draw(32, 48).float()
    optimizer.step()
    assert weight.dtype == torch.float32
    s = torch.linalg.svdvals(weight.detach())
    assert 0.85 < float(s.min()) < float(s.max()) < 1.15


def test_half_precision_weights():
    weight = nn.Parameter(torch.ones(4, 6, dtype=torch.bfloat16))
    weight.grad = draw(4, 6).bfloat16()
    Muon([weight], lr=0.1).step()
    assert weight.dtype == torch.bfloat16
    assert weight.isfinite().all()


def test_roles_and_overrides():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(6, 3))
    groups = make_optimizer("muon", model, lr=0.5, adamw_lr=0.25).param_groups
    assert [(g["norm"], g["lr"], g["param_names"]) for g in groups] == [
        ("spectral", 0.5, ["1.weight"]),
        ("adamw", 0.25, ["0.weight"]),
        ("adamw", 0.25, ["2.weight"]),
        ("adamw", 0.25, ["1.bias", "2.bias"]),
    ]
    groups = make_optimizer("muon", model, hidden="^[12]").param_groups
    assert groups[0]["param_names"] == ["1.weight", "2.weight"]
    given = [{"params": [model[1].weight], "norm": "adamw"}, {"params": [model[2].weight], "lr": 0.125}]
    groups = make_optimizer("muon", given, lr=0.5, adamw_lr=0.25).param_groups
    assert [(g["norm"], g["lr"]) for g in groups] == [("adamw", 0.25), ("spectral", 0.125)]


def test_bad_requests():
    layer = nn.Linear(3, 2)
    message = r"norm=spectral is for matrices, but parameter number 1 has shape \(2,\): put it into a group"
    with pytest.raises(RequestError, match=message):
        make_optimizer("muon", [{"params": list(layer.parameters()), "role": "hidden"}])
    with pytest.raises(RequestError, match="unknown norm of a parameter group 'l2'"):
        make_optimizer("muon", [{"params": list(layer.parameters()), "norm": "l2"}])
    with pytest.raises(RequestError, match="method=svd has no bfloat16"):
        make_optimizer("muon", layer, method="svd", dtype="bfloat16")
    for setting, value in (("method", "newton"), ("scale", "spectal"), ("dtype", "float16")):
        with pytest.raises(RequestError, match=f"'{setting}' '{value}'|{value}"):
            make_optimizer("muon", layer, **{setting: value})
    with pytest.raises(RequestError, match="unknown scale of Muon's update 'spectal': did you mean 'spectral'"):
        Muon([layer.weight], scale="spectal")
    with pytest.raises(RequestError, match="hidden='blocks' matches no matrix: choose among weight"):
        make_optimizer("muon", layer, hidden="blocks")


def test_two_processes_end_where_one_does(tmp_path):
    script = Path(__file__).with_name("muon_ranks.py")
    processes = [subprocess.Popen([sys.executable, script, str(rank), tmp_path]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    results = [torch.load(tmp_path / str(rank)) for rank in range(2)]
    for dtype, tolerance in (("float64", 1e-12), ("bfloat16", 0.02)):
        alone = runpy.run_path(str(script))["descend"](dtype)
        ends = [result["ends"][dtype] for result in results]
        assert torch.equal(*ends)
        torch.testing.assert_close(ends[0], alone, rtol=tolerance, atol=tolerance)
    assert sum(result["computed"] for result in results) == 2 * 4 * 4  # dtypes, steps, hidden matrices
    assert min(result["computed"] for result in results) > 0
