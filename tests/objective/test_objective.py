"""Objective against plain autograd in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from landscape.errors import RequestError
from landscape.objective.objective import Objective
from landscape.testing import LinearRegression

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def equal(actual, expected):
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), **TIGHT)


def test_loss_losses_gradient_and_metrics_equal_plain_autograd(case):
    objective = Objective(case.build(), case.data, case.loss, batch_size=5)
    theta = case.theta(case.build())
    value, gradient = case.value_and_gradient(theta)
    outputs = case.outputs(case.at(theta)).detach()

    assert objective.num_parameters == len(theta)
    equal(objective.loss(theta), value.item())
    found, found_gradient = objective.gradient(theta)
    equal(found, value.item())
    equal(found_gradient, gradient)

    values, counts = objective.losses(theta)
    assert values.shape == counts.shape == (len(case.targets),)
    for index in (0, 4, len(case.targets) - 1):
        if (case.targets[index] != -100).any():
            one = slice(index, index + 1)
            equal(values[index] / counts[index], case.mean_loss(outputs[one], one))
    equal(values.sum() / counts.sum(), value)

    evaluated = objective.evaluate(theta)
    equal(evaluated["loss"], value.item())
    if case.loss == "mse":
        assert set(evaluated) == {"loss", "loss_stderr"}
    else:
        equal(evaluated["error"], case.mean_error(outputs).item())


def test_own_parameters_are_theta(case):
    model = case.build()
    objective = Objective(model, case.data, case.loss)
    own = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.equal(objective.theta, own)
    equal(objective.loss(objective.theta), case.value_and_gradient(own)[0].item())


def test_block_of_points(case):
    objective = Objective(case.build(), case.data, case.loss)
    theta = case.theta(case.build())
    thetas = torch.stack([theta, 0.5 * theta, -theta])
    block = objective.values(thetas)
    for name, values in block.items():
        assert values.shape == (3,)
        assert values.dtype == np.float64
        assert values.tolist() == [objective.evaluate(theta)[name] for theta in thetas]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 22, 23, 1000])
def test_microbatches_do_not_change_values(case, batch_size):
    theta = case.theta(case.build())
    value, gradient = Objective(case.build(), case.data, case.loss, batch_size=23).gradient(theta)
    objective = Objective(case.build(), case.data, case.loss, batch_size=batch_size)
    equal(objective.loss(theta), value)
    equal(objective.gradient(theta)[1], gradient)


def test_minibatch_gradient_is_that_of_training_mode(case):
    objective = Objective(case.build(), case.data, case.loss)
    theta = case.theta(case.build())
    index = torch.tensor([3, 1, 20, 8])
    torch.manual_seed(5)  # dropout
    reference = case.at(theta, training=True)
    torch.manual_seed(5)
    value = case.mean_loss(case.outputs(reference, index), index)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(reference.parameters()))])
    found, found_gradient = objective.minibatch_gradient(theta, objective.samples.select(index), seed=5)
    equal(found, value.detach())
    equal(found_gradient, gradient)
    assert torch.equal(objective.minibatch_gradient(theta, objective.samples.select(index), 5)[1], found_gradient)


def test_loaders_give_what_tensors_give(case):
    theta = case.theta(case.build())
    whole = Objective(case.build(), case.data, case.loss, batch_size=5)
    batches = list(whole.samples.batches(6))
    objective = Objective(case.build(), batches, case.loss)
    assert objective.num_samples == whole.num_samples
    equal(objective.loss(theta), whole.loss(theta))
    equal(objective.gradient(theta)[1], whole.gradient(theta)[1])


def test_data_loader_and_objects_with_inputs_and_targets(case_of):
    case = case_of("mlp")
    expected = Objective(case.build(), case.data).loss(case.theta(case.build()))
    loader = DataLoader(TensorDataset(*case.data), batch_size=5)
    pair = type("Split", (), {"inputs": case.inputs.numpy(), "targets": case.targets.numpy()})
    for data in (loader, pair):
        equal(Objective(case.build(), data).loss(case.theta(case.build())), expected)


def test_least_squares_against_its_closed_form():
    problem = LinearRegression.random(40, 6, torch.Generator().manual_seed(0))
    theta = torch.linspace(-1, 1, 6, dtype=torch.float64)
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=7)
    assert torch.equal(objective.theta, torch.zeros(6, dtype=torch.float64))
    equal(objective.losses(theta)[0], problem.losses(theta))
    equal(objective.gradient(theta)[1], problem.gradient(theta))
    decayed = Objective(problem.model(), (problem.inputs, problem.targets), "mse", weight_decay=0.3)
    equal(decayed.gradient(problem.minimum(0.3))[1], torch.zeros(6, dtype=torch.float64))


def test_weight_decay_is_part_of_value_and_gradient(case):
    theta = case.theta(case.build())
    plain = Objective(case.build(), case.data, case.loss)
    decayed = Objective(case.build(), case.data, case.loss, weight_decay=0.2)
    penalty = 0.1 * theta.square().sum().item()
    equal(decayed.loss(theta), plain.loss(theta) + penalty)
    equal(decayed.evaluate(theta)["loss"], plain.loss(theta) + penalty)
    equal(decayed.losses(theta)[0], plain.losses(theta)[0])
    value, gradient = decayed.gradient(theta)
    equal(value, plain.loss(theta) + penalty)
    equal(gradient, plain.gradient(theta)[1] + 0.2 * theta)
    batch = plain.samples.select(torch.arange(6))
    (before, slope), (after, decayed_slope) = (o.minibatch_gradient(theta, batch, 0) for o in (plain, decayed))
    equal(after, before + penalty)
    equal(decayed_slope, slope + 0.2 * theta)


def test_gradient_is_that_of_finite_differences(case_of):
    objective = Objective((case := case_of("convnet")).build(), case.data, weight_decay=0.1)
    theta = case.theta(case.build())
    direction = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction /= direction.norm()
    step = 1e-5
    slope = (objective.loss(theta + step * direction) - objective.loss(theta - step * direction)) / (2 * step)
    assert slope == pytest.approx(float(objective.gradient(theta)[1] @ direction), rel=1e-7)


def test_gradients_also_where_the_caller_switched_them_off(case_of):
    objective = Objective((case := case_of("lstm")).build(), case.data)
    theta = case.theta(case.build())
    expected = case.value_and_gradient(theta)[1]
    with torch.no_grad():
        equal(objective.gradient(theta)[1], expected)
        objective.minibatch_gradient(theta, objective.samples.select(torch.arange(3)))


def test_parameters_restrict_theta(case_of):
    case = case_of("mlp")
    objective = Objective(case.build(), case.data, parameters=r"^2\.", weight_decay=0.5)
    assert objective.layout.names == ("2.weight", "2.bias")
    gradient = Objective(case.build(), case.data).gradient(Objective(case.build(), case.data).theta)[1]
    equal(objective.gradient(objective.theta)[1], gradient[-18:] + 0.5 * objective.theta)


def test_tokens_are_weighted_not_samples(case_of):
    case = case_of("tied")
    objective = Objective(case.build(), case.data, batch_size=4)
    values, counts = objective.losses(objective.theta)
    assert counts.tolist() == (case.targets != -100).sum(1).tolist()
    assert values[4] == counts[4] == 0
    wrong = (values / counts.clamp_min(1)).mean().item()
    assert abs(wrong - objective.loss(objective.theta)) > 1e-3


def test_own_losses_and_metrics(case_of):
    case = case_of("mlp")

    def smoothed(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.1)

    def confidence(outputs, targets):
        return outputs.softmax(-1).amax(-1)

    objective = Objective(case.build(), case.data, smoothed, metrics={"confidence": confidence}, batch_size=4)
    outputs = case.outputs(case.build().eval()).detach()
    evaluated = objective.evaluate(objective.theta)
    assert set(evaluated) == {"loss", "loss_stderr", "confidence", "confidence_stderr"}
    equal(evaluated["loss"], F.cross_entropy(outputs, case.targets, label_smoothing=0.1).item())
    equal(evaluated["confidence"], outputs.softmax(-1).amax(-1).mean().item())


def test_dtypes(case_of):
    case = case_of("convnet")
    double = Objective(case.build().float(), case.data, dtype=torch.float64)
    single = Objective(case.build(), case.data, dtype=torch.float32)
    assert double.theta.dtype == double.gradient(double.theta)[1].dtype == torch.float64
    assert single.theta.dtype == single.gradient(single.theta)[1].dtype == torch.float32
    assert single.loss(double.theta) == pytest.approx(double.loss(double.theta), rel=1e-5)
    value, gradient = single.minibatch_gradient(double.theta, single.samples.select(torch.arange(4)))
    assert value.dtype == gradient.dtype == torch.float32


def test_infinite_loss_is_a_value(case_of):
    objective = Objective((case := case_of("mlp")).build(), case.data)
    assert math.isnan(objective.loss(torch.full_like(objective.theta, math.nan)))
    assert not math.isfinite(objective.evaluate(1e200 * objective.theta)["loss"])


def test_models_may_write_into_their_inputs(case_of):
    class InPlace(nn.Linear):
        def forward(self, x):
            return super().forward(x.sub_(1))

    inputs, targets = case_of("mlp").data
    before = inputs.clone()
    objective = Objective(InPlace(6, 3).double(), (inputs, targets), batchnorm="recompute")
    assert objective.loss(objective.theta) == objective.loss(objective.theta.clone())
    objective.gradient(objective.theta)
    assert torch.equal(inputs, before)


def test_random_models_are_functions_of_theta(case_of):
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(F.dropout(x, 0.5, training=True))

    objective = Objective(Noisy(6, 3).double(), case_of("mlp").data)
    value = objective.loss(objective.theta)
    torch.rand(3)
    assert objective.loss(objective.theta) == objective.gradient(objective.theta)[0] == value


def test_check_passes_good_requests(case):
    Objective(case.build(), case.data, case.loss).check()


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(case):
    theta = case.theta(case.build())
    value, gradient = case.value_and_gradient(theta)
    for place in ("cuda", "cuda:0"):
        objective = Objective(case.build(), case.data, case.loss, device=place, batch_size=7)
        equal(objective.loss(theta), value.item())
        found, found_gradient = objective.gradient(theta)
        equal(found, value.item())
        equal(found_gradient.cpu(), gradient)
        assert objective.minibatch_gradient(theta, objective.samples.select(torch.arange(4).cuda()), 0)[1].is_cuda


@pytest.mark.gpu
def test_gpu_random_state_is_left_alone(case_of):
    case = case_of("transformer")
    states = torch.cuda.get_rng_state_all()
    objective = Objective(case.build().cuda(), case.data, batchnorm="recompute")
    objective.evaluate(objective.theta)
    objective.minibatch_gradient(objective.theta, objective.samples.select(torch.arange(4).cuda()), 3)
    on_cpu = Objective(case.build(), case.data)
    on_cpu.minibatch_gradient(on_cpu.theta, on_cpu.samples.select(torch.arange(4)), 3)
    assert all(torch.equal(a, b) for a, b in zip(states, torch.cuda.get_rng_state_all(), strict=True))


BAD_MODELS = {
    "no parameters": (nn.Flatten, "the model has no parameters"),
    "wrong width": (lambda: nn.Linear(7, 3), r"the model can't take the data \(inputs of shape \(2, 6\)\)"),
    "silent": (lambda: Silent(6, 3), "AssertionError"),
    "two outputs": (lambda: Several(6, 3), "the loss can't take the model's outputs tuple"),
}


class Silent(nn.Linear):
    def forward(self, x):
        raise AssertionError


class Several(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_that_do_not_fit(case_of, name):
    make, message = BAD_MODELS[name]
    inputs, targets = case_of("mlp").data
    with pytest.raises(RequestError, match=message) as caught:
        Objective(make(), (inputs[:2], targets[:2])).loss(torch.zeros(24 if name == "wrong width" else 21))
    assert "\n" not in str(caught.value)


BAD_SETTINGS = {
    "batch size": ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    "loss": ({"loss": "crossentropy"}, "unknown loss 'crossentropy': did you mean 'cross-entropy'"),
    "policy": ({"batchnorm": "recomputed"}, "unknown BatchNorm policy 'recomputed': did you mean 'recompute'"),
    "pattern": ({"parameters": "conv"}, "parameters='conv' matches none of: 0.weight"),
    "regular expression": ({"parameters": "("}, "is no regular expression"),
    "negative decay": ({"weight_decay": -1.0}, "weight_decay must be a number of at least 0"),
    "endless decay": ({"weight_decay": math.nan}, "weight_decay must be a number of at least 0"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_mean_nothing(case_of, name):
    settings, message = BAD_SETTINGS[name]
    case = case_of("mlp")
    with pytest.raises(RequestError, match=message):
        Objective(case.build(), case.data, **settings)


BAD_LOSSES = {
    "scalar": (F.cross_entropy, r"the loss returned shape \(\) for .* reduction='none'"),
    "unreduced": (lambda o, t: o, r"the loss returned shape \(23, 3\)"),
    "number": (lambda o, t: 0.5, "the loss returned a float"),
    "counts": (lambda o, t: (o.sum(1), 23), "the loss returned shape"),
    "mse": ("mse", "mse compares equal shapes"),
}


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_losses_that_are_not_per_sample(case_of, name):
    loss, message = BAD_LOSSES[name]
    case = case_of("mlp")
    objective = Objective(case.build(), case.data, loss)
    for call in (objective.loss, objective.gradient):
        with pytest.raises(RequestError, match=message):
            call(objective.theta)


def test_metrics_are_held_to_the_contract(case_of):
    case = case_of("mlp")
    objective = Objective(case.build(), case.data, metrics={"top1": lambda o, t: o.sum()})
    with pytest.raises(RequestError, match="the top1 returned shape"):
        objective.evaluate(objective.theta)


def test_targets_that_the_loss_cannot_take(case_of):
    case = case_of("mlp")
    objective = Objective(case.build(), (case.inputs, case.targets + 1))
    with pytest.raises(RequestError, match=r"the loss can't take the model's outputs .* out of bounds"):
        objective.loss(objective.theta)
    with pytest.raises(RequestError, match="label 3 lies outside the model's 3 classes"):
        objective.check()


def test_theta_of_another_shape(case_of):
    case = case_of("mlp")
    objective = Objective(case.build(), case.data)
    for call in (objective.loss, objective.gradient, objective.evaluate):
        with pytest.raises(RequestError, match=r"expected theta of shape \(53,\), got \(52,\)"):
            call(objective.theta[1:])
    for block in (objective.theta, objective.theta[None][:0]):
        with pytest.raises(RequestError, match=r"expected points of shape \(P, 53\)"):
            objective.values(block)
