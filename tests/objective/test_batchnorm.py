"""The BatchNorm policies against passes written by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.objective.batchnorm import recompute_statistics, tracking_layers
from landscape.objective.objective import NORM_BATCH_SIZE, Objective


def model_of(norm=nn.BatchNorm1d, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), norm(6, **settings), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3))
    model(3 * torch.randn(10, 4) - 1)
    return model.double()


def data_of(num, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (num,), generator=generator)


def by_hand(model, batches):
    """The statistics of the hidden layer: those of each batch, weighted by its size."""
    mean = variance = total = 0
    for batch in batches:
        hidden = model[0](batch).detach()
        mean, variance = mean + len(batch) * hidden.mean(0), variance + len(batch) * hidden.var(0)
        total += len(batch)
    return mean / total, variance / total


def value_with(model, statistics, data):
    """The loss in evaluation mode with these statistics."""
    model = copy.deepcopy(model).eval()
    model[1].running_mean, model[1].running_var = statistics
    return F.cross_entropy(model(data[0]), data[1]).item()


def spy(objective):
    """Count how often statistics are recomputed."""
    calls = []
    refresh = objective.module.refresh_statistics
    objective.module.refresh_statistics = lambda: (calls.append(1), refresh())
    return calls


def test_recompute_equals_a_pass_by_hand():
    model, train, test = model_of(), data_of(300), data_of(50, seed=1)
    statistics = by_hand(model, [train[0][:128], train[0][128:256], train[0][256:]])
    objective = Objective(model, train, batchnorm="recompute", batch_size=7)
    assert objective.loss(objective.theta) == pytest.approx(value_with(model, statistics, train), rel=1e-12)
    # Another split is evaluated with the training split's statistics, by either way of asking.
    for other in (objective.on(test), Objective(model, test, batchnorm="recompute", batchnorm_data=train)):
        assert other.loss(other.theta) == pytest.approx(value_with(model, statistics, test), rel=1e-12)


def test_batches_of_a_loader_are_weighted_by_their_size():
    model, (inputs, targets) = model_of(), data_of(30)
    pieces = [inputs[:20], inputs[20:27], inputs[27:]]
    loader = list(zip(pieces, [targets[:20], targets[20:27], targets[27:]], strict=True))
    objective = Objective(model, loader, batchnorm="recompute")
    expected = value_with(model, by_hand(model, pieces), (inputs, targets))
    assert objective.loss(objective.theta) == pytest.approx(expected, rel=1e-12)


def test_a_last_sample_joins_the_batch_before():
    num = NORM_BATCH_SIZE + 1
    model, data = model_of(), data_of(num)
    expected = value_with(model, by_hand(model, [data[0]]), data)
    assert Objective(model, data, batchnorm="recompute").loss(Objective(model, data).theta) == pytest.approx(
        expected, rel=1e-12
    )
    batchwise = Objective(model, data, batchnorm="batch", batch_size=NORM_BATCH_SIZE)
    assert batchwise.loss(batchwise.theta) == pytest.approx(
        F.cross_entropy(training_norm(model)(data[0]), data[1]).item(), rel=1e-12
    )


def training_norm(model):
    """A copy with only its normalisation in training mode."""
    model = copy.deepcopy(model).eval()
    model[1].train()
    return model


def test_recomputed_statistics_follow_theta():
    model, data = model_of(), data_of(60)
    objective = Objective(model, data, batchnorm="recompute")
    other = model_of()
    theta = -0.7 * objective.theta
    nn.utils.vector_to_parameters(theta, other.parameters())
    expected = value_with(other, by_hand(other, [data[0]]), data)
    assert objective.loss(theta) == pytest.approx(expected, rel=1e-12)
    value, gradient = objective.gradient(theta)
    assert value == pytest.approx(expected, rel=1e-12)
    # In the gradient they are constants.
    reference = copy.deepcopy(other).eval()
    reference[1].running_mean, reference[1].running_var = by_hand(other, [data[0]])
    gradients = torch.autograd.grad(F.cross_entropy(reference(data[0]), data[1]), list(reference.parameters()))
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in gradients]), rtol=1e-10, atol=1e-12)


def test_splits_share_one_pass_for_each_theta():
    train, test = data_of(40), data_of(20, seed=1)
    objective = Objective(model_of(), train, batchnorm="recompute")
    other = objective.on(test)
    calls = spy(objective)
    for number in range(1, 4):
        theta = number * objective.theta
        for _ in range(2):
            objective.evaluate(theta)
            other.evaluate(theta.clone())
            other.gradient(theta)
        assert len(calls) == number


def test_a_theta_that_changed_unseen_is_placed_anew():
    data = data_of(40)
    objective = Objective(model_of(), data, batchnorm="recompute")
    theta = objective.theta.clone()
    before = objective.loss(theta)
    for change in (lambda: theta.mul_(0.5), lambda: theta.data.mul_(0.5), lambda: theta.numpy().__imul__(0.5)):
        change()
        after = objective.loss(theta)
        assert after != before
        assert after == Objective(model_of(), data, batchnorm="recompute").loss(theta)
        before = after


def test_minibatch_gradients_in_between_change_nothing():
    objective = Objective(model_of(), data_of(40), batchnorm="recompute")
    theta = 0.5 * objective.theta
    value = objective.loss(theta)
    objective.minibatch_gradient(objective.theta, objective.samples.select(torch.arange(8)), 0)
    assert objective.loss(theta) == value
    objective.minibatch_gradient(theta, objective.samples.select(torch.arange(8)), 0)
    assert objective.loss(theta) == value


def test_checkpoint_is_evaluation_mode():
    model, data = model_of(), data_of(40)
    objective = Objective(model, data)
    expected = F.cross_entropy(copy.deepcopy(model).eval()(data[0]), data[1]).item()
    assert objective.loss(objective.theta) == pytest.approx(expected, rel=1e-12)


def test_batch_is_training_mode_of_the_normalisation():
    model, data = model_of(), data_of(40)
    objective = Objective(model, data, batchnorm="batch", batch_size=20)
    halves = [F.cross_entropy(training_norm(model)(data[0][cut]), data[1][cut]) for cut in (slice(20), slice(20, 40))]
    buffers = {name: value.clone() for name, value in objective.module.module.named_buffers()}
    assert objective.loss(objective.theta) == pytest.approx(sum(halves).item() / 2, rel=1e-12)
    objective.gradient(objective.theta)
    for name, value in objective.module.module.named_buffers():
        assert torch.equal(value, buffers[name]), name


@pytest.mark.parametrize("policy", ["checkpoint", "recompute", "batch"])
@pytest.mark.parametrize(
    ("norm", "settings"),
    [
        (nn.BatchNorm2d, {"momentum": None}),
        (nn.BatchNorm2d, {"affine": False}),
        (nn.BatchNorm2d, {"track_running_stats": False}),
        (nn.InstanceNorm2d, {"track_running_stats": True}),
        (nn.InstanceNorm2d, {}),
    ],
)
def test_kinds_of_normalisation(norm, settings, policy):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), norm(2, **settings), nn.Flatten(), nn.Linear(8, 3)).double()
    inputs, targets = torch.randn(12, 1, 4, 4).double() + 1, torch.randint(3, (12,))
    model(3 * inputs)
    reference = copy.deepcopy(model).eval()
    if policy == "batch" and model[1].running_mean is not None:
        reference[1].train()
    if policy == "recompute":
        if model[1].running_mean is not None:
            reference[1].reset_running_stats()
            reference[1].momentum = 1.0
        reference[1].train()
        reference(inputs)
        reference.eval()
    expected = F.cross_entropy(reference(inputs), targets).item()
    objective = Objective(model, (inputs, targets), batchnorm=policy)
    assert objective.loss(objective.theta) == pytest.approx(expected, rel=1e-10)
    assert objective.loss(1 * objective.theta) == pytest.approx(expected, rel=1e-10)


def test_a_broken_pass_leaves_the_layers_in_order():
    model = model_of(momentum=0.3).eval()
    layers = tracking_layers(model)

    def forward(batch):
        raise RequestError("no")

    with pytest.raises(RequestError):
        recompute_statistics(layers, forward, [torch.zeros(4, 4)])
    assert not layers[0].training
    assert layers[0].momentum == 0.3


def test_models_without_statistics_need_no_pass():
    objective = Objective(nn.Linear(4, 3).double(), data_of(9), batchnorm="recompute")
    assert objective.module.refresh_statistics is None
    objective.loss(objective.theta)
