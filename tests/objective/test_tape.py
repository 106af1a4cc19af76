"""Recorded forward passes: what can be recorded runs again for other inputs and parameters; the rest is named."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.objective.first_layer import combinations
from landscape.objective.program import Program
from landscape.objective.rewriting import shortened
from landscape.objective.tape import BATCH, BOTH, ONCE, POINT, NotRecordableError, record


def own(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def taped(model, inputs):
    with torch.no_grad():
        return record(model, inputs, own(model))


class Everything(nn.Module):
    """Steps of each kind: of nothing, of the parameters, of the inputs, of both, and one that writes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, x):
        steps = torch.arange(4.0)
        weight = self.weight.square()
        rows = x.flatten(1).cos()
        result = F.linear(rows, weight) + steps
        result[:, 0] = 1
        return {"logits": result, "pair": (weight.sum(), rows)}


@torch.no_grad()
def test_steps_run_as_often_as_they_must_and_give_the_models_bits():
    model, generator = Everything(), torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 1, generator=generator)
    tape = taped(model, x)
    levels = tape.levels(["weight"], shared=True)
    kinds = [tape.level(step, levels) for step in tape.steps]
    assert kinds == [ONCE, POINT, BATCH, BATCH, BOTH, BOTH, BOTH, POINT]
    program = Program(tape, own(model), ["weight"], shared=True)
    for _ in range(3):
        x, weight = torch.randn(5, 3, 1, generator=generator), torch.randn(4, 3, generator=generator)
        found = program(program.at_batch(x), program.at_point({"weight": weight}))
        model.weight.copy_(weight)
        expected = model(x)
        assert torch.equal(found["logits"], expected["logits"])
        assert all(torch.equal(a, b) for a, b in zip(found["pair"], expected["pair"], strict=True))


@torch.no_grad()
def test_shorter_passes_leave_the_recorded_one_alone():
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)]
    model, x = nn.Sequential(*layers).double().eval(), torch.randn(6, 1, 8, 8, dtype=torch.float64)
    tape, names = taped(model, x), [name for name, _ in model.named_parameters()]
    before = list(tape.steps)
    short, folded = shortened(tape, names, True, channels_last=True, windows=True)
    assert (folded, tape.steps) == (1, before)
    called = {getattr(step.function, "__name__", "") for step in short.steps}
    assert {"convolve_windows", "relu_", "_flatten_channels_last", "_narrow_linear"} <= called
    assert "batch_norm" not in called
    program = Program(short, own(model), names, shared=True)
    found = program(program.at_batch(x), program.at_point(dict(model.named_parameters())))
    torch.testing.assert_close(found, model(x), rtol=1e-12, atol=1e-12)


class Bad(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.hidden = kind, torch.ones(3)
        self.weight, self.count = nn.Parameter(torch.ones(3)), nn.Buffer(torch.zeros(1))

    def forward(self, x):
        if self.kind == "reads" and x.sum() > 0:
            return x * self.weight
        if self.kind == "writes":
            self.count += 1
        return x * (self.hidden if self.kind == "hidden" else self.weight) + self.count


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("reads", "reads values of its tensors .*__bool__"),
        ("writes", "writes into its parameters or buffers"),
        ("hidden", "uses a tensor that is no parameter, buffer or input"),
    ],
)
def test_what_is_no_fixed_list_of_calls_is_refused(kind, message):
    with pytest.raises(NotRecordableError, match=message):
        taped(Bad(kind), torch.ones(2, 3))


def test_combinations_leave_out_what_has_no_weight():
    outputs = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs[2] = torch.inf
    rows = [[1.0, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    found = list(combinations(outputs, rows))
    for row, one in zip(rows, found, strict=True):
        torch.testing.assert_close(one, row[0] * outputs[0] + row[1] * outputs[1])
        one.fill_(7)  # each is a new tensor
    assert not (outputs == 7).any()
